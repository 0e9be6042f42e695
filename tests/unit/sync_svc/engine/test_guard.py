"""The guard against mass change, before the first write."""

from __future__ import annotations

import pytest
from workspace.sync.v1.run_pb2 import RunPhase

from services.model.errors import Reason, WorkspaceError
from sync_svc.engine.guard import Count, judged
from tests.unit.sync_svc.engine.world import PUSH, World, document, same


@pytest.fixture(params=[False, True], ids=["ordered", "unordered"])
def unordered(request: pytest.FixtureRequest) -> bool:
    return bool(request.param)


async def _shared(world: World, documents: int) -> None:
    await world.project()
    await world.documents(documents)
    await world.push()
    await world.pull()


async def _delete(world: World, numbers: range, *, on: str = "local") -> None:
    for number in numbers:
        await world.write(document(f"d_{number}"), on=on, deleted=True)


async def test_deleting_half_is_refused_and_nothing_is_written(world: World) -> None:
    await _shared(world, 11)
    await _delete(world, range(6))
    before = await world.states("remote")
    remote = world.count("remote")
    with pytest.raises(WorkspaceError) as caught:
        await world.push()
    assert caught.value.reason == Reason.ERROR_REASON_MASS_CHANGE
    assert caught.value.metadata == {"count": "6", "limit": "3"}
    assert same(before, await world.states("remote"))
    assert not [each for each in remote.calls if each.startswith("commit")]


async def test_the_plan_says_what_the_guard_will_say(world: World) -> None:
    await _shared(world, 11)
    await _delete(world, range(6))
    _, summary = await world.plan(PUSH)
    assert (summary.deletes, summary.guarded_changes, summary.guard_limit) == (6, 6, 3)
    assert summary.needs_force


async def test_force_passes(world: World) -> None:
    await _shared(world, 11)
    await _delete(world, range(6))
    tally = await world.push(force=True)
    assert tally.counts.records_deleted == 6
    assert RunPhase.RUN_PHASE_GUARD not in tally.seconds


async def test_a_few_deletes_pass(world: World) -> None:
    await _shared(world, 11)
    await _delete(world, range(3))
    assert (await world.push()).counts.records_deleted == 3


async def test_a_pull_is_guarded_too(world: World) -> None:
    await _shared(world, 11)
    await _delete(world, range(6), on="remote")
    before = await world.states("local")
    with pytest.raises(WorkspaceError) as caught:
        await world.pull()
    assert caught.value.reason == Reason.ERROR_REASON_MASS_CHANGE
    assert same(before, await world.states("local"))


async def test_the_count_is_of_the_whole_run(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    await _shared(world, 11)
    await _delete(world, range(6))
    monkeypatch.setattr("sync_svc.engine.batches.BATCH_BYTES", 3000)  # two records a batch
    before = await world.states("remote")
    with pytest.raises(WorkspaceError) as caught:
        await world.push()
    assert caught.value.metadata == {"count": "6", "limit": "3"}
    assert same(before, await world.states("remote"))


async def test_a_first_push_of_thousands_needs_no_force(world: World) -> None:
    await world.project()
    await world.documents(150)
    assert (await world.push()).counts.records_written == 302


async def test_ordinary_edits_pass_up_to_a_hundred(world: World) -> None:
    await _shared(world, 101)
    for number in range(100):
        await world.write(document(f"d_{number}", "edited"))
    assert (await world.plan(PUSH))[1].needs_force is False
    await world.write(document("d_100", "edited"))
    with pytest.raises(WorkspaceError) as caught:
        await world.push()
    assert caught.value.metadata == {"count": "101", "limit": "100"}


@pytest.mark.parametrize(
    ("losses", "overwrites", "records", "passes", "limit"),
    [
        (1, 0, 1, True, 1),
        (2, 0, 4, False, 1),
        (25, 0, 100, True, 25),
        (26, 0, 100, False, 25),
        (100, 0, 100_000, True, 100),
        (101, 0, 100_000, False, 100),
        (0, 250, 1000, True, 100),
        (0, 251, 1000, False, 250),
        (100, 150, 1000, True, 100),
        (100, 151, 1000, False, 250),
    ],
)
def test_limits(losses: int, overwrites: int, records: int, passes: bool, limit: int) -> None:
    count = Count()
    count.losses, count.overwrites = losses, overwrites
    verdict = judged(count, records)
    assert (verdict.passes, verdict.limit) == (passes, limit)


@pytest.mark.parametrize(("losses", "overwrites"), [(2, 0), (50, 3), (3, 120), (140, 0)])
def test_as_many_records_are_counted_as_matter(losses: int, overwrites: int) -> None:
    count = Count()
    count.losses, count.overwrites = losses, overwrites
    enough = judged(count, count.needs_records)
    assert enough.passes == judged(count, 10 * count.needs_records).passes


async def test_a_push_brings_no_deletes_past_the_guard(world: World) -> None:
    await _shared(world, 11)
    await _delete(world, range(6), on="remote")
    before = await world.states("local")
    await world.push(full_reconcile=True)
    assert same(before, await world.states("local"))
