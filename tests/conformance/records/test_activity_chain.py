"""Somebody edits the rows of a store, on every driver: the audit chain shows it."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence
from typing import Any

import pytest
from workspace.project.v1.history_service_pb2 import VerifyActivityResponse
from workspace.project.v1.project_pb2 import Project

from project_svc.history.activity_audit import checkpoint_of, verify_partition
from services.events.outbox import instance_of
from services.model.canonical import canonical_json, content_digest
from services.model.clocks import HybridClock
from services.model.families import FAMILIES
from services.model.seals import Checkpoint, sealed_digest, without_nonce
from services.model.shown import Shown
from services.model.versions import State
from services.records.conflict_rows import Found
from services.records.erasure import Erasure, Person, Position
from services.records.events import Change
from services.records.port import Index, Key, Put, RecordDriver
from services.records.record import Activity, Record, Write
from services.records.replica import Incoming, Replica
from services.records.siblings import Rows
from services.records.store import RecordStore
from sync_svc.collection.tombstones import stub_of
from tests.conformance.records.harness import DriverCase, Environment
from tests.security.tampering import Members, Tamperer, kinds

PROJECT, EVENT = FAMILIES["project"], FAMILIES["activity_event"]
PK = "PROJECT#p_1"
KEY = Key(PK, PK)
ADDRESS = "roberta@example.com"


def store_over(
    driver: RecordDriver, actor: str = "n1.a", at: int = 1_700_000_000_000
) -> RecordStore:
    ticks = iter(range(at, at + 10**9))
    return RecordStore(driver, actor=actor, clock=HybridClock(lambda: next(ticks)))


def noted(text: str) -> Activity:
    return Activity("project.changed", "projects/p_1", project_id="p_1", note=text)


async def grow(records: RecordStore, count: int = 6) -> None:
    """A project, and events that tell of it."""
    await records.commit(PK, [Write(PROJECT, Project(project_id="p_1"))], activity=noted("1"))
    for number in range(2, count + 1):
        await records.commit(PK, [], activity=noted(str(number)))


async def verify(records: RecordStore, kept: Checkpoint | None = None) -> VerifyActivityResponse:
    return await verify_partition(records, await records.head(PK), kept=kept)


async def checkpoint(records: RecordStore) -> Checkpoint:
    made = checkpoint_of(await records.head(PK), instance_of(records.actor), None)
    return Checkpoint.load(made.dump())


@pytest.fixture
def records(driver: RecordDriver) -> RecordStore:
    return store_over(driver)


@pytest.fixture
def tamperer(driver: RecordDriver) -> Tamperer:
    return Tamperer(driver, PK)


def renoted(members: Members) -> Members:
    return members | {"note": "nothing was done"}


async def test_what_nobody_touched_is_intact(records: RecordStore) -> None:
    await grow(records)
    kept = await checkpoint(records)
    await records.touch(PK)
    await records.commit(PK, [], activity=noted("later"))
    found = await verify(records, kept)
    assert (found.intact, found.sealed_count, found.unsealed_count) == (True, 7, 0), found.faults
    assert found.sealed_since.ToMilliseconds() >= 1_700_000_000_000
    assert Checkpoint.load(found.checkpoint).sequence == 7


@pytest.mark.case("H01")
async def test_an_edited_event_is_named(records: RecordStore, tamperer: Tamperer) -> None:
    await grow(records)
    for number in (2, 0, 5):
        event_id = await tamperer.edit(number, renoted)
        found = await verify(records)
        assert ("EDITED", number + 1) in kinds(found.faults)
        assert event_id in {fault.event_id for fault in found.faults}


@pytest.mark.case("H01")
async def test_a_seal_that_was_taken_off_is_an_edit(
    records: RecordStore, tamperer: Tamperer
) -> None:
    await grow(records)
    await tamperer.edit(
        2, lambda old: {n: v for n, v in old.items() if n not in ("previous_link", "seal_nonce")}
    )
    assert ("EDITED", 3) in kinds((await verify(records)).faults)


@pytest.mark.case("H02")
async def test_a_deleted_event_is_missed(records: RecordStore, tamperer: Tamperer) -> None:
    await grow(records)
    await tamperer.delete(2, 3)
    assert kinds((await verify(records)).faults) == {("MISSING", 3), ("MISSING", 4)}


@pytest.mark.case("H02")
async def test_a_deleted_event_is_missed_where_numbers_were_closed_up(
    records: RecordStore, tamperer: Tamperer
) -> None:
    await grow(records)
    await tamperer.delete(2)
    for number in (2, 3, 4):
        await tamperer.edit(number, lambda old: old | {
            "partition_sequence": str(int(old["partition_sequence"]) - 1)
        })  # fmt: skip
    await tamperer.head(pseq=5)
    assert not (await verify(records)).intact


@pytest.mark.case("H03")
async def test_swapped_events_are_named(records: RecordStore, tamperer: Tamperer) -> None:
    await grow(records)
    await tamperer.swap(1, 2)
    assert {"SWAPPED"} <= {kind for kind, _ in kinds((await verify(records)).faults)}


@pytest.mark.case("H03")
async def test_swapped_sequence_numbers_are_edits(
    records: RecordStore, tamperer: Tamperer
) -> None:
    await grow(records)
    await tamperer.edit(1, lambda old: old | {"partition_sequence": "3"})
    await tamperer.edit(2, lambda old: old | {"partition_sequence": "2"})
    assert kinds((await verify(records)).faults) == {("ADDED", 2), ("EDITED", 3)}


@pytest.mark.case("H04")
async def test_a_cut_tail_is_shown_by_head(records: RecordStore, tamperer: Tamperer) -> None:
    await grow(records)
    await tamperer.delete(4, 5)
    assert {("CUT", 6), ("MISSING", 5)} == kinds((await verify(records)).faults)


@pytest.mark.case("H04")
async def test_a_tail_that_was_cut_with_head_is_shown_by_the_checkpoint(
    records: RecordStore, tamperer: Tamperer
) -> None:
    await grow(records)
    kept = await checkpoint(records)
    await tamperer.delete(4, 5)
    await tamperer.rebuild()
    assert (await verify(records)).intact, "nothing in the store shows it"
    assert kinds((await verify(records, kept)).faults) == {("CUT", 6)}
    await grow_on(records, 3)
    found = await verify(records, kept)
    assert kinds(found.faults) == {("REBUILT", 6)}, "growing on hides nothing"


async def grow_on(records: RecordStore, count: int) -> None:
    for _ in range(count):
        await records.commit(PK, [], activity=noted("on"))


@pytest.mark.case("H05")
async def test_a_chain_that_was_made_anew_is_shown_by_the_checkpoint(
    records: RecordStore, tamperer: Tamperer
) -> None:
    await grow(records)
    kept = await checkpoint(records)
    await tamperer.edit(2, renoted)
    await tamperer.rebuild()
    assert (await verify(records)).intact, "nothing in the store shows it"
    await grow_on(records, 2)
    assert kinds((await verify(records, kept)).faults) == {("REBUILT", 6)}


@pytest.mark.case("H05")
async def test_a_chain_that_lost_all_its_seals_is_shown_by_the_checkpoint(
    records: RecordStore, tamperer: Tamperer
) -> None:
    await grow(records)
    kept = await checkpoint(records)
    await tamperer.unseal(6, head=True)
    assert (await verify(records)).unsealed_count == 6
    assert kinds((await verify(records, kept)).faults) == {("REBUILT", 6)}


@pytest.mark.case("H01")
async def test_an_event_that_was_put_there_is_named(
    records: RecordStore, driver: RecordDriver, tamperer: Tamperer
) -> None:
    await grow(records)
    other = store_over(driver, at=1_800_000_000_000)
    await other.commit(PK, [], activity=noted("seven"))
    await tamperer.head(**json.loads((await old_head(records)).body))
    assert ("ADDED", 7) in kinds((await verify(records)).faults)


async def old_head(records: RecordStore) -> Any:
    """HEAD before the last event."""
    item = (await Tamperer(records.driver, PK).events())[-1]
    link = json.loads(item.body)["previous_link"]
    head = await records.driver.get(Key(PK, "#HEAD"))
    assert head is not None
    said = {"pseq": 6, "commit_id": "", "link": link}
    return type(head)(head.key, head.token, head.family, json.dumps(said))


@pytest.mark.case("H07")
async def test_an_erasure_is_told_and_accepted(records: RecordStore) -> None:
    await grow(records, 3)
    await records.commit(PK, [], activity=noted(f"for {ADDRESS}"))
    await grow_on(records, 1)
    kept = await checkpoint(records)
    await erase(records)
    found = await verify(records, kept)
    assert (found.intact, found.erased_count, found.sealed_count) == (True, 1, 6), found.faults
    page = await records.query(EVENT, Index.BASE, PK, prefix="EVENT#")
    assert [each.message.type for each in page.records][-1] == "activity.erased"
    assert all(ADDRESS not in each.item.body for each in page.records)
    assert not page.records[3].message.seal_nonce, "nobody can guess what was taken out"


async def erase(records: RecordStore) -> None:
    walk, position = Erasure(records, Person.of("u_1", [ADDRESS])), Position()
    for _ in range(10):
        position = await walk.step(position, rows=1000)
        if position.done:
            return
    raise AssertionError("it does not end")


@pytest.mark.case("H07")
async def test_an_edit_that_calls_itself_an_erasure_is_an_edit(
    records: RecordStore, tamperer: Tamperer
) -> None:
    await grow(records, 3)
    await records.commit(PK, [], activity=noted(f"for {ADDRESS}"))
    await erase(records)
    for number in (1, 3):  # one that was never erased, and the erased one once more
        item = (await tamperer.events())[number]
        sealed = json.loads(item.body).get("sealed_digest", "a" * 64)
        members = renoted(json.loads(item.body)) | {"sealed_digest": sealed}
        await tamperer.put(item, members, erased=True)
        assert ("EDITED", number + 1) in kinds((await verify(records)).faults)


@pytest.mark.case("H08")
async def test_fifty_commits_at_once_by_four_replicas_are_one_chain(
    driver: RecordDriver, case: DriverCase
) -> None:
    stores = [store_over(driver, at=1_700_000_000_000 + i) for i in range(4)]
    room = asyncio.Semaphore(case.writers)

    async def one(number: int) -> None:
        async with room:
            await stores[number % 4].commit(PK, [], activity=noted(str(number)))

    await asyncio.gather(*map(one, range(50)))
    found = await verify(stores[0])
    assert (found.intact, found.sealed_count) == (True, 50), found.faults


@pytest.mark.case("H08")
async def test_what_an_earlier_release_left_is_counted_and_the_chain_begins_after_it(
    records: RecordStore, tamperer: Tamperer
) -> None:
    await grow(records, 4)
    await tamperer.unseal(4, head=True)
    before = await checkpoint(records)
    await grow_on(records, 3)
    found = await verify(records, before)
    assert (found.intact, found.sealed_count, found.unsealed_count) == (True, 3, 4), found.faults
    await tamperer.head(link=None)  # a replica of the earlier release commits once more
    await grow_on(records, 2)
    assert (await verify(records)).intact
    await tamperer.delete(1)
    assert kinds((await verify(records)).faults) == {("MISSING", 2)}


@pytest.mark.case("H07")
async def test_what_was_edited_as_if_erased_is_told_however_its_row_is_marked(
    records: RecordStore, tamperer: Tamperer
) -> None:
    await grow(records, 3)
    kept = await checkpoint(records)
    item = (await tamperer.events())[1]
    sealed = {"sealed_digest": sealed_digest(item.body)}
    await tamperer.put(item, without_nonce(item.body, renoted(json.loads(item.body))) | sealed)
    now = content_digest("activity_event", False, json.loads((await tamperer.events())[1].body))
    told = Change("activity_event", item.key.sk, "", canonical_json({"digest": now}))
    await records.rewrite(PK, [], told=(Activity("activity.erased", "activity"), [told]))
    found = await verify(records, kept)
    assert (found.intact, found.erased_count) == (True, 1), found.faults


@pytest.mark.case("H08")
async def test_a_purge_of_tombstones_makes_no_gap(
    records: RecordStore, tamperer: Tamperer
) -> None:
    await grow(records, 4)
    base = await records.get(PROJECT, KEY)
    assert base is not None
    await records.commit(
        PK, [Write(PROJECT, base.message, base, deleted=True)], activity=noted("gone")
    )
    await tamperer.unseal(5, head=True)

    async def purged(found: Sequence[Rows]) -> list[Put]:
        (rows,) = found
        assert rows.state is not None
        (version,) = rows.state.versions.values()
        stub = stub_of(version)
        after = State(rows.state.family, rows.state.clock, {stub.dot: stub})
        return list(rows.puts(after, Shown(stub), origin="", found=Found(10**9)))

    await records.converge(PK, [KEY], purged)
    found = await verify(records)
    assert found.intact, found.faults
    await grow_on(records, 2)
    found = await verify(records)
    assert (found.intact, found.unsealed_count) == (True, 5), found.faults


@pytest.mark.case("H08")
async def test_what_is_written_while_it_is_looked_at_hides_no_join(
    case: DriverCase, environment: Environment
) -> None:
    one, two = [
        store_over(await case.store(environment).open(), f"n{n}.x", 1_700_000_000_000 + n * 10**8)
        for n in (1, 2)
    ]
    await grow(one, 3)
    await pull(one, two)
    await change(two)
    states = await Replica(two).states([KEY])
    assert states[0] is not None
    await Replica(one).join(PK, [Incoming(KEY, states[0])], origin="there", found=Found(10**9))
    head = await one.head(PK)
    await grow_on(one, 1)
    found = await verify_partition(one, head)
    assert found.intact, found.faults


@pytest.mark.case("H08")
async def test_stores_that_join_each_others_history_stay_intact(
    case: DriverCase, environment: Environment
) -> None:
    one, two = [
        store_over(await case.store(environment).open(), f"n{n}.x", 1_700_000_000_000 + n * 10**8)
        for n in (1, 2)
    ]
    await grow(one, 3)
    kept = await checkpoint(one)
    for _ in range(2):
        for source, target in ((one, two), (two, one)):
            await pull(source, target)
            await change(target)
    for records in (one, two):
        found = await verify(records)
        assert found.intact, found.faults
        assert found.joined_count
        assert not found.unsealed_count
    assert (await verify(one, kept)).intact
    await Tamperer(two.driver, PK).edit(1, renoted)
    assert ("EDITED", 2) in kinds((await verify(two)).faults), "of the other store's chain"


async def pull(source: RecordStore, target: RecordStore) -> None:
    page = await source.run(Index.BASE, PK, lower="!", upper="~", limit=500, after=None)
    keys = [item.key for item in page.items if item.family in FAMILIES]
    states = await Replica(source).states(keys)
    incoming = [Incoming(k, s) for k, s in zip(keys, states, strict=True) if s]
    await Replica(target).join(PK, incoming, origin="there", found=Found(10**9))


async def change(records: RecordStore) -> None:
    base: Record[Any] | None = await records.get(PROJECT, KEY)
    assert base is not None
    message = base.edit()
    message.name += "x"
    await records.commit(PK, [Write(PROJECT, message, base)], activity=noted("renamed"))
