"""The bill of materials of an image, as CycloneDX JSON on standard output.

    python sbom.py PYTHON PYPROJECT

The distributions that the interpreter PYTHON finds (cyclonedx-py), the interpreter itself, and
the packages of the Debian below (dpkg). The same contents give the same bytes: there is no time
and no random serial number in it.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any
from urllib.parse import quote

from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator

_FIELDS = "${db:Status-Abbrev}\t${Package}\t${Version}\t${Architecture}\n"


def bill_of(python: str, pyproject: str) -> dict[str, Any]:
    """The bill of materials; components in the order of their references."""
    command = [str(Path(sys.executable).with_name("cyclonedx-py")), "environment", python]
    command += ["--pyproject", pyproject, "--output-reproducible"]
    command += ["--of", "JSON", "--no-validate", "-o", "-"]  # main() validates all of it
    bill: dict[str, Any] = json.loads(_output(*command))
    bill["components"] = sorted(
        [*bill.get("components", []), _interpreter(python), *_debian_packages()],
        key=lambda component: str(component["bom-ref"]),
    )
    return bill


def _interpreter(python: str) -> dict[str, Any]:
    version = _output(python, "-c", "import platform; print(platform.python_version())").strip()
    reference = f"pkg:generic/python@{version}"
    return {
        "type": "platform", "bom-ref": reference, "name": "python", "version": version,
        "purl": reference,
    }  # fmt: skip


def _debian_packages() -> list[dict[str, Any]]:
    """Those that are installed; none where the base has no dpkg."""
    release = dict(
        line.split("=", 1) for line in Path("/etc/os-release").read_text().splitlines() if line
    )
    distribution = release["ID"].strip('"')
    version_id = release.get("VERSION_ID", "").strip('"')
    lines = _output("dpkg-query", "-W", "-f", _FIELDS).splitlines()
    found = []
    for state, name, version, architecture in (line.split("\t") for line in lines):
        if state.strip() != "ii":
            continue
        purl = f"pkg:deb/{distribution}/{quote(name)}@{quote(version)}?arch={architecture}"
        purl += f"&distro={distribution}-{version_id}"
        found.append(
            {"type": "library", "bom-ref": purl, "name": name, "version": version, "purl": purl}
        )
    return found


def _output(*command: str) -> str:
    return subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout  # noqa: S603


def main() -> None:
    """Write the bill; fail when it is not what the standard says."""
    text = json.dumps(bill_of(sys.argv[1], sys.argv[2]), indent=2, ensure_ascii=False) + "\n"
    error = JsonStrictValidator(SchemaVersion.V1_6).validate_str(text)
    if error is not None:
        sys.exit(f"the bill of materials is not valid: {error}")
    sys.stdout.write(text)


if __name__ == "__main__":
    main()
