"""The intake over real surfaces: taken, kept aside, held, ignored, edited by hand."""

from __future__ import annotations

import json

import pytest
from workspace.identity.v1.account_pb2 import Account
from workspace.project.v1.document_pb2 import DocumentStatus
from workspace.project.v1.grant_pb2 import Grant
from workspace.project.v1.history_pb2 import WriteEvent
from workspace.project.v1.project_pb2 import Project, ProjectStatus
from workspace.sync.v1.connection_pb2 import Connection, SyncScope, SyncScopeType
from workspace.sync.v1.quarantine_pb2 import QuarantineReason as Why

from services.records.conflict_rows import Found
from services.records.instance import new_incarnation, read_instance
from services.records.port import ABSENT, Index, Key, Put
from services.records.replica import Incoming
from services.records.siblings import Rows
from sync_svc.engine.incoming import Intake
from sync_svc.engine.refusal import Refusal
from sync_svc.quarantine.held import held_key, held_state, is_settled
from sync_svc.quarantine.rows import Quarantine
from tests.unit.sync_svc.engine.world import World, document, document_key, project_key
from tests.unit.sync_svc.quarantine.bench import (
    CONTENT,
    edit_by_hand,
    everything,
    held,
    preview,
    quarantined,
    sort,
    spoil,
    take,
    task_of,
)
from tests.unit.sync_svc.screening import made

P1 = project_key("p_1")
_ODD = Refusal(Why.QUARANTINE_REASON_INVALID, "it is odd")


def screened_rows(project_id: str) -> Rows:
    return made.rows("project", made.project(project_id=project_id))


async def same_project(world: World) -> None:
    """One project on both sides."""
    await world.project(on="remote")
    await take(world, P1)


async def test_a_good_record_is_taken_and_nothing_is_written(world: World) -> None:
    await world.project(on="remote")
    before = await everything(world, "local")
    found = await sort(world, P1)
    assert [each.key for each in found.take] == [P1]
    assert (found.quarantined, found.held, found.ignored, found.kept_out) == (0, 0, 0, frozenset())
    assert await everything(world, "local") == before


async def test_a_bad_record_is_kept_aside_and_stops_no_other(world: World) -> None:
    await world.project(on="remote")
    await world.project("p_2", on="remote")
    await spoil(world, P1, body='{"name":"x"}')
    found = await sort(world, P1, project_key("p_2"))
    assert [each.key for each in found.take] == [project_key("p_2")]
    assert found.kept_out == {P1}
    (row,) = await quarantined(world)
    assert row["reason"] == "QUARANTINE_REASON_DIGEST_MISMATCH"
    assert (row["pk"], row["sk"], row["project_id"]) == (P1.pk, P1.sk, "p_1")
    assert row["rows"]["items"][0]["body"] == '{"name":"x"}'


@pytest.mark.parametrize("stamp", ["", "{", "[1]", "[" * 5000, '{"a":["x"],"f":[]}'])
async def test_a_stamp_of_any_bytes_is_kept_aside(world: World, stamp: str) -> None:
    await world.project(on="remote")
    await spoil(world, P1, stamp=stamp)
    found = await sort(world, P1)
    assert found.refused[P1].reason == Why.QUARANTINE_REASON_NO_VERSION
    assert len(await quarantined(world)) == 1


async def test_a_record_that_is_fine_again_leaves_quarantine(world: World) -> None:
    await world.project(on="remote")
    item = await world.surfaces["remote"].records.get_row(P1)
    assert item is not None
    await spoil(world, P1, body="[]")
    await sort(world, P1)
    assert await quarantined(world)
    await spoil(world, P1, body=item.body)
    await sort(world, P1)
    assert await quarantined(world) == []


async def test_preview_decides_the_same_and_writes_nothing(world: World) -> None:
    await same_project(world)
    await world.project("p_2", on="remote")
    await world.project("p_3", on="remote")
    await spoil(world, project_key("p_2"), stamp="")
    await edit_by_hand(world, P1, name="By hand")
    keys = (P1, project_key("p_2"), project_key("p_3"))
    before = [await everything(world, on) for on in ("local", "remote")]
    seen = await preview(world, *keys, connection=CONTENT)
    assert [await everything(world, on) for on in ("local", "remote")] == before
    done = await sort(world, *keys, connection=CONTENT)
    assert done == seen
    assert (done.quarantined, done.held) == (1, 1)


async def test_rights_are_not_taken_from_content_only(world: World) -> None:
    await world.write(Grant(project_id="p_1", grant_id="g_1"), on="remote")
    key = Key("PROJECT#p_1", "GRANT#g_1")
    found = await sort(world, key, connection=CONTENT)
    assert (found.take, found.ignored, found.kept_out) == ([], 1, {key})
    assert await quarantined(world) == []
    trusted = await sort(world, key)
    assert [each.key for each in trusted.take] == [key]


async def test_other_policy_is_held_until_both_sides_agree(world: World) -> None:
    await same_project(world)
    await world.write(Project(project_id="p_1", name="p_1", restricted=True), on="remote")
    found = await sort(world, P1, connection=CONTENT)
    assert (found.take, found.held, found.kept_out) == ([], 1, {P1})
    assert found.held_fields == {P1: ("restricted",)}
    (row,) = await held(world)
    assert (row["kind"], row["fields"], row["project_id"]) == ("policy", ["restricted"], "p_1")
    local = await world.state(P1, on="local")
    assert local is not None
    assert "restricted" not in json.loads(next(iter(local.versions.values())).body)

    await take(world, P1)  # somebody decided to take it
    found = await sort(world, P1, connection=CONTENT)
    assert [each.key for each in found.take] == [P1]
    assert await held(world) == []


async def test_what_is_the_same_on_both_sides_is_settled(world: World) -> None:
    await same_project(world)
    await world.write(Project(project_id="p_1", name="p_1", restricted=True), on="remote")
    await sort(world, P1, connection=CONTENT)
    task = task_of(world, CONTENT)
    quarantine = Quarantine(task.local.records, task.now_ms())
    await quarantine.put_all("c_remote", "r_1", [(screened_rows("p_1"), _ODD)])
    await Intake(quarantine).agreed(task, [project_key("p_2")])
    assert (len(await held(world)), len(await quarantined(world))) == (1, 1)
    await Intake(quarantine).agreed(task, [P1])
    assert (await held(world), await quarantined(world)) == ([], [])


async def test_a_held_state_is_listed_found_and_whole(world: World) -> None:
    await same_project(world)
    await world.write(Project(project_id="p_1", name="p_1", team_id="t_1"), on="remote")
    await sort(world, P1, connection=CONTENT)
    records = world.surfaces["local"].records
    item = await records.get_row(held_key(P1, "c_remote"))
    assert item is not None
    conflict = json.loads(item.body)["conflict_id"]
    for index, partition in [
        (Index.USER, "CONFLICTS"), (Index.PROJECT, "PROJECT#p_1"),
        (Index.TEAM, f"CONFLICT#{conflict}"),
    ]:
        page = await records.run(
            index, partition, lower="CONFLICT", upper="conflict~", limit=5, after=None
        )
        assert [each.key for each in page.items] == [item.key]
    state = held_state(item)
    assert state == await world.state(P1, on="remote")
    assert state is not None
    assert not is_settled(state, await world.state(P1, on="local"))
    assert is_settled(state, state)


async def test_a_newer_state_takes_the_place_of_the_held_one(world: World) -> None:
    await same_project(world)
    await world.write(Project(project_id="p_1", name="p_1", team_id="t_1"), on="remote")
    await sort(world, P1, connection=CONTENT)
    (first,) = await held(world)
    await sort(world, P1, connection=CONTENT)
    assert await held(world) == [first]
    await world.write(Project(project_id="p_1", name="p_1", team_id="t_2"), on="remote")
    await sort(world, P1, connection=CONTENT)
    (second,) = await held(world)
    assert second["conflict_id"] != first["conflict_id"]
    assert held_state((await world.rows("local", "conflict"))[0]) == await world.state(
        P1, on="remote"
    )


async def test_new_documents_need_their_project_here_and_in_scope(world: World) -> None:
    await world.project(account_id="a_1")
    await world.project("p_gone", status=ProjectStatus.PROJECT_STATUS_ACTIVE)
    await world.write(Project(project_id="p_gone"), deleted=True)
    for number, name in enumerate(["p_1", "p_2", "p_gone"]):
        await world.write(document(f"d_{number}", project_id=name), on="remote")
    keys = [document_key(f"d_{number}") for number in range(3)]
    found = await sort(world, *keys, connection=CONTENT)
    assert [each.key for each in found.take] == keys[:1]
    assert found.held_fields == {keys[1]: ("project_id",), keys[2]: ("project_id",)}
    other = Connection(
        connection_id="c_2",
        scope=SyncScope(type=SyncScopeType.SYNC_SCOPE_TYPE_ACCOUNTS, account_ids=["a_2"]),
    )
    assert (await sort(world, keys[0], connection=other)).held == 1


@pytest.mark.parametrize("by", ["project", "account", "workspace"])
@pytest.mark.parametrize("deleted", [True, False])
async def test_what_is_under_legal_hold_is_not_removed(
    world: World, by: str, deleted: bool
) -> None:
    home = {"project": {"legal_hold": True}, "account": {"account_id": "a_1"}}
    await world.write(Account(account_id="a_1", name="A", legal_hold=by != "project"))
    await world.project(**home.get(by, {"workspace_id": "a_1"}))
    await world.write(document("d_1"))
    await world.push()
    gone = document("d_1")
    gone.status = DocumentStatus.DOCUMENT_STATUS_TRASHED
    await world.write(gone, deleted=deleted, on="remote")
    found = await sort(world, document_key("d_1"), connection=CONTENT)
    assert (found.take, found.held) == ([], 1)
    assert found.held_fields == {document_key("d_1"): ("legal_hold",)}
    (row,) = await held(world)
    assert (row["kind"], row["project_id"]) == ("policy", "p_1")


async def test_without_a_hold_documents_are_removed(world: World) -> None:
    await world.project()
    await world.write(document("d_1"))
    await world.push()
    await world.write(document("d_1"), deleted=True, on="remote")
    found = await sort(world, document_key("d_1"), connection=CONTENT)
    assert [each.key for each in found.take] == [document_key("d_1")]


async def test_an_edit_by_hand_gets_a_version_of_its_own(world: World) -> None:
    await same_project(world)
    before = await world.state(P1, on="local")
    assert before is not None
    await edit_by_hand(world, P1, name="By hand")
    (taken,) = (await sort(world, P1)).take
    instance = await read_instance(world.surfaces["remote"].records.driver)
    assert instance is not None
    (version,) = taken.state.versions.values()
    assert version.dot == (f"ext:{instance.actor}", 1)
    assert version.fields["name"] == version.dot
    assert version.fields["project_id"] == before.dots[0]
    assert json.loads(version.body)["name"] == "By hand"
    assert await world.state(P1, on="remote") == taken.state
    await take(world, P1)
    assert (await world.state(P1, on="local")) == taken.state
    again = await sort(world, P1)
    assert again.take == [Incoming(P1, taken.state)]


async def test_a_surface_that_was_rewound_never_gives_a_dot_of_edits_again(world: World) -> None:
    await same_project(world)
    surface = world.surfaces["remote"]
    found = await read_instance(surface.records.driver)
    assert found is not None
    later = await new_incarnation(surface.records.driver, found.incarnation)
    await edit_by_hand(world, P1, name="By hand")
    (taken,) = (await sort(world, P1)).take
    assert taken.state.dots == ((f"ext:{later.actor}", 1),)


async def test_two_nodes_that_find_an_edit_make_one_version_of_it(world: World) -> None:
    await world.open("third")
    await world.project(on="remote")
    await take(world, P1)
    state = await world.state(P1, on="local")
    assert state is not None
    await world.surfaces["third"].replica.join(
        P1.pk, [Incoming(P1, state)], origin="", found=Found(0)
    )
    await edit_by_hand(world, P1, name="By hand")
    mine = (await sort(world, P1)).take
    third = world.task(task_of(world).direction, local="third")
    theirs = (await sort(world, P1, run=third)).take
    assert mine == theirs
    assert len(mine[0].state.versions) == 1


async def test_an_edit_by_hand_of_what_is_only_added_stands_beside_it(world: World) -> None:
    event = WriteEvent(write_event_id="w_1", project_id="p_1", text="First")
    event.timestamp.FromJsonString("2026-11-21T00:00:00Z")
    await world.write(event, on="remote")
    key = next(
        item.key for item in await world.rows("remote", "write_event")
    )
    await take(world, key)
    await edit_by_hand(world, key, text="Other")
    (taken,) = (await sort(world, key)).take
    texts = {json.loads(each.body)["text"] for each in taken.state.versions.values()}
    assert texts == {"First", "Other"}


async def test_history_is_not_edited(world: World) -> None:
    await world.project(on="remote")
    key = next(item.key for item in await world.rows("remote", "activity_event"))
    await take(world, key)
    await edit_by_hand(world, key, type="project.forged")
    found = await sort(world, key)
    assert found.refused[key].reason == Why.QUARANTINE_REASON_DIGEST_MISMATCH


async def test_an_event_forged_in_our_name_is_kept_aside(world: World) -> None:
    await world.project(on="remote")
    await world.project("p_local")
    item = next(iter(await world.rows("remote", "activity_event")))
    us, peer = (world.surfaces[name].records.actor for name in ("local", "remote"))
    records = world.surfaces["remote"].records
    key = Key(item.key.pk, item.key.sk.replace(peer, us))
    await records.put_row(
        Put(key, ABSENT, item.family, item.body, item.stamp.replace(peer, us))
    )
    found = await sort(world, key)
    assert found.refused[key].reason == Why.QUARANTINE_REASON_COUNTER_AHEAD


async def test_a_held_state_that_no_row_takes_is_refused(world: World) -> None:
    await world.project()
    many = made.side_by_side(
        *(
            made.rows(
                "project", made.project(team_id="t_1"), actor=f"n{n}.1", zz=str(n) * 60_000,
                hlc=f"{world.clock.millis():013d}.00000",
            )
            for n in range(8)
        )
    )
    items = [many.item, *many.others.values()]
    await world.surfaces["remote"].records.put_rows(
        [Put(i.key, ABSENT, i.family, i.body, i.stamp) for i in items if i is not None]
    )
    found = await sort(world, P1, connection=CONTENT)
    assert found.refused[P1].reason == Why.QUARANTINE_REASON_TOO_LARGE
    assert await held(world) == []
