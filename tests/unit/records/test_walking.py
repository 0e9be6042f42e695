"""Walks over all rows, and over those of some partitions, in any order of a store."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from services.records.port import ABSENT, Item, Key, Put, RecordDriver
from services.records.walking import OutOfOrder, all_rows, rows_of_prefix
from tests.simulation.memory_records import MemoryRecords

_PKS = [f"{kind}#{n:02}" for kind in ("A", "AB", "B", "C") for n in range(9)]
KEYS = [Key(pk, sk) for pk in _PKS for sk in "xy"]


@pytest.fixture(params=[False, True], ids=["ordered", "unordered"])
async def driver(request: pytest.FixtureRequest) -> RecordDriver:
    made = MemoryRecords("p", unordered=request.param)
    for key in KEYS:
        await made.commit(key.pk, [Put(key, ABSENT, "test", "{}")])
    return made


@pytest.mark.parametrize("page", [1, 7, 500])
async def test_all_rows_come_once(driver: RecordDriver, page: int) -> None:
    found = [item.key async for item in all_rows(driver, page=page)]
    assert sorted(found) == KEYS
    for at in (0, 17, len(found) - 1):
        rest = [item.key async for item in all_rows(driver, after=found[at], page=page)]
        assert rest == found[at + 1 :]


@pytest.mark.parametrize("page", [1, 7, 500])
@pytest.mark.parametrize("prefixes", [("A#",), ("C#", "AB#"), ("none#",), ("A",)])
async def test_rows_of_partitions(
    driver: RecordDriver, prefixes: tuple[str, ...], page: int
) -> None:
    found = [item.key async for item in rows_of_prefix(driver, *prefixes, page=page)]
    assert sorted(found) == [key for key in KEYS if key.pk.startswith(prefixes)]


async def test_the_order_is_used_where_there_is_one(monkeypatch: pytest.MonkeyPatch) -> None:
    """A few rows are not found by reading all."""
    ordered = MemoryRecords("p")
    for key in KEYS:
        await ordered.commit(key.pk, [Put(key, ABSENT, "test", "{}")])
    read: list[Item] = []
    scan = ordered.scan

    async def counted(after: Key | None, limit: int) -> Sequence[Item]:
        items = await scan(after, limit)
        read.extend(items)
        return items

    monkeypatch.setattr(ordered, "scan", counted)
    assert len([item async for item in rows_of_prefix(ordered, "B#", page=6)]) == 18
    assert len(read) <= 24


@pytest.mark.parametrize(
    ("unordered", "pks"),
    [
        (False, ["b", "a"]),
        (False, ["a", "a"]),
        (True, ["a", "a"]),
        (True, ["b", "a", "c", "a", "c", "a", "c", "a", "c"]),
        (True, [*"abcdefgh", *"cdefgh" * 4]),
    ],
)
async def test_rows_that_come_again_end_the_walk(unordered: bool, pks: list[str]) -> None:
    made = Listed(pks, unordered=unordered)
    with pytest.raises(OutOfOrder):
        async for _ in all_rows(made, page=1):
            pass


async def test_partitions_in_any_order_are_no_fault() -> None:
    assert len([item async for item in all_rows(Listed([*"hcab"], unordered=True))]) == 4


class Listed(MemoryRecords):
    """Scans say what the test wants, one row at a time."""

    def __init__(self, pks: list[str], *, unordered: bool) -> None:
        super().__init__("p", unordered=unordered)
        self.left = [Item(Key(pk, "x"), "1", "test", "{}") for pk in pks]

    async def scan(self, after: Key | None, limit: int) -> Sequence[Item]:
        page, self.left = self.left[:1], self.left[1:]
        return page
