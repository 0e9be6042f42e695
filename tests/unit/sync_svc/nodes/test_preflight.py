"""Is it the surface that we know, and are we who it knows?"""

from __future__ import annotations

import json
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import pytest
from workspace.sync.v1.run_pb2 import SyncOptions

from services.model.errors import Reason, WorkspaceError
from services.records.instance import INSTANCE_KEY
from services.records.port import Match, Put
from tests.unit.sync_svc.nodes.conftest import Open
from tests.unit.sync_svc.nodes.lives import (
    PULL,
    PUSH,
    Killed,
    check,
    load,
    pull,
    push,
    task_of,
)


async def test_the_first_contact_compares_everything_and_remembers(stores: Open) -> None:
    ann, box = await stores("ann"), await stores("box", passive=True)
    assert (await push(ann, box)).full_reconcile
    state = await load(task_of(ann, box, PUSH))
    assert state.instance_id == box.instance.instance_id
    assert state.provider_identity == box.instance.provider_identity
    assert not (await push(ann, box)).full_reconcile
    assert (await pull(ann, box)).full_reconcile  # the other direction has its own


async def test_a_quiet_preflight_is_one_request_and_writes_nothing(stores: Open) -> None:
    ann, box = await stores("ann"), await stores("box", passive=True)
    await push(ann, box)
    ann.driver.calls.clear()
    box.driver.calls.clear()
    await check(task_of(ann, box, PUSH))
    assert box.driver.calls == ["batch_get"]
    assert "commit" not in ann.driver.calls


async def test_the_handshake_is_one_more_request(stores: Open) -> None:
    ann, box = await stores("ann"), await stores("box", passive=True)
    await push(ann, box)
    task = task_of(ann, box, PUSH)
    checks, _ = await check(task)
    box.driver.calls.clear()
    await checks.announce_export(task)
    assert box.driver.calls == ["commit"]


async def test_another_surface_behind_the_connection_is_refused(stores: Open) -> None:
    ann, box, other = await stores("ann"), await stores("box", passive=True), await stores(
        "other", passive=True
    )
    await push(ann, box)
    for direction in (PUSH, PULL):
        with pytest.raises(WorkspaceError, match="--reinitialise") as refused:
            await check(task_of(ann, other, direction, connection="box"))
        assert refused.value.reason == Reason.ERROR_REASON_SURFACE_CHANGED
        assert refused.value.metadata == {"connection_id": "box"}
    found = await push(ann, other, connection="box", options=SyncOptions(reinitialise=True))
    assert found.full_reconcile
    assert found.state.instance_id == other.instance.instance_id
    assert (found.state.push_cursor, found.state.pull_cursor) == ("", "")
    await push(ann, other, connection="box")


async def test_an_emptied_surface_is_refused(stores: Open, tmp_path: Path) -> None:
    ann, box = await stores("ann"), await stores("box", passive=True)
    await push(ann, box)
    empty = await stores("empty", passive=True, file=tmp_path / "empty.sqlite")
    # An empty database that nobody gave an identity, and one that got a new one.
    with pytest.raises(WorkspaceError, match="another one now"):
        await check(task_of(ann, empty, PULL, connection="box"))
    item = await empty.records.get_row(INSTANCE_KEY)
    assert item is not None
    await empty.records.put_row(
        Put(INSTANCE_KEY, Match(item.token), "instance", "{}", deleted=True, expires_at=1)
    )
    with pytest.raises(WorkspaceError, match="is empty now"):
        await check(task_of(ann, empty, PULL, connection="box"))


@pytest.mark.parametrize(
    ("members", "direction", "refused"),
    [
        ({"min_writer": 9}, PUSH, True),
        ({"min_writer": 9}, PULL, False),
        ({"min_reader": 9, "min_writer": 9}, PULL, True),
        ({"format": 9}, PUSH, False),
    ],
)
async def test_formats(
    stores: Open, members: dict[str, int], direction: int, *, refused: bool
) -> None:
    ann, box = await stores("ann"), await stores("box", passive=True)
    item = await box.records.get_row(INSTANCE_KEY)
    assert item is not None
    body = json.dumps(json.loads(item.body) | members | {"later": "member"})
    await box.records.put_row(Put(INSTANCE_KEY, Match(item.token), "instance", body))
    task = task_of(ann, box, direction)  # type: ignore[arg-type]
    if refused:
        with pytest.raises(WorkspaceError, match="install the version that wrote it") as error:
            await check(task)
        assert error.value.reason == Reason.ERROR_REASON_INVALID_STATE
    else:
        await check(task)
    if members == {"min_writer": 9} and direction == PULL:
        await pull(ann, box)  # and writes nothing there, its own row neither
        assert await box.node(ann.instance.instance_id) is None


async def test_a_read_only_surface_is_pulled_from_only(stores: Open) -> None:
    ann, box = await stores("ann"), await stores("box", passive=True)
    task = task_of(ann, box, PUSH)
    with pytest.raises(WorkspaceError, match="read-only"):
        await check(replace(task, remote=replace(task.remote, read_only=True)))
    task = task_of(ann, box, PULL)
    box.driver.calls.clear()
    checks, _ = await check(replace(task, remote=replace(task.remote, read_only=True)))
    await checks.acknowledge(task)
    assert "commit" not in box.driver.calls


async def test_a_copy_of_this_workspace_is_no_surface(stores: Open, tmp_path: Path) -> None:
    ann = await stores("ann")
    file = await ann.snapshot(tmp_path / "copy.sqlite")
    copy = await stores("copy", passive=True, file=file)
    with pytest.raises(WorkspaceError, match="is a copy of this workspace"):
        await check(task_of(ann, copy, PUSH))


async def test_two_connections_to_one_surface_raise_no_alarm(stores: Open) -> None:
    ann, box = await stores("ann"), await stores("box", passive=True)
    await push(ann, box, connection="c1")
    await push(ann, box, connection="c2")
    await push(ann, box, connection="c1")
    assert (await ann.now()).former == ()
    assert not (await push(ann, box, connection="c2")).full_reconcile


async def test_a_surface_that_was_rolled_back_gets_all_again(stores: Open, tmp_path: Path) -> None:
    ann, box = await stores("ann"), await stores("box", passive=True)
    await ann.edit("p", name="one")
    await push(ann, box)
    await pull(ann, box)
    earlier = await box.snapshot(tmp_path / "earlier")
    await ann.edit("p", name="two")
    await push(ann, box)
    await box.roll_back(earlier)
    before = await box.now()
    found = await push(ann, box)
    assert found.full_reconcile
    assert (found.state.push_cursor, found.state.pull_cursor) == ("", "")
    assert await box.values("p") == {"two"}
    assert (await box.now()).former == (before.incarnation,)
    assert (await ann.now()).former == ()  # nothing is wrong with us
    assert not (await push(ann, box)).full_reconcile  # the alarm is raised once
    assert (await pull(ann, box)).full_reconcile  # but for each direction


async def test_a_rolled_back_surface_is_noticed_by_a_pull_too(stores: Open, tmp_path: Path) -> None:
    ann, box = await stores("ann"), await stores("box", passive=True)
    earlier = await box.snapshot(tmp_path / "earlier")
    await push(ann, box)
    await pull(ann, box)
    await box.roll_back(earlier)
    assert (await pull(ann, box)).full_reconcile
    assert not (await pull(ann, box)).full_reconcile
    assert (await push(ann, box)).full_reconcile


async def test_others_learn_that_the_surface_was_rolled_back(stores: Open, tmp_path: Path) -> None:
    ann, bob, box = await stores("ann"), await stores("bob"), await stores("box", passive=True)
    for node in (ann, bob):
        await push(node, box)
        await pull(node, box)
    earlier = await box.snapshot(tmp_path / "earlier")
    await push(ann, box)
    await box.roll_back(earlier)
    await push(ann, box)
    assert (await pull(bob, box)).full_reconcile


async def test_a_surface_whose_generation_went_back_was_rolled_back(
    stores: Open, tmp_path: Path
) -> None:
    ann, peer = await stores("ann"), await stores("peer")
    await push(ann, peer)
    earlier = await peer.snapshot(tmp_path / "earlier")
    await peer.close()
    await peer.open()
    await peer.close()
    await peer.open()
    assert not (await push(ann, peer)).full_reconcile
    await peer.roll_back(earlier)
    assert (await push(ann, peer)).full_reconcile


async def test_a_copied_surface_compares_everything(stores: Open, tmp_path: Path) -> None:
    ann, box = await stores("ann"), await stores("box", passive=True)
    await push(ann, box)
    file = await box.snapshot(tmp_path / "moved.sqlite")
    moved = await stores("moved", passive=True, file=file)
    assert moved.instance.incarnation != box.instance.incarnation
    assert (await push(ann, moved, connection="box")).full_reconcile
    assert not (await push(ann, moved, connection="box")).full_reconcile


@pytest.mark.parametrize("where", ["ann", "box"])
@pytest.mark.parametrize("at", [1, 2, 3, 4, 5])
async def test_a_run_killed_in_its_handshake_raises_no_alarm(
    stores: Open, where: str, at: int
) -> None:
    ann, box = await stores("ann"), await stores("box", passive=True)
    await push(ann, box)
    task = task_of(ann, box, PUSH)
    checks, _ = await check(task)
    store = {"ann": ann, "box": box}[where]
    store.driver.kill_at = at
    with suppress(Killed):
        await checks.announce_export(task)
    store.driver.kill_at = 0
    assert not (await push(ann, box)).full_reconcile
    assert (await ann.now()).former == ()
    assert (await box.now()).former == ()


async def test_the_next_life_stamps_later_than_the_last_contact(
    stores: Open, tmp_path: Path
) -> None:
    """Clocks go back; what was written after a contact must still be seen to be."""
    ann, box = await stores("ann"), await stores("box", passive=True)
    await push(ann, box)
    floor = (await ann.now()).floor
    await ann.close()
    ann.clock.now -= 100_000
    await ann.open()
    assert (await ann.edit("p", name="late")).stamp.hlc > floor
