"""A backup of any store restores into any other, whatever order their scans have."""

from __future__ import annotations

import json
from collections.abc import Sequence
from itertools import groupby
from pathlib import Path
from typing import Any

import pytest

from services.backup.archive import Manifest, RowWriter
from services.backup.restore import restore_records
from services.model.errors import WorkspaceError
from services.records.limits import fit
from services.records.port import ABSENT, Item, Key, Put
from services.records.walking import all_rows
from tests.simulation.memory_records import MemoryRecords

LARGE = json.dumps("x" * 300_000)
FAR = 4_000_000_000


class Strict(MemoryRecords):
    """Refuses what some provider refuses."""

    async def commit(self, pk: str, puts: Sequence[Put]) -> list[str]:
        assert fit(puts)
        return await super().commit(pk, puts)


class Damaging(Strict):
    """Other rows than those that were written, or one less."""

    def __init__(self, damage: str) -> None:
        super().__init__("damaging", unordered=True)
        self.damage = damage

    async def scan(self, after: Key | None, limit: int) -> Sequence[Item]:
        items = list(await super().scan(after, limit))
        if self.damage == "lost":
            return [item for item in items if item.key.pk != "P#03"] or items[:0]
        if self.damage == "changed":
            return [Item(i.key, i.token, i.family, '{"n":9}', i.stamp) for i in items]
        return items


async def filled(*, unordered: bool) -> MemoryRecords:
    driver = MemoryRecords("source", unordered=unordered)
    for number in range(12):
        pk = f"P#{number:02}"
        await driver.commit(pk, [_put(pk, f"{n:03}", f'{{"n":{n}}}') for n in range(9)])
        await driver.commit(pk, [_put(pk, "ends", expires_at=FAR)])
    for number in range(20):
        await driver.commit("Q#1", [_put("Q#1", f"large{number:02}", LARGE)])
    await driver.commit("Q#2", [_put("Q#2", f"{n:03}") for n in range(250)])
    return driver


async def backed_up(folder: Path, driver: MemoryRecords) -> Manifest:
    writer = RowWriter(folder)
    async for page in driver.pages(50):
        writer.write(page)
    return Manifest("n", "2026-01-01T00:00:00Z", writer.count, writer.close(), 0, 0, [])


@pytest.mark.parametrize("source", [False, True], ids=["ordered", "unordered"])
@pytest.mark.parametrize("target", [False, True], ids=["to ordered", "to unordered"])
async def test_rows_are_the_same_in_every_order(
    tmp_path: Path, source: bool, target: bool
) -> None:
    driver = await filled(unordered=source)
    manifest = await backed_up(tmp_path, driver)
    restored = Strict("target", unordered=target, max_puts=99)
    await restore_records(tmp_path, manifest, restored, progress=lambda what, count: None)
    assert await rows(restored) == await rows(driver)
    assert (await order(restored) == await order(driver)) == (source == target)


@pytest.mark.parametrize("damage", ["lost", "changed"])
async def test_a_store_that_holds_other_rows_is_noticed(tmp_path: Path, damage: str) -> None:
    manifest = await backed_up(tmp_path, await filled(unordered=True))
    with pytest.raises(WorkspaceError, match="are not those of the backup"):
        await restore_records(
            tmp_path, manifest, Damaging(damage), progress=lambda what, count: None
        )


async def rows(driver: MemoryRecords) -> dict[Key, Any]:
    return {
        item.key: (item.family, item.body, item.stamp, item.deleted, item.expires_at)
        async for item in all_rows(driver)
    }


async def order(driver: MemoryRecords) -> list[str]:
    found = [item.key.pk async for item in all_rows(driver)]
    return [pk for pk, _ in groupby(found)]


def _put(pk: str, sk: str, body: str = "{}", *, expires_at: int | None = None) -> Put:
    return Put(Key(pk, sk), ABSENT, "test", body, expires_at=expires_at)
