"""A run that is cut off anywhere: the cursor is never ahead of the data, and the next
run ends where an undisturbed one would have."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest

from services.model.errors import Reason, WorkspaceError
from services.records.port import DriverUnavailable
from sync_svc.engine.push import push
from sync_svc.engine.sync_state import SyncStates
from sync_svc.engine.task import Stopped
from tests.unit.sync_svc.engine.world import (
    PULL,
    PUSH,
    CountingDriver,
    World,
    document,
    document_key,
    same,
)


def _failing(driver: CountingDriver, at: int, *, ambiguous: bool) -> Callable[[str], None]:
    def before(_: str) -> None:
        if len(driver.calls) > at:
            raise DriverUnavailable("gone", ambiguous=ambiguous)

    return before


@pytest.mark.parametrize("surface", ["local", "remote"])
@pytest.mark.parametrize("direction", [PUSH, PULL])
async def test_cut_off_after_every_call(
    world: World, surface: str, direction: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sync_svc.engine.batches.BATCH_BYTES", 4000)
    source = "local" if direction == PUSH else "remote"
    await world.project(on=source)
    await world.documents(6, on=source)
    whole = world.surfaces[surface]
    for at in range(400):
        driver = world.count(surface)
        driver.before = _failing(driver, at, ambiguous=at % 2 == 0)
        try:
            await (world.push() if direction == PUSH else world.pull())
            break
        except (WorkspaceError, DriverUnavailable):
            pass
        finally:
            world.surfaces[surface] = whole
        await _nothing_is_passed_over(world, direction)
    else:
        pytest.fail("no run came to its end")
    assert at >= 3
    assert same(await world.states("local"), await world.states("remote"))


async def _nothing_is_passed_over(world: World, direction: int) -> None:
    """Everything up to the cursor is at the target."""
    state = await SyncStates(world.surfaces["local"].records).load("c_remote")
    cursor = state.push_cursor if direction == PUSH else state.pull_cursor
    if not cursor:
        return
    source, target = ("local", "remote") if direction == PUSH else ("remote", "local")
    page = await world.surfaces[source].records.changes(cursor)
    later = {item.key for item in page.items}
    there = await world.states(target)
    for key, each in (await world.states(source)).items():
        assert key in later or each.same_as(there.get(key))


async def test_a_failing_commit_leaves_the_cursor(world: World) -> None:
    await world.project()
    await world.push()
    before = await SyncStates(world.surfaces["local"].records).load("c_remote")
    await world.write(document("d_1"))
    whole = world.surfaces["remote"]
    driver = world.count("remote")

    def refuse(call: str) -> None:
        if call == "commit DOCUMENT#d_1":
            raise DriverUnavailable("gone")

    driver.before = refuse
    with pytest.raises(WorkspaceError):
        await world.push()
    after = await SyncStates(world.surfaces["local"].records).load("c_remote")
    assert after.push_cursor == before.push_cursor
    world.surfaces["remote"] = whole
    await world.push()
    assert await world.state(document_key("d_1"), on="remote") is not None


async def test_what_the_surface_refuses_blocks_nothing_else(world: World) -> None:
    await world.project()
    await world.documents(3)
    driver = world.count("remote")

    def refuse(call: str) -> None:
        if call == "commit DOCUMENT#d_1":
            raise ValueError("an item is too large")

    driver.before = refuse
    tally = await world.push()
    assert tally.counts.quarantined == 2  # the document and its event
    rows = await world.rows("local", "quarantine")
    assert len(rows) == 2
    assert '"QUARANTINE_REASON_REJECTED"' in rows[0].body
    for name in ("d_0", "d_2"):
        assert await world.state(document_key(name), on="remote") is not None
    driver.before = lambda _: None
    await world.write(document("d_1", "smaller"))
    await world.push()
    assert await world.state(document_key("d_1"), on="remote") is not None


async def test_a_run_that_is_stopped_keeps_what_it_did(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sync_svc.engine.batches.BATCH_BYTES", 4000)
    await world.project()
    await world.push()
    await world.documents(6)
    task = world.task(PUSH, force=True)
    asked = iter([False])
    stopped = replace(task, stop=lambda: next(asked, True))
    with pytest.raises(Stopped):
        await push(stopped)
    there = await world.states("remote")
    assert 2 < len(there) < 14
    await world.push()
    assert same(await world.states("local"), await world.states("remote"))


async def test_a_cursor_is_not_set_back_by_an_older_run(world: World) -> None:
    states = SyncStates(world.surfaces["local"].records)
    one, other = await states.load("c_1"), await states.load("c_1")
    await states.store(replace(one, push_cursor="later"))
    with pytest.raises(WorkspaceError) as caught:
        await states.store(replace(other, push_cursor="earlier"))
    assert caught.value.reason == Reason.ERROR_REASON_CONFLICTING_WRITE
    assert (await states.load("c_1")).push_cursor == "later"
