"""Walks that get on are left alone, others end (whole runs: security/test_sync_endless.py)."""

from __future__ import annotations

from collections.abc import Hashable

import pytest

from services.model.errors import WorkspaceError
from services.records.port import Item, Key
from services.records.progress import Progress


def page(number: int) -> list[Item]:
    return [Item(Key("P#1", f"S#{number}"), f"t{number}", "project", "{}")]


def test_a_long_walk_is_left_alone() -> None:
    progress = Progress("rows")
    for number in range(20_000):
        progress.reached(number, page(number))


def test_what_is_delivered_twice_and_empty_pages_are_left_alone() -> None:
    progress = Progress("changes")
    for number in range(200):
        progress.reached(number, page(number // 2))
        progress.reached(f"nothing at {number}")


def walk(places: list[Hashable], items: list[Item]) -> int:
    """Steps until the walk ends; all of them when it may go on."""
    progress = Progress("rows")
    for step, place in enumerate(places):
        try:
            progress.reached(place, items)
        except WorkspaceError as error:
            assert "again and again" in error.message  # noqa: PT017 - the step counts, too
            return step
    return len(places)


@pytest.mark.parametrize("length", [1, 2, 3, 7, 100])
@pytest.mark.parametrize("before", [0, 5, 50])
def test_a_circle_ends_soon(length: int, before: int) -> None:
    circle = [before + step % length for step in range(10_000)]
    assert walk([*range(before), *circle], []) <= 4 * (length + before) + 4


def test_the_same_rows_under_ever_new_places_end_too() -> None:
    assert walk([f"made up {number}" for number in range(100)], page(0)) < 20
