"""Known vulnerabilities of what `requirements.lock` locks: `python -m tests.hygiene.dependencies`.

pip-audit asks the database of PyPI. Where that cannot be asked (or knows none of the packages,
as a mirror) it says `audit skipped` and ends with 0; with WM_AUDIT=strict it ends with 1.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from tests.hygiene.bill import LOCK

__all__ = ["verdict"]

_SECONDS = 300


def verdict(printed: str, failure: str, *, strict: bool) -> tuple[int, list[str]]:
    """(exit code, lines for people) for what pip-audit printed as JSON. `failure`: what it
    said instead when it printed nothing."""
    try:
        packages: list[dict[str, Any]] = json.loads(printed)["dependencies"]
    except (ValueError, KeyError):
        return int(strict), [f"audit skipped: {(failure.strip() or 'no answer').splitlines()[-1]}"]
    holes = [
        f"{package['name']} {package['version']}: {hole['id']}, "
        f"fixed in {', '.join(hole['fix_versions']) or 'no version yet'}"
        for package in packages
        for hole in package.get("vulns", ())
    ]
    skipped = [package for package in packages if "skip_reason" in package]
    if skipped:
        reason = skipped[0]["skip_reason"]
        holes.append(f"audit skipped: {len(skipped)} of {len(packages)} packages: {reason}")
    failed = len(holes) > bool(skipped) or (bool(skipped) and strict)
    return int(failed), holes or [f"{len(packages)} packages, no known vulnerabilities"]


def main() -> None:
    """Ask, print, end."""
    command = [sys.executable, "-m", "pip_audit", "-r", str(LOCK), "--require-hashes"]
    command += ["--disable-pip", "--progress-spinner", "off", "--format", "json", "--timeout", "10"]
    strict = os.environ.get("WM_AUDIT") == "strict"
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=_SECONDS, check=False, cwd=Path.home()
        )
        printed, failure = done.stdout, done.stderr
    except subprocess.TimeoutExpired:
        printed, failure = "", f"no answer within {_SECONDS} seconds"
    code, lines = verdict(printed, failure, strict=strict)
    print("\n".join(lines))
    sys.exit(code)


if __name__ == "__main__":
    main()
