"""A snapshot shows one moment, whatever is written while it is read; and a
backup of one database restores into every other."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from services.backup.archive import Manifest, RowWriter
from services.backup.restore import restore_records
from services.model.errors import WorkspaceError
from services.records.port import Index, Item
from tests.conformance.records.harness import DRIVERS, Environment, Store, put


async def test_later_commits_are_not_in_it(store: Store) -> None:
    if not getattr(store, "snapshots", True):
        pytest.skip("capability: a copy of one moment (DynamoDB, Cosmos DB: their own backups)")
    if getattr(store, "portable", False):
        pytest.skip("capability: a reader beside a writer (write-ahead log)")
    driver = await store.open()
    for number in range(6):
        await driver.commit(f"P#{number}", [put("a", pk=f"P#{number}")])
    seen: list[str] = []
    async for page in store.snapshot(page=2):
        seen += [item.key.pk for item in page]
        late = len(seen)
        await driver.commit(f"P#9{late}", [put("late", pk=f"P#9{late}")])
        await driver.commit("P#5", [put(f"late{late}", pk="P#5")])
    assert seen == [f"P#{number}" for number in range(6)]


async def test_an_empty_store_has_no_pages(store: Store) -> None:
    await store.open()
    assert [page async for page in store.snapshot(page=10)] == []


@pytest.mark.parametrize(
    "target", sorted(name for name, row in DRIVERS.items() if not row.driver_only)
)
async def test_rows_of_one_database_restore_into_every_other(
    store: Store, target: str, environment: Environment, tmp_path: Path
) -> None:
    driver = await store.open()
    far = 4_000_000_000
    await driver.commit("P#1", [put(f"{n:03}", f'{{"n":{n}}}') for n in range(90)])
    await driver.commit("P#1", [put(f"{n:03}", stamp="s") for n in range(90, 170)])
    end = put("end", pk="P#2", expires_at=far, indexes={Index.USER: ("USER#u", "X")})
    await driver.commit("P#2", [put("gone", "", pk="P#2", deleted=True), end])
    manifest = await write(tmp_path, store.snapshot(page=7))
    if DRIVERS[target].missing:
        pytest.skip(f"capability: {DRIVERS[target].missing}")
    other = DRIVERS[target].store(environment)
    restored = await other.open()
    told: list[int] = []
    await restore_records(tmp_path, manifest, restored, progress=lambda _, n: told.append(n))
    assert told[-1] == 172
    assert await rows(other) == await rows(store)
    with pytest.raises(WorkspaceError, match="not empty"):
        await restore_records(tmp_path, manifest, restored, progress=lambda *_: None)


async def write(folder: Path, pages: AsyncIterator[list[Item]]) -> Manifest:
    writer = RowWriter(folder)
    async for page in pages:
        writer.write(page)
    return Manifest("n", "2026-01-01T00:00:00Z", writer.count, writer.close(), 0, 0, [])


async def rows(store: Store) -> list[tuple[object, ...]]:
    found = [item async for page in store.snapshot(page=50) for item in page]
    return [
        (i.key, i.family, i.body, i.stamp, i.deleted, i.expires_at, dict(i.indexes)) for i in found
    ]
