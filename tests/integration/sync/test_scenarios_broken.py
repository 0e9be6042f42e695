"""The scenarios can fail: each of these breaks the product as real systems were broken, and
the scenario that is about it says so."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import grpc.aio
import pytest

from services.model.families import FAMILIES
from services.model.versions import State, join
from services.records import plan, replica
from services.records.record import Activity, Write
from sync_svc.engine import guard
from sync_svc.engine.pipeline import Pipeline
from tests.integration.sync import test_scenarios_cuts as cuts
from tests.integration.sync import test_scenarios_decisions as decisions
from tests.integration.sync import test_scenarios_edits as edits
from tests.integration.sync import test_scenarios_surfaces as surfaces
from tests.integration.sync.faults import Fault, Forgetful
from tests.integration.sync.nodes import Desk, open_desk
from tests.simulation.mutants import ENGINE_MUTANTS, KERNEL_MUTANTS
from tests.unit.sync_svc.engine.world import Clock, World

DOCUMENT = FAMILIES["document"]


@pytest.fixture
async def desk(tmp_path: Path) -> AsyncIterator[Desk]:
    async with open_desk(tmp_path) as made:
        yield made


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    made = World(tmp_path, Clock())
    await made.open("local", "remote", "third")
    yield made
    await made.close()


async def test_the_last_writer_wins(desk: Desk) -> None:
    with KERNEL_MUTANTS["last writer wins"](), pytest.raises((AssertionError, ValueError)):
        await edits.test_scenario_3_different_edits_in_either_order(desk)


async def test_records_go_before_their_objects(world: World) -> None:
    with ENGINE_MUTANTS["record before object"](), pytest.raises(AssertionError):
        await cuts.test_scenario_10_the_pushing_node_dies_at_every_remote_call(
            world, Fault.KILL_BEFORE
        )


async def test_the_cursor_goes_before_the_data(world: World) -> None:
    with ENGINE_MUTANTS["cursor before data"](), pytest.raises(AssertionError):
        await cuts.test_scenario_12_the_pulling_node_dies_at_every_call(world, "local")


async def test_a_decision_does_not_count_as_one(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(plan, "_authored", lambda _family, _state, _gone, version: version)
    with pytest.raises((AssertionError, ValueError)):
        await decisions.test_scenario_9_both_resolve_the_same_conflict_offline(desk)


async def test_absence_in_a_listing_is_taken_for_a_deletion(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = Pipeline.run

    async def mirroring(self: Any) -> None:
        """What only the target has is deleted there, as tools do that mirror folders."""
        await real(self)
        if not self._task.options.full_reconcile:
            return
        source, target = self._task.source.records, self._task.target.records
        there = {item.key for item in await source.scan(None, 5000)}
        for item in await target.scan(None, 5000):
            if item.family == "document" and item.key not in there:
                record = await target.get(DOCUMENT, item.key)
                gone = Write(DOCUMENT, record.edit(), base=record, deleted=True)
                await target.commit(item.key.pk, [gone], activity=Activity("gone", item.key.pk))

    monkeypatch.setattr(Pipeline, "run", mirroring)
    monkeypatch.setattr(Forgetful, "every", 3)
    with pytest.raises((AssertionError, grpc.aio.AioRpcError)):
        await surfaces.test_scenario_17_a_listing_leaves_some_out(desk, desk.a.backups, monkeypatch)


async def test_nobody_guards(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(guard.Verdict, "passes", property(lambda _: True))
    with pytest.raises(AssertionError):
        await surfaces.test_scenario_18_most_documents_are_deleted(desk)


async def test_equal_clocks_hide_a_version(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    def by_clock(mine: State | None, theirs: State | None) -> State:
        both = join(mine, theirs)
        kept: dict[str, Any] = {each.hlc: each for each in both.versions.values()}
        return replace(both, versions={each.dot: each for each in kept.values()})

    monkeypatch.setattr(replica, "join", by_clock)
    with pytest.raises((AssertionError, ValueError)):
        await edits.test_scenario_4_with_clocks_that_tie_or_drift(desk, edits.Stopped)
