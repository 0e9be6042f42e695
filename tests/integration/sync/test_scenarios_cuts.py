"""Acceptance scenarios 10 to 12, 14 and 15: runs that are cut off at every call, answers that
are lost, and surfaces that others write to meanwhile.

Here the engine itself runs over real databases and real stores, because each call has
to be the one that fails. How processes that are killed go on is in
tests/durability/sync.
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from workspace.project.v1.grant_pb2 import Grant

from services.records.port import Key
from sync_svc.engine.sync_state import SyncStates
from tests.conformance.sync.kinds import Rig
from tests.integration.sync.backups import Backups, Folders
from tests.integration.sync.faults import Fault, Line
from tests.unit.sync_svc.engine.world import (
    PULL,
    PUSH,
    Clock,
    World,
    document,
    document_key,
    same,
    with_file,
)

DOCUMENTS = 2
MOST_CALLS = 61


@pytest.fixture
async def world(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, backups: Backups
) -> AsyncIterator[World]:
    monkeypatch.setattr("sync_svc.engine.batches.BATCH_BYTES", 2000)  # several batches
    made = World(tmp_path, Clock())
    if not isinstance(backups, Folders):
        made = Rig(
            tmp_path, Clock(time.time()), surface_kind="aws", setenv=monkeypatch.setenv
        )
    await made.open("local", "remote", "third")
    yield made
    await made.close()


async def _delta(world: World, number: int, *, on: str) -> set[Key]:
    """A few documents with files that the other side does not have yet."""
    made = set()
    for each in range(DOCUMENTS):
        name = f"d_{number}_{each}"
        data = f"bytes of {name}".encode()
        message = with_file(document(name), data)
        await world.put_object(message.storage_key, data, on=on)
        await world.write(message, on=on)
        made.add(document_key(name))
    return made


async def _in_step(world: World) -> None:
    await world.project()
    await world.push()
    await world.pull()


async def _run(world: World, direction: int, **lines: Line) -> bool:
    """One run over these lines; whether it came to its end."""
    whole = dict(world.surfaces)
    for name, line in lines.items():
        world.surfaces[name] = line.around(whole[name])
    try:
        await (world.push() if direction == PUSH else world.pull())
    except BaseException:
        if not any(line.dead for line in lines.values()):
            raise
        return False
    finally:
        world.surfaces.update(whole)
    return True


async def _dangling(world: World, on: str) -> list[str]:
    """Objects that records of a surface name, and that it does not have."""
    missing = []
    surface = world.surfaces[on]
    for item in await world.rows(on, "document"):
        name = item.key.pk.removeprefix("DOCUMENT#")
        key = with_file(document(name), b"").storage_key
        listed = await surface.objects.list(key)
        if [each.key for each in listed.objects] != [key]:
            missing.append(key)
    return missing


@pytest.mark.parametrize("fault", [Fault.KILL_BEFORE, Fault.KILL_AFTER])
async def test_scenario_10_the_pushing_node_dies_at_every_remote_call(
    world: World, fault: Fault
) -> None:
    """10. Kill the pushing node at every remote call k: after a restart and a push both
    are equal, no object dangles at any k, and at most one batch is done again."""
    await _in_step(world)
    for at in range(MOST_CALLS):
        keys = await _delta(world, at, on="local")
        line, again = Line(fault, at), Line(Fault.LOSE_ANSWER, -1)
        done = await _run(world, PUSH, remote=line)
        assert await _dangling(world, "remote") == []
        await world.reopen("local")
        assert await _run(world, PUSH, remote=again)
        assert same(await world.states("local"), await world.states("remote"))
        assert await _dangling(world, "remote") == []
        written = Counter(key for run in (line, again) for c in run.commits for key in c)
        twice = [key for key in keys if written[key] > 1]
        assert not twice, "what was there is written once more"
        if done:
            break
    assert 8 <= at < MOST_CALLS - 1


async def test_scenario_11_the_answer_of_every_changing_call_is_lost(world: World) -> None:
    """11. Drop the response of each mutating call k: no duplicate, no false conflict and
    no loss, and the run itself goes on or is repeated."""
    await _in_step(world)
    for at in range(MOST_CALLS):
        await _delta(world, at, on="local")
        before = len(await world.rows("remote", "activity_event"))
        line = Line(Fault.LOSE_ANSWER, at, changing=True)
        await _run(world, PUSH, remote=line)
        here, there = await world.states("local"), await world.states("remote")
        assert same(here, there)
        assert all(len(each.versions) == 1 for each in there.values())
        assert len(await world.rows("remote", "activity_event")) - before == DOCUMENTS
        for surface in ("local", "remote"):
            assert await world.rows(surface, "conflict") == []
        assert await _dangling(world, "remote") == []
        if not line.met:
            break
    assert 5 <= at < MOST_CALLS - 1


@pytest.mark.parametrize("surface", ["local", "remote"])
async def test_scenario_12_the_pulling_node_dies_at_every_call(
    world: World, surface: str
) -> None:
    """12. Kill the pulling node at every call and every commit k: the checkpoint is never
    ahead of the data, and the next run goes on."""
    await _in_step(world)
    for at in range(MOST_CALLS):
        await _delta(world, at, on="remote")
        fault = Fault.KILL_AFTER if at % 2 else Fault.KILL_BEFORE
        done = await _run(world, PULL, **{surface: Line(fault, at)})
        await _nothing_is_passed_over(world)
        assert await _unfetched(world) == []
        await world.reopen("local")
        await world.pull()
        assert same(await world.states("local"), await world.states("remote"))
        assert await _dangling(world, "local") == []
        if done:
            break
    assert 5 <= at < MOST_CALLS - 1


async def _nothing_is_passed_over(world: World) -> None:
    """Everything up to the cursor is here."""
    connection_id = world.connection("remote").connection_id
    state = await SyncStates(world.surfaces["local"].records).load(connection_id)
    page = await world.surfaces["remote"].records.changes(state.pull_cursor)
    later = {item.key for item in page.items}
    here = await world.states("local")
    for key, each in (await world.states("remote")).items():
        assert key in later or each.same_as(here.get(key)), key


async def _unfetched(world: World) -> list[str]:
    """Objects that are neither here nor noted as still to come."""
    noted = " ".join(item.body for item in await world.rows("local", "pending_bytes"))
    return [key for key in await _dangling(world, "local") if key not in noted]


ITEMS = 150
"""Of each node; the table says 1,000, which takes too long for every day."""


def _grant(node: str, number: int) -> Grant:
    return Grant(project_id="p_1", grant_id=f"g_{node}_{number}", target_id=f"u_{number}")


async def test_scenario_14_two_nodes_push_to_one_partition_at_once(world: World) -> None:
    """14. Two nodes push many items each to one partition at the same time: all are
    there, the feed has no gap, the events of each follow on each other, no conflicts."""
    await _in_step(world)
    await world.push("third")
    await world.pull("third")
    cursor = await world.surfaces["remote"].records.tail()
    for number in range(ITEMS):
        for node in ("local", "third"):
            await world.write(_grant(node, number), on=node)
    await asyncio.gather(world.push("local"), world.push("third"))
    wanted = {
        Key("PROJECT#p_1", f"GRANT#g_{node}_{number}")
        for node in ("local", "third") for number in range(ITEMS)
    }
    assert wanted <= (await world.states("remote")).keys()
    assert wanted <= await _feed(world, cursor)
    assert await world.rows("remote", "conflict") == []
    for node in ("local", "third"):
        await world.pull(node)
        assert same(await world.states(node), await world.states("remote"))
        actor = world.surfaces[node].records.actor
        events = [each for each in await world.rows("remote", "activity_event")
                  if f"#{actor}#" in each.key.sk and each.key.pk == "PROJECT#p_1"]
        assert len({each.key for each in events}) >= ITEMS


async def _feed(world: World, cursor: str) -> set[Key]:
    """What the feed of the remote surface tells after a cursor."""
    found: set[Key] = set()
    while True:
        page = await world.surfaces["remote"].records.changes(cursor)
        if not page.items:
            return found
        found |= {item.key for item in page.items}
        cursor = page.cursor


async def test_scenario_15_pulling_while_another_node_writes(world: World) -> None:
    """15. Pull again and again while 50 items are being written by another node: in the
    end all are here, none is skipped, and no pull leaves a gap behind its cursor."""
    await _in_step(world)

    async def write() -> None:
        for number in range(50):
            await world.write(document(f"d_{number}"), on="remote")

    writing = asyncio.ensure_future(write())
    pulls, sizes = 0, []
    while not writing.done():
        await world.pull(force=True)
        sizes.append(len(await world.states("local")))
        pulls += 1
    await writing
    await world.pull(force=True)
    assert pulls >= 2
    assert sizes == sorted(sizes)
    for number in range(50):
        assert await world.state(document_key(f"d_{number}"), on="local") is not None
    assert same(await world.states("local"), await world.states("remote"))


