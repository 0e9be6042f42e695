"""Steps that tests of the intake share."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

from workspace.sync.v1.connection_pb2 import Connection, Trust

from services.model.canonical import content_digest
from services.model.families import FAMILIES
from services.model.stamp import Stamp
from services.records.codec import content_of, dump
from services.records.conflict_rows import Found
from services.records.port import Item, Key, Match, Put
from services.records.replica import Incoming
from sync_svc.engine.incoming import Intake, Sorted
from sync_svc.engine.reading import read_rows
from sync_svc.engine.task import Task
from sync_svc.quarantine.rows import Quarantine
from tests.unit.sync_svc.engine.world import PULL, World

CONTENT = Connection(connection_id="c_remote", trust=Trust.TRUST_CONTENT_ONLY)


def task_of(world: World, connection: Connection | None = None) -> Task:
    return world.task(PULL, connection=connection)


async def sort(
    world: World, *keys: Key, connection: Connection | None = None, run: Task | None = None
) -> Sorted:
    """What one run makes of rows of the remote surface."""
    task = run or task_of(world, connection)
    rows = await read_rows(task.remote.records, list(keys))
    return await Intake(Quarantine(task.local.records, task.now_ms())).sort(task, rows)


async def preview(world: World, *keys: Key, connection: Connection | None = None) -> Sorted:
    task = task_of(world, connection)
    rows = await read_rows(task.remote.records, list(keys))
    return await Intake(Quarantine(task.local.records, task.now_ms())).preview(task, rows)


async def take(world: World, *keys: Key) -> None:
    """Join rows of the remote surface here, as a trusted run does."""
    task = task_of(world)
    for key, state in zip(keys, await task.remote.replica.states(list(keys)), strict=True):
        assert state is not None
        await task.local.replica.join(
            key.pk, [Incoming(key, state)], origin="remote", found=Found(task.now_ms())
        )


async def spoil(world: World, key: Key, *, on: str = "remote", **changes: Any) -> None:
    """Write a row of a surface as no software of ours does."""
    records = world.surfaces[on].records
    item = await records.get_row(key)
    assert item is not None
    made = replace(item, **changes)
    await records.put_row(
        Put(
            key, Match(item.token), made.family, made.body, made.stamp, deleted=made.deleted,
            indexes=made.indexes,
        )
    )


async def edit_by_hand(world: World, key: Key, **members: Any) -> None:
    """Change a row and its digest, but not its version."""
    item = await world.surfaces["remote"].records.get_row(key)
    assert item is not None
    body = json.loads(item.body) | members
    family = FAMILIES[item.family]
    digest = content_digest(family.name, False, content_of(family, body))
    stamp = replace(Stamp.load(item.stamp), digest=digest)
    await spoil(world, key, body=dump(body), stamp=stamp.dump())


async def quarantined(world: World) -> list[dict[str, Any]]:
    return [json.loads(item.body) for item in await world.rows("local", "quarantine")]


async def held(world: World) -> list[dict[str, Any]]:
    """Open conflicts about held states."""
    rows = [json.loads(item.body) for item in await world.rows("local", "conflict")]
    return [row for row in rows if row.get("held") and row["status"] == "open"]


async def everything(world: World, on: str) -> list[Item]:
    return list(await world.surfaces[on].records.scan(None, 5000))
