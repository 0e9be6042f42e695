"""A surface cannot make us drop what others are still to write."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest
from workspace.project.v1.project_pb2 import Project
from workspace.sync.v1.quarantine_pb2 import QuarantineReason as Why

from services.model.clocks import HybridClock
from services.model.stamp import Stamp
from services.records.store import RecordStore
from tests.unit.sync_svc.engine.world import PULL, Clock, World, project_key
from tests.unit.sync_svc.quarantine.bench import CONTENT, quarantined, sort, spoil, take

P1 = project_key("p_1")
INVALID = Why.QUARANTINE_REASON_INVALID


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    made = World(tmp_path, Clock())
    await made.open("local", "remote", "third")
    yield made
    await made.close()


async def forge(world: World, *, past: bool) -> None:
    """The surface's project claims a thousand writes of the third workspace."""
    item = await world.surfaces["remote"].records.get_row(P1)
    assert item is not None
    stamp = Stamp.load(item.stamp)
    claim = {world.surfaces["third"].records.actor: 1000}
    stamp = replace(
        stamp, clock={**stamp.clock, **claim}, vv={**stamp.vv, **claim} if past else stamp.vv
    )
    await spoil(world, P1, stamp=stamp.dump())


async def test_a_later_version_that_a_forged_clock_covers_is_not_lost(world: World) -> None:
    await world.project(on="remote")
    await forge(world, past=True)
    await take(world, P1)
    world.clock.now += 60
    await world.write(Project(project_id="p_1", name="p_1", restricted=True), on="third")
    task = world.task(PULL, remote="third")
    found = await sort(world, P1, run=task)
    assert found.take == []
    refusal = found.refused[P1]
    assert (refusal.reason, refusal.stays) == (INVALID, True)
    assert "PROJECT#p_1" in refusal.message
    assert "edit the record here" in refusal.message
    assert len(await quarantined(world)) == 1


async def test_nor_does_a_push_write_over_it(world: World) -> None:
    await world.project(on="remote")
    await forge(world, past=True)
    await take(world, P1)
    world.clock.now += 60
    await world.write(Project(project_id="p_1", name="p_1", restricted=True), on="third")
    theirs = await world.state(P1, on="third")
    tally = await world.push(remote="third", force=True)
    assert await world.state(P1, on="third") == theirs
    assert tally.counts.quarantined == 1
    await world.write(Project(project_id="p_1", name="p_1", restricted=True))  # the remedy
    await world.push(remote="third", force=True)
    mine = await world.state(P1, on="local")
    assert mine is not None
    assert mine.same_as(await world.state(P1, on="third"))


async def test_a_project_whose_clock_is_beyond_its_past_is_not_taken(world: World) -> None:
    await world.project()
    await world.push()
    await world.write(Project(project_id="p_1", name="Other"), on="remote")
    await forge(world, past=False)
    found = await sort(world, P1, connection=CONTENT)
    assert found.refused[P1].reason == INVALID
    assert "claims versions of" in found.refused[P1].message
    assert [each.key for each in (await sort(world, P1)).take] == [P1]


async def test_what_was_superseded_here_is_no_evidence(world: World) -> None:
    await world.project()
    await world.push()
    await world.write(Project(project_id="p_1", name="Other"))
    found = await sort(world, P1, connection=CONTENT)
    assert ([each.key for each in found.take], found.refused) == ([P1], {})


async def test_a_write_is_later_than_what_it_replaces_though_the_clock_went_back(
    world: World,
) -> None:
    await world.project()
    await world.push()
    surface = world.surfaces["local"]
    behind = HybridClock(lambda: world.clock.millis() - 3_600_000)
    slow = RecordStore(surface.records.driver, actor=surface.records.actor, clock=behind)
    world.surfaces["local"] = surface.with_records(slow)
    await world.write(Project(project_id="p_1", name="Other"))
    mine, theirs = [await world.state(P1, on=on) for on in ("local", "remote")]
    assert mine is not None
    assert theirs is not None
    assert max(v.hlc for v in mine.versions.values()) > max(
        v.hlc for v in theirs.versions.values()
    )
    assert (await sort(world, P1, connection=CONTENT)).refused == {}
