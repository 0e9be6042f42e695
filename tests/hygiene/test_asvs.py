"""The table of OWASP ASVS is whole, and names what is there."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

from tests.hygiene.asvs_page import PAGE, Row, page, rows
from tests.security import reporting
from tests.security.catalog import cases

ROOT = Path(__file__).parents[2]
LEVELS = {
    "V1": 27, "V2": 11, "V3": 19, "V4": 10, "V5": 9, "V6": 35, "V7": 18, "V8": 7, "V9": 7,
    "V10": 29, "V11": 14, "V12": 9, "V13": 13, "V14": 9, "V15": 13, "V16": 16, "V17": 7,
}  # fmt: skip
"""How many requirements of levels 1 and 2 a chapter of 5.0.0 has."""
GUIDE = ROOT / "docs/operations/security.md"


@pytest.mark.case("Y07")
def test_every_requirement_has_a_row() -> None:
    assert Counter(row.chapter for row in rows()) == LEVELS
    assert len({row.id for row in rows()}) == len(rows())
    assert all(row.level in (1, 2) and row.ours for row in rows())


@pytest.mark.case("Y07")
def test_a_row_names_tests_that_exist_or_a_reason() -> None:
    assert [problem for row in rows() for problem in problems(row)] == []
    gone = Row("V0.0.0", 1, "x", ("tests/hygiene/test_asvs.py::test_gone", "tests/gone.py::test_x"))
    assert len(list(problems(gone))) == 2
    assert len(list(problems(Row("V0.0.0", 1, "x")))) == 1


def problems(row: Row) -> Iterator[str]:
    """What a row names that is not there."""
    if bool(row.tests) == bool(row.reason):
        yield f"{row.id} has neither tests nor a reason, or both"
    for test in row.tests:
        file, name = test.split("::")
        if name not in functions(file):
            yield f"{row.id}: {test}"
    for named in re.findall(r"docs/[\w/-]+(?:\.md)?", row.reason):
        if not (ROOT / named).exists():
            yield f"{row.id}: {named}"


@cache
def functions(file: str) -> set[str]:
    """The functions of a file of tests; none where there is no such file."""
    path = ROOT / file
    text = path.read_text() if path.exists() else ""
    return set(re.findall(r"^\s*(?:async )?def (\w+)\(", text, re.MULTILINE))


@pytest.mark.case("Y07")
def test_the_page_is_that_of_the_table() -> None:
    assert PAGE.read_text() == page(), "run python -m tests.hygiene.asvs_page"


def test_the_threat_model_names_cases_and_pages_that_exist() -> None:
    text = GUIDE.read_text()
    named = set(re.findall(r"\b[TZGISKFUAHY]\d\d[a-z]?\b", text))
    assert len(named) > 30
    assert named <= set(cases())
    for link in re.findall(r"\]\(([^)#]+\.md)", text):
        if "://" not in link and link != reporting.PAGE.name:  # made by `make test-security`
            assert (GUIDE.parent / link).exists(), link
