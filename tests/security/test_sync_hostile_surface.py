"""What a surface that somebody else controls tries, beyond rows that are broken."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from workspace.common.v1.activity_pb2 import ActivityEvent
from workspace.identity.v1.account_pb2 import Account
from workspace.project.v1.document_pb2 import DerivedArtifact
from workspace.project.v1.history_pb2 import WriteEvent
from workspace.sync.v1.connection_pb2 import Connection, SyncScope, SyncScopeType, Trust

from services.model.canonical import content_digest
from services.model.errors import WorkspaceError
from services.model.families import FAMILIES
from services.model.stamp import Stamp, stamp_write
from services.records.codec import content_of, dump, encode
from services.records.erasure import Erasure, Person, Position
from services.records.instance import INSTANCE_KEY
from services.records.port import ABSENT, Index, Key, Match, Put
from services.records.siblings import indexes_of
from sync_svc.collection.marks import MARK_KEY
from tests.unit.sync_svc.engine.world import Clock, World, document, document_key, project_key
from tests.unit.sync_svc.quarantine.bench import CONTENT, quarantined, sort, spoil

ACCOUNTS = Connection(
    connection_id="c_remote",
    trust=Trust.TRUST_FULL,
    scope=SyncScope(type=SyncScopeType.SYNC_SCOPE_TYPE_ACCOUNTS, account_ids=["a_1"]),
)
PROJECTS = Connection(
    connection_id="c_remote",
    trust=Trust.TRUST_CONTENT_ONLY,
    scope=SyncScope(type=SyncScopeType.SYNC_SCOPE_TYPE_PROJECTS, project_ids=["p_1"]),
)
DOCUMENT = document_key("d_0")


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    made = World(tmp_path, Clock())
    await made.open("local", "remote")
    yield made
    await made.close()


async def members(world: World, key: Key) -> list[dict[str, Any]]:
    state = await world.state(key, on="local")
    return [json.loads(each.body) for each in state.versions.values()] if state else []


async def erase_by_hand(world: World, key: Key, **changes: Any) -> None:
    """Another text under the same version, said to be without personal data."""
    item = await world.surfaces["remote"].records.get_row(key)
    assert item is not None
    body = json.loads(item.body) | changes
    family = FAMILIES[item.family]
    digest = content_digest(family.name, False, content_of(family, body))
    stamp = replace(Stamp.load(item.stamp), digest=digest, erased=True)
    await spoil(world, key, body=dump(body), stamp=stamp.dump())


async def forge(world: World, message: Any, key: Key | None = None) -> Key:
    """A new record of an actor of the surface's own making."""
    name = next(n for n, each in FAMILIES.items() if isinstance(message, each.message))
    family = FAMILIES[name]
    remote = world.surfaces["remote"].records
    hlc = remote.reading()
    body = encode(family, message, {})
    content = content_of(family, body)
    stamp = stamp_write(
        None, {}, content, digest=content_digest(name, False, content), deleted=False,
        actor="nforged.1", hlc=hlc,
    )
    if key is None:
        key = Key(*family.key_of(message))
    elif name == "activity_event":
        key = Key(key.pk, f"EVENT#{hlc}#nforged.1#{message.event_id}")
    text = dump(body)
    indexes = indexes_of(family, key, text)
    await remote.put_row(Put(key, ABSENT, name, text, stamp.dump(), indexes=indexes))
    return key


@pytest.mark.parametrize("connection", [CONTENT, None], ids=["content", "full"])
async def test_no_other_text_comes_under_the_pretence_of_erasure(
    world: World, connection: Connection | None
) -> None:
    """It would take the place of ours without a version, a conflict or a trace."""
    await world.project()
    await world.documents(1, name="ours")
    await world.push()
    before = await world.state(DOCUMENT, on="local")
    assert before is not None
    await erase_by_hand(world, DOCUMENT, name="forged", title="pay here")
    await world.pull(connection=connection, full_reconcile=True)
    after = await world.state(DOCUMENT, on="local")
    assert after is not None
    for dot in before.versions.keys() & after.versions.keys():
        assert after.versions[dot] == before.versions[dot]


async def test_history_is_not_rewritten_under_the_pretence_of_erasure(world: World) -> None:
    await world.project()
    await world.push()
    (event,) = await world.rows("remote", "activity_event")
    await erase_by_hand(world, event.key, type="project.deleted")
    await world.pull(full_reconcile=True)
    (here,) = await members(world, event.key)
    assert here["type"] == "test.written"
    assert len(await quarantined(world)) == 1


async def test_a_person_who_was_erased_there_is_erased_here(world: World) -> None:
    await world.project()
    made = document("d_0", "about")
    made.title = "Ask ann@example.com, <o'ann+x@example.com> or ann@example.com."
    await world.write(made)
    note = WriteEvent(
        project_id="p_1", document_id="d_0", write_event_id="w_1", text="for ann@example.com",
        timestamp={"seconds": 1_700_000_000},  # type: ignore[arg-type]
    )
    await world.write(note)
    await world.push()
    person = Person.of("u_ann12345678", ["ann@example.com", "o'ann+x@example.com"])
    erasure, position = Erasure(world.surfaces["remote"].records, person), Position()
    while not position.done:
        position = await erasure.step(position, rows=1000)
    await world.pull()
    states = await world.states("local")
    texts = [each.body for state in states.values() for each in state.versions.values()]
    assert not any("ann@example.com" in text for text in texts)
    assert not await quarantined(world)


async def scoped(world: World) -> None:
    """Account a_1 has p_1, a_2 has p_2; the surface is of a_1."""
    await world.project("p_1", account_id="a_1")
    await world.project("p_2", account_id="a_2")
    await world.documents(1)
    await world.push(connection=ACCOUNTS)


async def listed(world: World, index: Index, partition: str, prefix: str) -> list[str]:
    page = await world.surfaces["local"].records.run(
        index, partition, lower=prefix, upper=prefix + "~", limit=100, after=None
    )
    return [item.key.sk for item in page.items]


@pytest.mark.case("S09")
@pytest.mark.parametrize("connection", [ACCOUNTS, PROJECTS], ids=["accounts", "projects"])
async def test_a_scoped_surface_writes_into_no_other_history(
    world: World, connection: Connection
) -> None:
    await scoped(world)
    note = WriteEvent(
        project_id="p_2", document_id="d_0", write_event_id="w_1", text="forged",
        timestamp={"seconds": 1_700_000_000},  # type: ignore[arg-type]
    )
    await forge(world, note)
    event = ActivityEvent(event_id="e_1", type="project.deleted", project_id="p_2")
    await forge(world, event, project_key("p_1"))
    await world.pull(connection=connection)
    assert await listed(world, Index.PROJECT, "PROJECT#p_2", "WRITE#") == []
    theirs = await listed(world, Index.PROJECT, "PROJECT#p_2", "EVENT#")
    assert not any("nforged" in each for each in theirs)


async def test_a_surface_of_one_account_tells_nothing_to_another(world: World) -> None:
    await scoped(world)
    await world.write(Account(account_id="a_2", name="Another"))
    event = ActivityEvent(
        event_id="e_1", type="account.purged", project_id="p_1", account_id="a_2"
    )
    await forge(world, event, project_key("p_1"))
    await world.pull(connection=ACCOUNTS)
    assert await listed(world, Index.ACCOUNT, "ACCOUNT#a_2", "EVENT#") == []


@pytest.mark.case("S09")
async def test_a_scoped_surface_moves_nothing_out_of_its_scope(world: World) -> None:
    await scoped(world)
    await world.write(document("d_0", "planted", project_id="p_2"), on="remote")
    await world.project("p_1", account_id="a_2", on="remote")
    await world.pull(connection=ACCOUNTS)
    (here,) = await members(world, DOCUMENT)
    assert here["project_id"] == "p_1"
    (project,) = await members(world, project_key("p_1"))
    assert project["account_id"] == "a_1"
    families = {row["family"] for row in await quarantined(world)}
    assert families == {"document", "project", "activity_event"}  # that of the move


async def test_a_push_takes_no_such_answer_either(world: World) -> None:
    await scoped(world)
    await world.write(document("d_0", "planted", project_id="p_2"), on="remote")
    await world.write(document("d_0", "edited here"))
    await world.push(connection=ACCOUNTS)
    assert [each["project_id"] for each in await members(world, DOCUMENT)] == ["p_1"]


async def test_what_is_new_in_the_scope_comes(world: World) -> None:
    await scoped(world)
    await world.project("p_3", account_id="a_1", on="remote")
    await world.write(document("d_9", project_id="p_3"), on="remote")
    await world.pull(connection=ACCOUNTS)
    assert await members(world, project_key("p_3"))
    assert await members(world, document_key("d_9"))
    assert not await quarantined(world)


async def test_derived_files_of_content_come_for_their_document_only(world: World) -> None:
    await world.project()
    await world.project("p_2")
    await world.documents(1)
    await world.push(connection=CONTENT)
    await world.write(
        DerivedArtifact(project_id="p_1", document_id="d_0", kind="text", artifact_id="f_1"),
        on="remote",
    )
    await world.write(
        DerivedArtifact(project_id="p_2", document_id="d_0", kind="text", artifact_id="f_2"),
        on="remote",
    )
    await world.pull(connection=CONTENT)
    assert await listed(world, Index.PROJECT, "PROJECT#p_1", "DERIVED#") == ["DERIVED#text#f_1"]
    assert await listed(world, Index.PROJECT, "PROJECT#p_2", "DERIVED#") == []


async def replaced(world: World, key: Key, body: str, family: str) -> None:
    records = world.surfaces["remote"].records
    item = await records.get_row(key)
    condition = Match(item.token) if item else ABSENT
    indexes = {Index.USER: ("NODES", f"{key.pk}#{key.sk}")} if family == "node" else {}
    await records.put_row(Put(key, condition, family, body, indexes=indexes))


_NODES = {
    "no JSON": "[",
    "no node": "[]",
    "no entries": "{}",
    "a list": '{"instance_id":"nevil","entries":[]}',
    "words for numbers": '{"instance_id":"nevil","entries":{"1":{"seen_ms":"soon"}}}',
    "another's name": '{"instance_id":"nvictim","entries":{}}',
    "the end of time": '{"instance_id":"nevil","entries":{"1":{"seen_ms":1e400}}}',
    "far away": '{"instance_id":"nevil","entries":{"1":{"seen_ms":99999999999999999999}}}',
    "much": json.dumps({"instance_id": "nevil", "entries": {}, "note": "x" * 100_000}),
}


@pytest.mark.parametrize("what", _NODES)
async def test_rows_of_nodes_are_not_believed(world: World, what: str) -> None:
    await world.project()
    await world.push()
    await replaced(world, Key("NODE#nevil", "NODE"), _NODES[what], "node")
    world.clock.now += 3600
    await world.project("p_2", on="remote")
    await world.pull()
    assert await members(world, project_key("p_2"))
    assert not [
        item for item in await world.rows("local", "node_seen") if "nevil" in item.key.pk
    ]
    assert not [
        item for item in await world.rows("local", "node_seen") if "nvictim" in item.key.pk
    ]


_INSTANCES = {
    "no JSON": "[",
    "a list": "[]",
    "nothing": "{}",
    "a number": '{"instance_id":7,"incarnation":"x","provider_identity":"y"}',
    "a quote": '{"instance_id":"n\\"1","incarnation":"x","provider_identity":"y"}',
    "a hash": '{"instance_id":"n#1","incarnation":"x","provider_identity":"y"}',
    "much": json.dumps({"instance_id": "n1", "incarnation": "x", "provider_identity": "y" * 10**6}),
    "words": (
        '{"instance_id":"n1","incarnation":"x","provider_identity":"y","generation":"many"}'
    ),
}


@pytest.mark.parametrize("what", _INSTANCES)
async def test_a_surface_without_a_sound_identity_is_refused_with_a_reason(
    world: World, what: str
) -> None:
    await world.project()
    await world.push()
    await replaced(world, INSTANCE_KEY, _INSTANCES[what], "instance")
    with pytest.raises(WorkspaceError):
        await world.pull()


async def test_what_is_outside_of_the_scope_is_not_tried_again_either(world: World) -> None:
    """A retry names a record by its key, whatever the connection covers since."""
    await scoped(world)
    await world.write(document("d_8", "theirs", project_id="p_2"), on="remote")
    found = await sort(world, document_key("d_8"), connection=ACCOUNTS)
    assert found.take == []
    assert found.kept_out == {document_key("d_8")}


_MARKS = {
    "no JSON": "[",
    "a list": "[]",
    "nothing": "{}",
    "words": '{"number":"many","relayed":{}}',
    "no number": '{"number":1e400,"relayed":{}}',
    "too many": '{"number":99999999999999999999999,"relayed":{}}',
    "no relay": '{"number":1,"relayed":[]}',
}


@pytest.mark.parametrize("what", _MARKS)
async def test_the_mark_of_a_surface_is_not_believed(world: World, what: str) -> None:
    await world.project()
    await world.push()
    await replaced(world, MARK_KEY, _MARKS[what], "collection")
    await world.write(document("d_0"))
    before = await world.surfaces["local"].records.get_row(MARK_KEY)
    with suppress(WorkspaceError):
        await world.push()
    await world.reopen("local")
    after = await world.surfaces["local"].records.get_row(MARK_KEY)
    assert (before and before.body) == (after and after.body)
