"""Stores that exchange what they have, on every driver."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest
from workspace.common.v1.error_reason_pb2 import ErrorReason
from workspace.project.v1.document_pb2 import Document
from workspace.project.v1.grant_pb2 import Grant
from workspace.project.v1.project_pb2 import Project

from services.model.clocks import HybridClock
from services.model.errors import WorkspaceError
from services.model.families import FAMILIES, Family
from services.model.stamp import Dot, Stamp
from services.records.conflict_rows import ALL, Found, list_prefix, lookup
from services.records.port import Index, Key
from services.records.record import Activity, Record, Write
from services.records.replica import Incoming, Joined, Replica
from services.records.siblings import Rows, sibling_key
from services.records.store import RecordStore
from tests.conformance.records.harness import DriverCase, Environment

PROJECT, GRANT, DOCUMENT = (FAMILIES[n] for n in ("project", "project_grant", "document"))
PK = "PROJECT#p_1"
KEY = Key(PK, PK)
DONE = Activity("project.changed", "projects/p_1", project_id="p_1")
FOUND = Found(1_000_000_000)


class Node:
    """A store, and what a person does there."""

    def __init__(self, records: RecordStore) -> None:
        self.records = records
        self.replica = Replica(records)

    async def create(self, **fields: Any) -> Record[Any]:
        message = Project(project_id="p_1", **({"name": "One"} | fields))
        done = await self.records.commit(PK, [Write(PROJECT, message)], activity=DONE)
        return done.records[0]

    async def read(self, *, deleted: bool = False) -> Record[Any]:
        found = await self.records.get(PROJECT, KEY, deleted=deleted)
        assert found is not None
        return found

    async def edit(
        self, *, base: Record[Any] | None = None, resolves: Sequence[Dot] = (), **fields: Any
    ) -> Record[Any]:
        base = base or await self.read()
        message = base.edit()
        for name, value in fields.items():
            setattr(message, name, value)
        write = Write(PROJECT, message, base, resolves=resolves)
        return (await self.records.commit(PK, [write], activity=DONE)).records[0]

    async def delete(self) -> None:
        base = await self.read()
        write = Write(PROJECT, base.edit(), base, deleted=True)
        await self.records.commit(PK, [write], activity=DONE)

    async def rows(self, key: Key = KEY) -> Rows:
        return (await self.records.rows([key]))[0]

    async def pull(self, source: Node, *keys: Key) -> list[Joined]:
        keys = keys or (KEY,)
        states = await source.replica.states(keys)
        incoming = [Incoming(k, s) for k, s in zip(keys, states, strict=True) if s]
        return await self.replica.join(keys[0].pk, incoming, origin="there", found=FOUND)

    async def exchange(self, other: Node) -> Joined:
        (mine,) = await self.pull(other)
        await other.pull(self)
        return mine

    async def open_conflicts(self) -> list[dict[str, Any]]:
        page = await self.records.run(
            Index.USER, ALL, lower=list_prefix("open"), upper=list_prefix("open") + "~",
            limit=100, after=None,
        )
        return [json.loads(item.body) for item in page.items]

    async def look(self) -> Any:
        """All that must be equal everywhere once everything is known."""
        rows = await self.rows()
        assert rows.item is not None
        stamp = replace(Stamp.load(rows.item.stamp), origin="")
        siblings = {k: (i.body, i.stamp) for k, i in rows.others.items() if i.family == "sibling"}
        found = await self.open_conflicts()
        conflicts = [(each["conflict_id"], each["kind"], each["fields"]) for each in found]
        return rows.item.body, rows.item.deleted, rows.item.indexes, stamp, siblings, conflicts


@pytest.fixture
async def nodes(case: DriverCase, environment: Environment) -> list[Node]:
    """Three stores of one driver; who writes later has the later time."""
    ticks = iter(range(1_000_000_000, 2_000_000_000))
    made = []
    for number in range(3):
        driver = await case.store(environment).open()
        clock = HybridClock(lambda: next(ticks))
        made.append(Node(RecordStore(driver, actor=f"n{number}.x", clock=clock)))
    return made


def reason(error: pytest.ExceptionInfo[WorkspaceError]) -> str:
    return ErrorReason.Name(error.value.reason).removeprefix("ERROR_REASON_")


async def test_a_state_comes_over_as_it_is_and_coming_again_changes_nothing(
    nodes: list[Node],
) -> None:
    one, two, _ = nodes
    await one.create(account_id="a_1")
    (joined,) = await two.pull(one)
    assert (joined.changed, joined.before, joined.conflict) == (True, None, "")
    assert await two.look() == await one.look()
    assert (await two.read()).etag == (await one.read()).etag
    assert (await two.read()).stamp.origin == "there"
    head = await two.records.head(PK)
    assert head.pseq == 1
    assert not (await two.pull(one))[0].changed
    assert await two.records.head(PK) == head
    page = await two.records.query(FAMILIES["activity_event"], Index.BASE, PK, prefix="EVENT#")
    assert not page.records


async def test_an_edit_on_one_side_replaces_and_a_local_write_clears_the_origin(
    nodes: list[Node],
) -> None:
    one, two, _ = nodes
    await one.create()
    await two.pull(one)
    await two.edit(name="Two")
    assert (await two.read()).stamp.origin == ""
    await one.exchange(two)
    assert (await one.read()).message.name == "Two"
    assert await one.look() == await two.look()
    assert len((await one.rows()).others) == 0


async def apart(nodes: list[Node], mine: dict[str, Any], yours: dict[str, Any]) -> Joined:
    """Both edit the same version, then exchange."""
    one, two, _ = nodes
    await one.create()
    await two.pull(one)
    await one.edit(**mine)
    await two.edit(**yours)
    return await one.exchange(two)


async def test_edits_of_different_fields_are_shown_merged_until_somebody_writes(
    nodes: list[Node],
) -> None:
    one, two, _ = nodes
    joined = await apart(nodes, {"name": "Two"}, {"description": "new"})
    assert (joined.conflict, joined.opened) == ("", False)
    assert await one.look() == await two.look()
    merged = await one.read()
    assert (merged.message.name, merged.message.description) == ("Two", "new")
    assert len(merged.stamp.siblings) == 2
    assert await one.open_conflicts() == []
    written = await one.edit(billing_scope="b")
    assert written.stamp.siblings == ()
    assert (await one.read()).message == written.message
    assert all(item.deleted for item in (await one.rows()).others.values())
    await two.pull(one)
    assert await one.look() == await two.look()
    assert (await two.rows()).others == {}
    assert (await two.read()).message.description == "new"


async def test_two_values_of_one_field_are_a_conflict_that_all_nodes_name_alike(
    nodes: list[Node],
) -> None:
    one, two, _ = nodes
    joined = await apart(nodes, {"name": "Two"}, {"name": "Three"})
    assert joined.opened
    assert await one.look() == await two.look()
    (conflict,) = await two.open_conflicts()
    assert conflict["conflict_id"] == joined.conflict
    assert (conflict["kind"], conflict["fields"]) == ("edit_edit", ["name"])
    assert (conflict["name"], conflict["project_id"]) == ("Three", "p_1")
    found = await two.records.run(
        Index.TEAM, lookup(joined.conflict), lower="", upper="~", limit=9, after=None
    )
    assert len(found.items) == 1
    (again,) = await one.pull(two)
    assert (again.changed, again.opened, again.conflict) == (False, False, joined.conflict)


async def test_an_edit_during_a_conflict_supersedes_what_it_showed_and_no_more(
    nodes: list[Node],
) -> None:
    one, two, _ = nodes
    joined = await apart(nodes, {"name": "Two"}, {"name": "Three"})
    shown = await one.read()
    assert shown.stamp.shown == (("n1.x", 1),)
    edited = await one.edit(name="Four")
    assert edited.message.name == "Four"
    assert edited.stamp.siblings == (("n0.x", 2), ("n0.x", 3))
    assert edited.etag == (await one.read()).etag != shown.etag
    (conflict,) = await one.open_conflicts()
    assert conflict["conflict_id"] != joined.conflict
    await two.pull(one)
    assert await one.look() == await two.look()
    # The version written beside one of the same node does not claim to know it.
    state = (await two.rows()).state
    assert state is not None
    assert not state.versions["n0.x", 3].saw(("n0.x", 2))


async def test_a_base_that_was_read_before_the_other_version_came_is_stale(
    nodes: list[Node],
) -> None:
    one, two, _ = nodes
    await one.create()
    await two.pull(one)
    await two.edit(name="Two")
    stale = await one.edit(description="mine")
    await one.pull(two)
    with pytest.raises(WorkspaceError) as error:
        await one.edit(base=stale, description="again")
    assert reason(error) == "ETAG_MISMATCH"
    contested = await one.read()
    assert contested.etag != stale.etag
    await one.edit(base=contested, description="again")
    with pytest.raises(WorkspaceError) as error:
        await one.edit(base=contested, description="once more")
    assert reason(error) == "ETAG_MISMATCH"


async def test_a_resolution_closes_the_conflict_everywhere(nodes: list[Node]) -> None:
    one, two, three = nodes
    joined = await apart(nodes, {"name": "Two"}, {"name": "Three"})
    base = await one.read()
    done = await one.edit(base=base, name="Two", resolves=base.stamp.live)
    assert done.stamp.siblings == ()
    assert await one.open_conflicts() == []
    closed = await one.records.get_row(Key(PK, f"~CONFLICT#{PK}#{joined.conflict}"))
    assert closed is not None
    assert json.loads(closed.body)["status"] == "resolved"
    await three.pull(two)
    assert len(await three.open_conflicts()) == 1
    for node in (two, three):
        await node.pull(one)
        assert await node.open_conflicts() == []
        assert await node.look() == await one.look()


async def test_a_resolution_leaves_what_it_did_not_name(nodes: list[Node]) -> None:
    one, two, three = nodes
    await three.create()
    for node in (one, two):
        await node.pull(three)
    for number, node in enumerate(nodes):
        await node.edit(name=f"N{number}")
    await one.exchange(two)
    base = await one.read()
    await one.pull(three)
    with pytest.raises(WorkspaceError):
        await one.edit(base=base, name="N0", resolves=base.stamp.live)
    now = await one.read()
    await one.edit(base=now, name="N0", resolves=base.stamp.live)
    (conflict,) = await one.open_conflicts()
    assert len((await one.read()).stamp.siblings) == 2
    for node in (two, three):
        await node.pull(one)
        assert await node.look() == await one.look()
    assert [c["conflict_id"] for c in await three.open_conflicts()] == [conflict["conflict_id"]]


async def test_deleting_a_merged_record_deletes_all_of_it(nodes: list[Node]) -> None:
    one, two, _ = nodes
    await apart(nodes, {"name": "Two"}, {"description": "new"})
    await one.delete()
    await two.pull(one)
    assert (await two.read(deleted=True)).deleted
    assert await one.look() == await two.look()


async def test_deleting_one_of_two_values_leaves_the_other_to_be_decided(
    nodes: list[Node],
) -> None:
    one, two, _ = nodes
    await apart(nodes, {"name": "Two"}, {"name": "Three"})
    await one.delete()
    assert (await one.read()).message.name == "Two"
    (conflict,) = await one.open_conflicts()
    assert conflict["kind"] == "edit_delete"
    await two.pull(one)
    assert await one.look() == await two.look()


async def test_a_deletion_beside_an_edit_is_decided_by_people(nodes: list[Node]) -> None:
    one, two, _ = nodes
    await one.create()
    await two.pull(one)
    await one.edit(name="Two")
    await two.delete()
    await one.exchange(two)
    assert await one.look() == await two.look()
    (conflict,) = await two.open_conflicts()
    assert conflict["kind"] == "edit_delete"
    base = await two.read()
    assert base.message.name == "Two"
    write = Write(PROJECT, base.edit(), base, deleted=True, resolves=base.stamp.live)
    await two.records.commit(PK, [write], activity=DONE)
    await one.pull(two)
    assert (await one.read(deleted=True)).deleted
    assert await one.open_conflicts() == []


@pytest.mark.parametrize("order", [(0, 1, 2), (2, 1, 0), (1, 0, 2), (1, 2, 0)])
async def test_the_order_of_exchanges_does_not_matter(
    nodes: list[Node], order: tuple[int, int, int]
) -> None:
    one, two, three = nodes
    await one.create(account_id="a_1")
    await two.pull(one)
    await three.pull(one)
    await one.edit(name="A", restricted=True)
    await two.edit(name="B", account_id="a_2")
    await three.edit(account_id="a_3", description="c")
    for first in order:
        for second in order:
            if first != second:
                await nodes[first].pull(nodes[second])
    looks = [await node.look() for node in nodes]
    assert looks[0] == looks[1] == looks[2]
    shown = await one.read()
    assert shown.message.restricted
    (conflict,) = await one.open_conflicts()
    assert (conflict["kind"], conflict["fields"]) == ("edit_edit", ["account_id", "name"])


async def test_sixteen_versions_side_by_side(nodes: list[Node]) -> None:
    one, two, _ = nodes
    await one.create()
    (state,) = await one.replica.states([KEY])
    assert state is not None
    (version,) = state.versions.values()
    for number in range(15):
        dot = (f"m{number}.x", 1)
        other = replace(
            version, dot=dot, vv={**version.vv, dot[0]: 1}, digest=f"{number:064x}",
            body=version.body.replace("One", f"N{number}"), fields={"name": dot},
        )
        clock = {**version.vv, dot[0]: 1}
        made = replace(state, clock=clock, versions={dot: other, version.dot: version})
        await two.replica.join(PK, [Incoming(KEY, made)], origin="o", found=FOUND)
    await one.exchange(two)
    assert len((await one.read()).stamp.siblings) == 16
    assert await one.look() == await two.look()
    base = await one.read()
    await one.edit(base=base, name="End", resolves=base.stamp.live)
    await two.pull(one)
    assert (await two.read()).message.name == "End"
    assert await two.open_conflicts() == []


async def test_local_fields_stay_what_they_are_here(nodes: list[Node]) -> None:
    one, two, _ = nodes
    key = Key("DOCUMENT#d_1", "ARTIFACT#d_1")
    done = Activity("document.changed", "documents/d_1")

    async def write(node: Node, base: Record[Any] | None, **fields: Any) -> None:
        message = base.edit() if base else Document(document_id="d_1", project_id="p_1")
        message.MergeFrom(Document(**fields))
        await node.records.commit(key.pk, [Write(DOCUMENT, message, base)], activity=done)

    await write(one, None, account_id="a_1", title="A")
    await two.pull(one, key)
    read = await two.records.get(DOCUMENT, key)
    assert read is not None
    assert read.message.account_id == ""
    await write(two, read, account_id="a_2", document_type="report")
    await write(one, await one.records.get(DOCUMENT, key), title="B")
    await one.pull(two, key)
    await two.pull(one, key)
    for node, account in ((one, "a_1"), (two, "a_2")):
        item = (await node.rows(key)).item
        assert item is not None
        assert json.loads(item.body)["account_id"] == account
        assert item.indexes[Index.ACCOUNT][0] == f"ACCOUNT#{account}"
        assert json.loads(item.body)["title"] == "B"
    states = [(await node.rows(key)).state for node in (one, two)]
    assert states[0] == states[1]


async def test_a_large_partition_comes_in_several_commits_with_revocations_first(
    nodes: list[Node],
) -> None:
    one, two, _ = nodes
    ids = [f"g_{number:03}" for number in range(100)]
    grants = [Grant(project_id="p_1", grant_id=each, target_id="u_1") for each in ids]
    for at in (0, 50):
        writes = [Write(GRANT, grant) for grant in grants[at : at + 50]]
        await one.records.commit(PK, writes, activity=DONE)
    await one.create()
    last = Key(PK, "GRANT#g_099")
    base = await one.records.get(GRANT, last)
    assert base is not None
    await one.records.commit(PK, [Write(GRANT, base.edit(), base, deleted=True)], activity=DONE)
    done = await two.pull(one, KEY, *(Key(PK, f"GRANT#{each}") for each in ids))
    assert done[0].key == last
    assert done[-1].key == KEY
    assert all(joined.changed for joined in done)
    assert (await two.records.head(PK)).pseq == 3
    assert await two.records.get(GRANT, last) is None


async def test_a_writer_of_old_texts_of_a_sibling_is_noticed(nodes: list[Node]) -> None:
    """A row that names versions which are not there is no state."""
    one, two, _ = nodes
    await apart(nodes, {"name": "Two"}, {"name": "Three"})
    rows = await one.rows()
    missing = sibling_key(KEY, rows.state.dots[0]) if rows.state else KEY
    others = {key: item for key, item in rows.others.items() if key != missing}
    assert not Rows(KEY, rows.item, others).is_complete
    assert (await two.rows()).is_complete


def test_families_of_the_tests_have_the_policies_they_stand_for() -> None:
    policies: list[Family] = [PROJECT, GRANT, DOCUMENT]
    assert [each.policy for each in policies] == ["surface", "restrictive", "surface"]
