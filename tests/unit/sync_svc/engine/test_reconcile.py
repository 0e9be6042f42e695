"""Full reconcile: when it happens, what it finds, what it never does."""

from __future__ import annotations

import sqlite3
from dataclasses import replace

import pytest
from workspace.sync.v1.connection_pb2 import Connection, SyncScope, SyncScopeType, Trust

from sync_svc.engine.reconcile import sums
from sync_svc.engine.scope import Scope
from sync_svc.engine.sync_state import SyncState, SyncStates
from tests.unit.sync_svc.engine.world import PUSH, World, document, document_key, same
from tests.unit.sync_svc.quarantine.bench import quarantined, spoil


@pytest.fixture(params=[False, True], ids=["ordered", "unordered"])
def unordered(request: pytest.FixtureRequest) -> bool:
    return bool(request.param)


async def _change_state(world: World, **members: object) -> None:
    states = SyncStates(world.surfaces["local"].records)
    state = await states.load("c_remote")
    await states.store(replace(state, **members))  # type: ignore[arg-type]


async def _in_step(world: World) -> None:
    await world.project()
    await world.documents(5)
    await world.push()
    await world.pull()


@pytest.mark.parametrize("cursor", ["nonsense", "sqlite:other:5::"])
async def test_a_lost_cursor_is_made_up_for(world: World, cursor: str) -> None:
    await _in_step(world)
    await world.write(document("d_1", "edited"))
    await world.write(document("d_2", "there"), on="remote")
    await _change_state(world, push_cursor=cursor, pull_cursor=cursor)
    assert (await world.push()).full_reconcile
    assert (await world.pull()).full_reconcile
    assert same(await world.states("local"), await world.states("remote"))
    # Whose cursor is lost may have been rolled back: everything is offered once more.
    assert (await world.push()).full_reconcile
    assert not (await world.push()).full_reconcile


async def test_it_happens_weekly(world: World) -> None:
    await _in_step(world)
    assert not (await world.push()).full_reconcile
    world.clock.now += 7 * 86_400 + 1
    assert (await world.push()).full_reconcile
    assert not (await world.push()).full_reconcile


async def test_equal_sides_are_not_looked_at(world: World) -> None:
    await _in_step(world)
    tally = await world.push(full_reconcile=True)
    assert tally.counts.records_done == 0


async def test_only_shards_that_differ_are_looked_at(world: World) -> None:
    await _in_step(world)
    # A change that no feed tells of: the row was joined there behind our back.
    await world.write(document("d_1", "edited"))
    await world.pull()
    tail = await world.surfaces["local"].records.tail()
    await _change_state(world, push_cursor=tail)
    assert (await world.push()).counts.records_written == 0
    tally = await world.push(full_reconcile=True)
    assert tally.counts.records_written == 2
    assert tally.counts.records_done < 8
    assert same(await world.states("local"), await world.states("remote"))


async def test_a_body_changed_under_its_stamp_is_found_when_asked_for(world: World) -> None:
    await _in_step(world)
    await spoil(world, document_key("d_1"), body='{"document_id":"d_1","title":"by hand"}')
    await _change_state(world, pull_cursor=await world.surfaces["remote"].records.tail())
    assert (await world.pull()).counts.quarantined == 0
    assert (await world.pull(full_reconcile=True)).counts.quarantined == 1
    (row,) = await quarantined(world)
    assert row["reason"] == "QUARANTINE_REASON_DIGEST_MISMATCH"


async def test_absence_deletes_nothing(world: World) -> None:
    await _in_step(world)
    await world.write(document("d_here"))
    await world.write(document("d_there"), on="remote")
    await world.pull(full_reconcile=True)
    assert await world.state(document_key("d_here"), on="local") is not None
    await world.push(full_reconcile=True)
    assert same(await world.states("local"), await world.states("remote"))


async def test_a_damaged_row_does_not_end_it(world: World) -> None:
    await _in_step(world)
    await world.documents(1, on="remote", name="edited there")
    _damage(world, "remote", "d_3")
    tally = await world.pull(full_reconcile=True)
    assert tally.counts.quarantined == 1
    key = document_key("d_0")
    here, there = await world.state(key, on="local"), await world.state(key, on="remote")
    assert here is not None
    assert here.same_as(there)


async def test_versions_side_by_side_are_summed(world: World) -> None:
    await _in_step(world)
    await world.write(document("d_1", "here"))
    await world.write(document("d_1", "there"), on="remote")
    await world.push()
    await world.pull()
    task = world.task(PUSH)
    scope = Scope(task.connection, task.options, ())
    local = await sums(task, task.local.records, scope)
    assert local == await sums(task, task.remote.records, scope)
    await world.write(document("d_1", "decided"))
    assert local != await sums(task, task.local.records, scope)


async def test_another_scope_compares_everything(world: World) -> None:
    await world.project("p_1")
    await world.project("p_2")
    await world.write(document("d_1", project_id="p_1"))
    await world.write(document("d_2", project_id="p_2"))
    narrow = _scoped("p_1")
    await world.push(connection=narrow)
    assert await world.state(document_key("d_2"), on="remote") is None
    assert not (await world.push(connection=narrow)).full_reconcile
    tally = await world.push(connection=_scoped("p_1", "p_2"))
    assert tally.full_reconcile
    assert await world.state(document_key("d_2"), on="remote") is not None
    tally = await world.push(connection=narrow)
    assert tally.full_reconcile
    assert await world.state(document_key("d_2"), on="remote") is not None


async def test_the_row_keeps_what_later_software_knows_out(world: World) -> None:
    states = SyncStates(world.surfaces["local"].records)
    stored = await states.store(SyncState("c_9", push_cursor="x"))
    assert await states.load("c_9") == stored
    assert await states.store(stored) == stored


def _scoped(*project_ids: str) -> Connection:
    scope = SyncScope(type=SyncScopeType.SYNC_SCOPE_TYPE_PROJECTS, project_ids=project_ids)
    return Connection(connection_id="c_remote", trust=Trust.TRUST_FULL, scope=scope)


def _damage(world: World, surface: str, document_id: str) -> None:
    path = world.folder / surface / "workspace.sqlite"
    with sqlite3.connect(path) as connection:
        connection.execute(
            "UPDATE items SET stamp = 'broken' WHERE sk = ?", (f"ARTIFACT#{document_id}",)
        )
    connection.close()
