"""The cases of trust: what is tried, and what has to happen.

Each is a row of a file in `cases/`, a file for each class. Tests name theirs with
`@pytest.mark.case("T01", "T02")`; `reporting` holds that none is without a test.
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path

__all__ = ["Case", "CaseClass", "cases", "classes"]

_FOLDER = Path(__file__).parent / "cases"


@dataclass(frozen=True, slots=True)
class Case:
    """`id` as in the table (T01), `what` is tried, `expected` is what has to happen."""

    id: str
    what: str
    expected: str


@dataclass(frozen=True, slots=True)
class CaseClass:
    """A file of cases: `name` (its stem), `title`, what it is `about`."""

    name: str
    title: str
    about: str
    cases: tuple[Case, ...]


@cache
def classes() -> tuple[CaseClass, ...]:
    """All of them, in the order of their `place`."""
    read = [(path.stem, tomllib.loads(path.read_text())) for path in _FOLDER.glob("*.toml")]
    read.sort(key=lambda each: each[1]["place"])
    return tuple(
        CaseClass(name, table["title"], table["about"], tuple(Case(**row) for row in table["case"]))
        for name, table in read
    )


@cache
def cases() -> Mapping[str, Case]:
    """By id. Raises ValueError for an id that two rows have."""
    found: dict[str, Case] = {}
    for each in (case for group in classes() for case in group.cases):
        if each.id in found:
            raise ValueError(f"two cases are called {each.id}")
        found[each.id] = each
    return found
