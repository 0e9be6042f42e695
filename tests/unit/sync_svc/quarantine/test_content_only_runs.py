"""Whole runs with a surface that is trusted with content only, or means harm."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest
from workspace.identity.v1.account_pb2 import AccountMember, AccountRole, MemberStatus
from workspace.project.v1.grant_pb2 import Grant

from services.records.port import ABSENT, Key, Put
from tests.unit.sync_svc.engine.world import World, document, document_key, project_key
from tests.unit.sync_svc.quarantine.bench import CONTENT, held, quarantined, spoil

P1 = project_key("p_1")


async def body(world: World, key: Key, *, on: str = "local") -> dict[str, Any]:
    state = await world.state(key, on=on)
    assert state is not None
    (version,) = state.versions.values()
    found: dict[str, Any] = json.loads(version.body)
    return found


async def test_content_comes_and_policy_stays_and_travels_nowhere(world: World) -> None:
    await world.open("third")
    await world.project(restricted=True)
    await world.documents(2)
    await world.push(connection=CONTENT)
    await world.project(on="remote", description="opened up")  # no longer restricted
    await world.write(document("d_0", "renamed"), on="remote")
    await world.write(document("d_9", "new"), on="remote")
    tally = await world.pull(connection=CONTENT)
    assert tally.counts.quarantined == 0
    assert (await body(world, document_key("d_0")))["name"] == "renamed"
    assert (await body(world, document_key("d_9")))["name"] == "new"
    assert (await body(world, P1))["restricted"] is True
    assert [row["fields"] for row in await held(world)] == [["restricted"]]

    await world.push(remote="third")
    assert (await body(world, P1, on="third"))["restricted"] is True

    await world.push(connection=CONTENT, full_reconcile=True)
    assert (await body(world, P1))["restricted"] is True
    again = await world.pull(connection=CONTENT, full_reconcile=True)
    assert again.counts.records_written == 0
    assert len(await held(world)) == 1


async def test_nobody_is_let_in_by_a_surface_of_content(world: World) -> None:
    await world.project()
    await world.push(connection=CONTENT)
    member = AccountMember(
        account_id="a_1", user_id="u_evil", role=AccountRole.ACCOUNT_ROLE_OWNER,
        status=MemberStatus.MEMBER_STATUS_ACTIVE,
    )
    await world.write(member, on="remote")
    await world.write(Grant(project_id="p_1", grant_id="g_evil", target_id="u_evil"), on="remote")
    await world.pull(connection=CONTENT)
    await world.push(connection=CONTENT, full_reconcile=True)
    families = {state.family for state in (await world.states("local")).values()}
    assert families == {"project", "activity_event"}
    assert "u_evil" not in json.dumps(
        [each.body for state in (await world.states("local")).values()
         for each in state.versions.values()]
    )


async def test_a_hostile_row_stops_nothing_and_leaves_when_it_is_mended(world: World) -> None:
    await world.project()
    await world.documents(5)
    await world.push()
    await world.pull()
    for number in range(5):
        await world.write(document(f"d_{number}", f"n{number}"), on="remote")
    key = document_key("d_2")
    good = await world.surfaces["remote"].records.get_row(key)
    assert good is not None
    for stamp in ("", "{}", "[" * 3000, good.stamp.replace('"g":"', '"g":"0')):
        await spoil(world, key, stamp=stamp)
        tally = await world.pull()
        assert tally.counts.quarantined == 1
        assert len(await quarantined(world)) == 1
    for text in ("", "[" * 3000, "[]", "{}", "null", good.body.replace("d_2", "d_3")):
        await spoil(world, key, stamp=good.stamp, body=text)
        await world.pull(full_reconcile=True)
        await world.pull()
        assert len(await quarantined(world)) == 1
        await world.push(full_reconcile=True)
    names = [(await body(world, document_key(f"d_{n}")))["name"] for n in range(5)]
    assert names == ["n0", "n1", "d_2", "n3", "n4"]
    await spoil(world, key, stamp=good.stamp, body=good.body)
    await world.pull()
    assert (await body(world, key))["name"] == "n2"
    assert await quarantined(world) == []


async def test_rows_of_the_kernel_and_forged_events_do_not_come(world: World) -> None:
    await world.project()
    await world.push()
    await world.pull()
    us, peer = (world.surfaces[name].records.actor for name in ("local", "remote"))
    await world.project("p_2", on="remote")
    records = world.surfaces["remote"].records
    event = next(
        item for item in await world.rows("remote", "activity_event") if peer in item.key.sk
    )
    forged = Key(event.key.pk, event.key.sk.replace(peer, us))
    await records.put_row(
        Put(forged, ABSENT, event.family, event.body, event.stamp.replace(peer, us))
    )
    future = replace(event, family="hologram")
    await records.put_row(
        Put(Key("HOLOGRAM#1", "HOLOGRAM"), ABSENT, future.family, future.body, future.stamp)
    )
    await world.write(document("d_9", "fine"), on="remote")
    await world.pull(connection=CONTENT)
    assert await world.state(forged, on="local") is None
    reasons = {row["reason"] for row in await quarantined(world)}
    assert reasons == {
        "QUARANTINE_REASON_COUNTER_AHEAD", "QUARANTINE_REASON_SCHEMA_UNKNOWN"
    }
    assert (await body(world, document_key("d_9")))["name"] == "fine"


@pytest.mark.parametrize("text", ["", "[" * 3000, "[]", "{}", "null", '{"name":[1]}', '{"file":3}'])
async def test_a_hostile_row_does_not_stop_a_push_over_it(world: World, text: str) -> None:
    await world.documents(2)
    await world.push()
    await world.pull()
    key = document_key("d_0")
    await world.write(document("d_0", "theirs"), on="remote")
    await spoil(world, key, body=text)
    await world.write(document("d_0", "ours"))
    await world.write(document("d_1", "ours"))
    await world.push()
    assert (await body(world, document_key("d_1"), on="remote"))["name"] == "ours"
    assert (await body(world, key))["name"] == "ours"
    assert len(await quarantined(world)) == 1
