"""Batches of a source: complete, bounded, and no commit torn apart."""

from __future__ import annotations

import pytest

from services.records.port import Key
from sync_svc.engine.batches import Batch, changed, scanned
from tests.unit.sync_svc.engine.world import World, document


@pytest.fixture(params=[False, True], ids=["ordered", "unordered"])
def unordered(request: pytest.FixtureRequest) -> bool:
    return bool(request.param)


async def _changed(world: World, cursor: str, keys: int) -> list[Batch]:
    return [each async for each in changed(world.surfaces["local"].records, cursor, keys=keys)]


async def _scanned(world: World, keys: int) -> list[Batch]:
    return [each async for each in scanned(world.surfaces["local"].records, keys=keys)]


def _keys(batches: list[Batch]) -> list[Key]:
    return [rows.key for batch in batches for rows in batch.rows]


@pytest.mark.parametrize("keys", [16, 17, 18, 19, 50])
async def test_commits_stay_together(world: World, keys: int) -> None:
    await world.documents(30)
    whole = _keys(await _changed(world, "", 500))
    for batches in (await _changed(world, "", keys), await _scanned(world, keys)):
        assert sorted(_keys(batches)) == sorted(whole)
        partitions = [{rows.key.pk for rows in batch.rows} for batch in batches]
        for at, one in enumerate(partitions):
            assert not any(one & other for other in partitions[at + 1 :])
        assert [batch.last for batch in batches].count(True) == 1
        assert batches[-1].last


@pytest.mark.parametrize("keys", [16, 17, 18, 19])
async def test_a_cursor_covers_what_was_delivered(world: World, keys: int) -> None:
    await world.documents(30)
    batches = await _changed(world, "", keys)
    whole = set(_keys(batches))
    for at, batch in enumerate(batches):
        if batch.cursor:
            before = set(_keys(batches[: at + 1]))
            assert before | set(_keys(await _changed(world, batch.cursor, 500))) == whole
    assert _keys(await _changed(world, batches[-1].cursor, 500)) == []


async def test_a_large_partition_is_not_kept_back(world: World) -> None:
    for number in range(80):
        await world.write(document("d_0", f"name {number}"))
    batches = await _changed(world, "", 20)
    assert len(batches) > 3
    assert max(len(batch.rows) for batch in batches) <= 120
    assert len(set(_keys(batches))) == 82 + 1  # instance, head, document and events
