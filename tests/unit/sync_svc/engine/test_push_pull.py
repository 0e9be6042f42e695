"""Push, pull and the bridge of both: what arrives, and that it comes to rest."""

from __future__ import annotations

import json

from workspace.project.v1.grant_pb2 import Grant
from workspace.sync.v1.connection_pb2 import Connection
from workspace.sync.v1.plan_pb2 import PlanAction

from services.records.port import Key
from tests.unit.sync_svc.engine.world import (
    PULL,
    PUSH,
    World,
    document,
    document_key,
    same,
    with_file,
)


async def test_push_brings_everything_and_then_nothing(world: World) -> None:
    await world.project()
    await world.documents(5)
    first = await world.push()
    assert first.full_reconcile
    assert first.counts.records_written == 12  # 6 records, 6 events
    assert same(await world.states("local"), await world.states("remote"))
    second = await world.push()
    assert not second.full_reconcile
    assert second.counts.records_written == 0


async def test_pull_brings_everything_and_then_nothing(world: World) -> None:
    await world.project(on="remote")
    await world.documents(5, on="remote")
    first = await world.pull()
    assert first.counts.records_written == 12
    assert same(await world.states("local"), await world.states("remote"))
    assert (await world.pull()).counts.records_written == 0
    assert (await world.push()).counts.records_written == 0


async def test_bridge_reaches_a_fixpoint(world: World) -> None:
    await world.open("b")
    await world.project(on="remote")
    await world.documents(3, on="remote")
    await world.pull()
    await world.push(remote="b")
    assert same(await world.states("remote"), await world.states("b"))
    for remote in ("remote", "b"):
        pulled, pushed = await world.pull(remote=remote), await world.push(remote=remote)
        assert pulled.counts.records_written == pushed.counts.records_written == 0


async def test_edits_on_both_sides_become_one_conflict(world: World) -> None:
    await world.project()
    await world.documents(1)
    await world.push()
    await world.write(document("d_0", "here"))
    await world.write(document("d_0", "there"), on="remote")
    tally = await world.push()
    assert tally.counts.conflicts == 1
    key = document_key("d_0")
    here, there = await world.state(key, on="local"), await world.state(key, on="remote")
    assert here is not None
    assert here.same_as(there)
    assert len(here.versions) == 2
    assert len(await world.rows("local", "conflict")) == 1
    assert len(await world.rows("remote", "conflict")) == 1
    await world.pull()
    assert same(await world.states("local"), await world.states("remote"))


async def test_objects_travel_with_their_records(world: World) -> None:
    await world.project(account_id="a_1")
    made = with_file(document("d_0"), b"bytes")
    await world.put_object(made.storage_key, b"bytes")
    await world.write(made)
    tally = await world.push()
    assert tally.counts.objects_done == 1
    info = await world.surfaces["remote"].objects.head(made.storage_key)
    assert info.size == 5


async def test_a_record_without_its_bytes_waits_and_goes_later(world: World) -> None:
    await world.project(account_id="a_1")
    made = with_file(document("d_0"), b"bytes")
    await world.write(made)
    await world.push()
    assert await world.state(document_key("d_0"), on="remote") is None
    await world.put_object(made.storage_key, b"bytes")
    await world.push()
    assert await world.state(document_key("d_0"), on="remote") is not None


async def test_the_plan_is_what_the_run_does(world: World) -> None:
    await world.project()
    await world.documents(4)
    await world.push()
    await world.write(document("d_0", "edited"))
    await world.write(document("d_1", "here"))
    await world.write(document("d_1", "there"), on="remote")
    await world.write(document("d_9"))
    before = await world.states("remote")
    lines, summary = await world.plan(PUSH)
    assert same(before, await world.states("remote"))
    planned = {(line.key.pk, line.key.sk) for line in lines if line.action < 6}
    actions = {line.key.pk: line.action for line in lines if line.key.sk.startswith("ARTIFACT")}
    assert actions == {
        "DOCUMENT#d_0": PlanAction.PLAN_ACTION_UPDATE,
        "DOCUMENT#d_1": PlanAction.PLAN_ACTION_CONFLICT,
        "DOCUMENT#d_9": PlanAction.PLAN_ACTION_CREATE,
    }
    assert (summary.updates, summary.conflicts, summary.creates) == (1, 1, 1 + 3)
    assert not summary.needs_force
    tally = await world.push()
    after = await world.states("remote")
    written = {
        (key.pk, key.sk)
        for key, state in after.items()
        if not state.same_as(before.get(key))
    }
    assert written == planned
    assert tally.counts.records_written == len(planned)


async def test_a_plan_of_a_pull_writes_nothing(world: World) -> None:
    await world.project(on="remote")
    await world.documents(2, on="remote")
    local, remote = world.count("local"), world.count("remote")
    lines, summary = await world.plan(PULL)
    assert len(lines) == summary.creates == 6
    assert not [each for each in (*local.calls, *remote.calls) if each.startswith("commit")]


async def test_a_record_that_came_to_the_surface_otherwise_waits_no_more(world: World) -> None:
    await world.open("other")
    await world.project(account_id="a_1")
    await world.push()
    made = with_file(document("d_0"), b"bytes")
    await world.write(made)
    await world.pull(local="other", remote="local")
    await world.push()
    assert len(await world.rows("local", "pending_bytes")) == 1
    await world.put_object(made.storage_key, b"bytes", on="other")
    await world.push(local="other")
    await world.push()
    assert await world.rows("local", "pending_bytes") == []


async def test_what_changes_there_while_we_push_comes_back_screened(world: World) -> None:
    await world.project()
    await world.documents(1)
    await world.push()
    whole = world.surfaces["remote"]
    await world.write(document("d_0", "here"))
    driver = world.count("remote")
    counted = world.surfaces["remote"]
    edits = iter(["there"])

    async def edit(pk: str) -> None:
        for name in edits if pk == "DOCUMENT#d_0" else ():
            world.surfaces["remote"] = whole
            await world.write(document("d_0", name), on="remote")
            world.surfaces["remote"] = counted

    driver.meanwhile = edit
    await world.push()
    here = await world.state(document_key("d_0"), on="local")
    there = await world.state(document_key("d_0"), on="remote")
    assert here is not None
    assert here.same_as(there)
    assert len(here.versions) == 2


async def test_the_same_edit_by_two_ways_is_one(world: World) -> None:
    await world.open("b")
    await world.project()
    await world.documents(1)
    for remote in ("remote", "b"):
        await world.push(remote=remote)
    await world.write(document("d_0", "edited"), on="remote")
    await world.pull(local="b")
    await world.pull(remote="b")
    await world.pull()
    await world.push(remote="b")
    assert await world.rows("local", "conflict") == []
    assert same(await world.states("local"), await world.states("b"))


async def test_the_plan_of_a_pull_is_what_the_run_does(world: World) -> None:
    await world.project()
    await world.documents(3)
    await world.push()
    await world.write(document("d_0", "there"), on="remote")
    await world.write(document("d_1", "here"))
    await world.write(document("d_1", "there"), on="remote")
    await world.write(document("d_2"), deleted=True, on="remote")
    lines, summary = await world.plan(PULL)
    before = await world.states("local")
    await world.pull()
    after = await world.states("local")
    changed = {key for key, state in after.items() if not state.same_as(before.get(key))}
    planned = {Key(line.key.pk, line.key.sk) for line in lines if line.action <= 5}
    assert changed == planned
    assert (summary.updates, summary.conflicts, summary.deletes) == (1, 1, 1)
    assert summary.versions_removed == 2


async def test_a_surface_of_content_gives_no_rights_but_gets_everything(world: World) -> None:
    connection = Connection(connection_id="c_remote")
    await world.project()
    await world.documents(1)
    await world.write(Grant(project_id="p_1", grant_id="g_1"))
    await world.push(connection=connection)
    assert same(await world.states("local"), await world.states("remote"))
    await world.write(Grant(project_id="p_1", grant_id="g_2"), on="remote")
    await world.write(document("d_0", "edited there"), on="remote")
    await world.pull(connection=connection)
    assert await world.state(Key("PROJECT#p_1", "GRANT#g_2"), on="local") is None
    key = document_key("d_0")
    here, there = await world.state(key, on="local"), await world.state(key, on="remote")
    assert here is not None
    assert here.same_as(there)


async def test_two_contents_of_one_version_of_ours_are_both_kept(world: World) -> None:
    """As if this workspace had been copied: somebody else writes under our name."""
    await world.project()
    await world.documents(1)
    await world.push()
    local, remote = world.surfaces["local"].records, world.surfaces["remote"].records
    theirs = remote.actor
    await remote.become(local.actor)
    await world.write(document("d_0", "there"), on="remote")
    await remote.become(theirs)
    await world.write(document("d_0", "here"))
    key = document_key("d_0")
    before = [await world.state(key, on=on) for on in ("local", "remote")]
    assert before[0]
    assert before[1]
    assert before[0].dots == before[1].dots
    former = local.actor
    await world.pull()
    assert local.actor != former
    await world.push()
    for on in ("local", "remote"):
        state = await world.state(key, on=on)
        assert state is not None
        names = sorted(json.loads(each.body)["name"] for each in state.versions.values())
        assert names == ["here", "there"]
    assert await world.rows("local", "quarantine") == []
