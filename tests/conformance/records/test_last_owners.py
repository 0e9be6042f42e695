"""Two nodes that each take away another owner, on every driver."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import pytest
from google.protobuf.message import Message
from workspace.common.v1.permission_pb2 import Permission
from workspace.identity.v1.account_pb2 import Account, AccountMember
from workspace.identity.v1.team_pb2 import Team, TeamMember
from workspace.identity.v1.user_pb2 import PlatformAdmin
from workspace.project.v1.grant_pb2 import Grant
from workspace.project.v1.project_pb2 import Project

from services.model.clocks import HybridClock
from services.model.families import FAMILIES, family_of
from services.model.stamp import Stamp
from services.records.conflict_rows import ALL, Found, list_prefix
from services.records.port import Index, Key
from services.records.record import Activity, Write
from services.records.replica import Incoming, Replica
from services.records.store import RecordStore
from tests.conformance.records.harness import DriverCase, Environment

PK = "PROJECT#p_1"
DONE = Activity("project.changed", "projects/p_1", project_id="p_1")
FOUND = Found(1_000_000_000)
OWNER = Permission.PERMISSION_OWNER


class Node:
    """A store, and what is done in one of its partitions."""

    def __init__(self, records: RecordStore, pk: str = PK) -> None:
        self.records = records
        self.pk = pk

    async def make(self, *messages: Message) -> None:
        writes = [Write(family_of(message), message) for message in messages]
        await self.records.commit(self.pk, writes, activity=DONE)

    async def change(self, message: Message, *, deleted: bool = False, **fields: Any) -> None:
        """The record with the key of `message`."""
        family = family_of(message)
        base = await self.records.get(family, Key(*family.key_of(message)), deleted=True)
        assert base is not None
        changed = base.edit()
        for name, value in fields.items():
            setattr(changed, name, value)
        write = Write(family, changed, base, deleted=deleted)
        await self.records.commit(self.pk, [write], activity=DONE)

    async def keys(self) -> list[Key]:
        page = await self.records.run(
            Index.BASE, self.pk, lower="", upper="~", limit=500, after=None
        )
        return [item.key for item in page.items if item.family in FAMILIES]

    async def pull(self, source: Node, keys: Sequence[Key] | None = None) -> None:
        keys = await source.keys() if keys is None else keys
        states = await Replica(source.records).states(keys)
        incoming = [Incoming(k, s) for k, s in zip(keys, states, strict=True) if s]
        await Replica(self.records).join(self.pk, incoming, origin="there", found=FOUND)

    async def look(self) -> Any:
        """Every record's row and state, and the open conflicts."""
        found: list[Any] = []
        for rows in await self.records.rows(await self.keys()):
            assert rows.item is not None
            stamp = replace(Stamp.load(rows.item.stamp), origin="")
            found.append((rows.key, rows.item.body, rows.item.deleted, stamp, rows.state))
        return found, await self.conflicts()

    async def conflicts(self) -> list[str]:
        lower = list_prefix("open")
        page = await self.records.run(
            Index.USER, ALL, lower=lower, upper=lower + "~", limit=100, after=None
        )
        bodies = [json.loads(item.body) for item in page.items]
        assert all(body["kind"] == "policy" for body in bodies)
        return sorted(body["sk"] for body in bodies)

    async def live(self, message: Message) -> Any:
        family = family_of(message)
        found = await self.records.get(family, Key(*family.key_of(message)))
        return found.message if found else None


Make = Callable[[str], list[Node]]


@pytest.fixture
async def nodes(case: DriverCase, environment: Environment) -> Make:
    """Two stores; who writes later has the later time."""
    ticks = iter(range(1_000_000_000, 2_000_000_000))
    stores = []
    for number in range(2):
        driver = await case.store(environment).open()
        clock = HybridClock(lambda: next(ticks))
        stores.append(RecordStore(driver, actor=f"n{number}.x", clock=clock))
    return lambda pk: [Node(each, pk) for each in stores]


def grant(user: str, *permissions: Permission.ValueType) -> Grant:
    return Grant(
        project_id="p_1", grant_id=f"g_{user}", target_id=f"u_{user}", permissions=permissions,
        target_type="GRANT_TARGET_TYPE_USER", status="GRANT_STATUS_ACTIVE",
    )


ANN, BOB, CAT = (grant(each, OWNER) for each in ("ann", "bob", "cat"))
REVOKED = {"status": 2, "revoked_by": "u_x"}


async def owned_by_two(make: Make) -> list[Node]:
    one, two = nodes = make(PK)
    await one.make(Project(project_id="p_1", status="PROJECT_STATUS_ACTIVE"), ANN, BOB)
    await two.pull(one)
    return nodes


async def test_the_later_of_two_revocations_is_suspended_until_another_owner_is_there(
    nodes: Make,
) -> None:
    one, two = await owned_by_two(nodes)
    await one.change(ANN, **REVOKED)
    await two.change(BOB, **REVOKED)
    await one.pull(two)
    await two.pull(one)
    assert await one.look() == await two.look()
    for node in (one, two):
        assert (await node.live(ANN)).status == 2
        assert (await node.live(BOB)) == BOB
        assert await node.conflicts() == ["GRANT#g_bob"]
    (rows,) = await one.records.rows([Key(PK, "GRANT#g_bob")])
    assert rows.item is not None
    stamp = Stamp.load(rows.item.stamp)
    assert stamp.siblings == (stamp.dot,) == (("n1.x", 1),)
    assert not stamp.partial
    assert rows.state is not None
    assert "REVOKED" in rows.state.versions[stamp.dot].body
    # Again changes nothing.
    head = await one.records.head(PK)
    await one.pull(two)
    assert await one.records.head(PK) == head
    # Another owner here, and the revocation holds everywhere.
    await one.make(CAT)
    await two.pull(one)
    await one.pull(two)
    assert await one.look() == await two.look()
    assert (await two.live(BOB)).status == 2
    assert await one.conflicts() == []
    # And is suspended again if that one goes likewise.
    await one.change(CAT, **REVOKED)
    await two.pull(one)
    await one.pull(two)
    assert await one.look() == await two.look()
    assert await two.conflicts() == ["GRANT#g_cat"]


@pytest.mark.parametrize("first", ["EVENT#", "GRANT#", "PROJECT#"])
async def test_in_whatever_order_the_records_come(nodes: Make, first: str) -> None:
    one, two = await owned_by_two(nodes)
    await one.change(ANN, **REVOKED)
    await two.change(BOB, **REVOKED)
    for target, source in ((one, two), (two, one), (one, two)):
        keys = await source.keys()
        for some in ([k for k in keys if k.sk.startswith(first)], keys[::-1]):
            for key in some:
                await target.pull(source, [key])
    assert await one.look() == await two.look()
    assert await one.conflicts() == ["GRANT#g_bob"]


async def test_a_revocation_is_suspended_again(nodes: Make) -> None:
    """By a record that comes alone, over the row of the conflict that was closed."""
    one, two = await owned_by_two(nodes)
    await two.make(CAT)
    cat = Key(PK, "GRANT#g_cat")
    (made,) = await Replica(two.records).states([cat])
    assert made is not None
    await two.change(CAT, **REVOKED)
    await one.change(ANN, **REVOKED)
    await two.change(BOB, **REVOKED)
    await one.pull(two, [key for key in await two.keys() if key != cat])
    assert await one.conflicts() == ["GRANT#g_bob"]
    await Replica(one.records).join(PK, [Incoming(cat, made)], origin="there", found=FOUND)
    assert await one.conflicts() == []
    await one.pull(two, [cat])
    assert await one.conflicts() == ["GRANT#g_bob"]
    assert (await one.live(BOB)) == BOB


async def test_who_decides_on_what_is_shown_ends_it(nodes: Make) -> None:
    one, two = await owned_by_two(nodes)
    await one.change(ANN, **REVOKED)
    await two.change(BOB, **REVOKED)
    await one.pull(two)
    await one.change(BOB, note="stays")
    assert await one.conflicts() == []
    await two.pull(one)
    assert await one.look() == await two.look()
    assert (await two.live(BOB)).permissions == [OWNER]


async def test_an_owner_who_was_taken_away_before_does_not_come_back_by_an_orphan(
    nodes: Make,
) -> None:
    """The server took the last one away, with his membership: that leaves an orphan."""
    one, two = await owned_by_two(nodes)
    await one.change(BOB, **REVOKED)
    await one.change(ANN, **REVOKED, revoke_reason="account_member_removed")
    await two.pull(one)
    assert await two.conflicts() == []
    assert (await two.live(BOB)).status == 2
    assert await one.look() == await two.look()


async def test_a_revoked_grant_of_a_viewer_gives_nobody_anything(nodes: Make) -> None:
    one, two = nodes(PK)
    viewer = grant("vic", Permission.PERMISSION_VIEW)
    await one.make(Project(project_id="p_1", status="PROJECT_STATUS_ACTIVE"), viewer)
    await one.change(viewer, **REVOKED)
    await two.pull(one)
    assert await two.conflicts() == []
    assert (await two.live(viewer)).status == 2


async def test_what_took_a_right_away_is_not_undone_before_its_event_is_here(
    nodes: Make,
) -> None:
    one, two = await owned_by_two(nodes)
    await one.change(ANN, **REVOKED)
    await two.change(BOB, **REVOKED)
    keys = await two.keys()
    await one.pull(two, [key for key in keys if not key.sk.startswith("EVENT#")])
    assert await one.conflicts() == []
    await one.pull(two, keys)
    assert await one.conflicts() == ["GRANT#g_bob"]


async def test_a_purged_project_needs_no_owner(nodes: Make) -> None:
    one, two = await owned_by_two(nodes)
    await one.change(ANN, **REVOKED)
    await two.change(BOB, **REVOKED)
    await one.pull(two)
    assert await one.conflicts() == ["GRANT#g_bob"]
    await one.change(Project(project_id="p_1"), status=4)
    await two.pull(one)
    await one.pull(two)
    assert await one.conflicts() == await two.conflicts() == []
    assert await one.look() == await two.look()


def account_member(user: str) -> AccountMember:
    return AccountMember(
        account_id="a_1", user_id=user, role="ACCOUNT_ROLE_OWNER", status="MEMBER_STATUS_ACTIVE",
        name=f"Name of {user}",
    )


async def test_owners_of_an_account(nodes: Make) -> None:
    one, two = nodes("ACCOUNT#a_1")
    ann, bob = account_member("u_ann"), account_member("u_bob")
    await one.make(Account(account_id="a_1", status="ACCOUNT_STATUS_ACTIVE"), ann, bob)
    await two.pull(one)
    await one.change(ann, role=4)
    await two.change(bob, status=4)
    await one.pull(two)
    await two.pull(one)
    assert await one.look() == await two.look()
    assert await one.live(bob) == bob
    assert (await one.live(ann)).role == 4
    assert await two.conflicts() == ["MEMBER#u_bob"]


async def test_the_root_administrator_of_a_team(nodes: Make) -> None:
    one, two = nodes("TEAM#t_1")
    ann, bob = (
        TeamMember(
            team_id="t_1", user_id=f"u_{name}", role="TEAM_ROLE_ADMIN",
            status="MEMBER_STATUS_ACTIVE",
        )
        for name in ("ann", "bob")
    )
    team = Team(
        team_id="t_1", status="TEAM_STATUS_ACTIVE", scope_type="TEAM_SCOPE_TYPE_STANDALONE",
        root_admin_user_id="u_ann",
    )
    await one.make(team, ann, bob)
    await two.pull(one)
    await one.change(team, root_admin_user_id="u_bob")
    await two.change(bob, status=4)
    await one.pull(two)
    await two.pull(one)
    assert await one.look() == await two.look()
    assert await one.live(bob) == bob
    await one.change(team, root_admin_user_id="u_ann")
    await two.pull(one)
    await one.pull(two)
    assert await one.look() == await two.look()
    assert (await two.live(bob)).status == 4
    assert await two.conflicts() == []


async def test_a_platform_admin_who_was_deleted(nodes: Make) -> None:
    one, two = nodes("PLATFORM")
    ann, bob = (PlatformAdmin(user_id=f"u_{name}", source="b") for name in ("ann", "bob"))
    await one.make(ann, bob)
    await two.pull(one)
    await one.change(ann, deleted=True)
    await two.change(bob, deleted=True)
    await one.pull(two)
    await two.pull(one)
    assert await one.look() == await two.look()
    assert await one.live(ann) is None
    assert await one.live(bob) == bob
    assert await one.conflicts() == ["ADMIN#u_bob"]
