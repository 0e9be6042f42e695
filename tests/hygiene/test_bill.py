"""What the product is made of, and what is known of it."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from tests.hygiene.bill import LOCK, write
from tests.hygiene.dependencies import verdict

HOLE = {"name": "a", "version": "1", "vulns": [{"id": "CVE-1", "fix_versions": ["2"]}]}
CLEAN = {"name": "b", "version": "1", "vulns": []}
UNKNOWN = {"name": "c", "skip_reason": "not on PyPI"}


@pytest.mark.case("Y05")
def test_the_bill_of_materials_names_every_locked_package(tmp_path: Path) -> None:
    locked = set(re.findall(r"(?m)^([a-z0-9._-]+)(?:\[[^]]*\])?==([^\s;]+)", LOCK.read_text()))
    assert len(locked) > 50
    write(tmp_path / "a.json")
    bill = json.loads((tmp_path / "a.json").read_text())
    assert bill["specVersion"] == "1.6"
    assert {(each["name"], each["version"]) for each in bill["components"]} == locked
    assert bill["metadata"]["component"]["name"] == "workspace-management"
    assert "timestamp" not in bill["metadata"]


@pytest.mark.case("Y05")
@pytest.mark.parametrize(
    ("packages", "strict", "code", "said"),
    [
        ([CLEAN], False, 0, "no known vulnerabilities"),
        ([CLEAN, HOLE], False, 1, "a 1: CVE-1, fixed in 2"),
        ([CLEAN, UNKNOWN], False, 0, "audit skipped: 1 of 2 packages"),
        ([CLEAN, UNKNOWN], True, 1, "audit skipped: 1 of 2 packages"),
        ([HOLE, UNKNOWN], False, 1, "CVE-1"),
        (None, False, 0, "audit skipped: cannot connect"),
        (None, True, 1, "audit skipped: cannot connect"),
    ],
)
def test_what_an_audit_says(
    packages: list[object] | None, strict: bool, code: int, said: str
) -> None:
    printed = json.dumps({"dependencies": packages}) if packages else ""
    ended, lines = verdict(printed, "warning\ncannot connect\n", strict=strict)
    assert ended == code
    assert any(said in line for line in lines), lines
