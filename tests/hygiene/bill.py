"""The bill of materials of the Python tree: `python -m tests.hygiene.bill FILE`.

Made from `requirements.lock` by cyclonedx-py, as CycloneDX 1.6. That of the image has the
packages of its Debian too (deploy/docker/sbom.py). The same lock gives the same bytes.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

__all__ = ["LOCK", "write"]

ROOT = Path(__file__).parents[2]
LOCK = ROOT / "requirements.lock"


def write(target: Path) -> None:
    """Write it to `target`. Raises CalledProcessError when the lock cannot be read."""
    target.parent.mkdir(parents=True, exist_ok=True)
    tool = str(Path(sys.executable).with_name("cyclonedx-py"))
    command = [tool, "requirements", str(LOCK), "--pyproject", str(ROOT / "pyproject.toml")]
    command += ["--output-reproducible", "--of", "JSON", "--sv", "1.6", "-o", str(target)]
    subprocess.run(command, check=True, stderr=subprocess.DEVNULL)


if __name__ == "__main__":
    write(Path(sys.argv[1]))
