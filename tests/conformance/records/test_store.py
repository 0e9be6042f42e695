"""The portable RecordStore on every driver: what use cases may rely on."""

from __future__ import annotations

import asyncio
import json
import uuid
from collections.abc import Sequence
from typing import Any
from unittest.mock import patch

import pytest
from workspace.common.v1.activity_pb2 import ActivityEvent
from workspace.common.v1.error_reason_pb2 import ErrorReason
from workspace.project.v1.grant_pb2 import Grant
from workspace.project.v1.project_pb2 import Project
from workspace.project.v1.project_service_pb2 import CreateProjectRequest, CreateProjectResponse

from services.model.clocks import HybridClock
from services.model.errors import WorkspaceError
from services.model.families import FAMILIES
from services.model.stamp import Stamp
from services.records.port import (
    ABSENT,
    ConditionFailed,
    DriverUnavailable,
    Index,
    Key,
    Match,
    Put,
    RecordDriver,
)
from services.records.record import Activity, Record, Write
from services.records.requests import Once
from services.records.store import RecordStore

PROJECT, GRANT, EVENT = FAMILIES["project"], FAMILIES["project_grant"], FAMILIES["activity_event"]
PK = "PROJECT#p_1"
KEY = Key(PK, PK)
DONE = Activity("project.changed", "projects/p_1", project_id="p_1")


def store_over(driver: RecordDriver) -> RecordStore:
    ticks = iter(range(1_700_000_000_000, 1_800_000_000_000))
    return RecordStore(driver, actor="n1.a", clock=HybridClock(lambda: next(ticks)))


@pytest.fixture
def records(driver: RecordDriver) -> RecordStore:
    return store_over(driver)


def project(**fields: Any) -> Project:
    return Project(**({"project_id": "p_1", "name": "One", "account_id": "a_1"} | fields))


def grants(count: int) -> list[Write[Any]]:
    made = [Grant(project_id="p_1", grant_id=f"g_{i:03}", target_id="u_1") for i in range(count)]
    return [Write(GRANT, grant) for grant in made]


async def create(records: RecordStore, **fields: Any) -> Record[Any]:
    done = await records.commit(PK, [Write(PROJECT, project(**fields))], activity=DONE)
    return done.records[0]


def reason(error: pytest.ExceptionInfo[WorkspaceError]) -> str:
    return ErrorReason.Name(error.value.reason).removeprefix("ERROR_REASON_")


async def test_a_commit_writes_record_head_and_event(records: RecordStore) -> None:
    await create(records)
    read = await records.get(PROJECT, KEY)
    assert read is not None
    assert read.message == project()
    head = await records.head(PK)
    assert head.pseq == 1
    events = await records.query(EVENT, Index.BASE, PK, prefix="EVENT#")
    (event,) = [record.message for record in events.records]
    assert event.type == "project.changed"
    assert event.partition_sequence == 1
    assert event.event_id == head.commit_id
    (change,) = event.changes
    assert not change.HasField("before")
    assert change.after["name"] == "One"
    by_project = await records.query(EVENT, Index.PROJECT, "PROJECT#p_1", prefix="EVENT#")
    assert [record.key for record in by_project.records] == [r.key for r in events.records]


async def test_every_record_carries_a_stamp_that_verifies(records: RecordStore) -> None:
    await create(records)
    feed = await records.changes(None)
    stamped = [item for item in feed.items if item.family in FAMILIES]
    assert {item.family for item in stamped} == {"project", "activity_event"}
    for item in stamped:
        stamp = Stamp.load(item.stamp)
        assert stamp.dot == ("n1.a", 1)
        assert stamp.digest


async def test_an_update_keeps_members_of_a_newer_version(
    records: RecordStore, driver: RecordDriver
) -> None:
    made = await create(records)
    members = json.loads(made.item.body) | {"from_the_future": {"x": 1}}
    stored = await records.get(PROJECT, KEY)
    assert stored is not None

    await driver.commit(
        PK,
        [Put(KEY, Match(stored.item.token), "project", json.dumps(members), stored.item.stamp)],
    )
    newer = await records.get(PROJECT, KEY)
    assert newer is not None
    changed = newer.edit()
    changed.name = "Two"
    await records.commit(PK, [Write(PROJECT, changed, newer)], activity=DONE)
    after = await records.get(PROJECT, KEY)
    assert after is not None
    assert json.loads(after.item.body)["from_the_future"] == {"x": 1}
    assert after.message.name == "Two"


async def test_a_stale_base_at_any_position_changes_nothing(records: RecordStore) -> None:
    first = await create(records)
    changed = first.edit()
    changed.name = "Two"
    await records.commit(PK, [Write(PROJECT, changed, first)], activity=DONE)
    for position in range(4):
        writes = grants(3)
        writes.insert(position, Write(PROJECT, project(name="lost update"), first))
        with pytest.raises(WorkspaceError) as error:
            await records.commit(PK, writes, activity=DONE)
        assert reason(error) == "ETAG_MISMATCH"
    read = await records.get(PROJECT, KEY)
    assert read is not None
    assert read.message.name == "Two"
    assert (await records.head(PK)).pseq == 2
    assert not (await records.query(GRANT, Index.BASE, PK, prefix="GRANT#")).records


async def test_creating_twice_is_already_exists(records: RecordStore) -> None:
    await create(records)
    with pytest.raises(WorkspaceError) as error:
        await create(records, name="Other")
    assert reason(error) == "ALREADY_EXISTS"


@pytest.mark.case("K24")
@pytest.mark.parametrize(
    ("writes", "said"),
    [
        (grants(91), "at most 90"),
        ([*grants(2), *grants(1)], "written twice"),
        ([Write(PROJECT, project(project_id="p_2"))], "another partition"),
        ([Write(PROJECT, project(description="x" * 350 * 1024))], "move bulky data"),
        (
            [
                Write(GRANT, Grant(project_id="p_1", grant_id=f"g_{i}", note="x" * 300 * 1024))
                for i in range(4)
            ],
            "in one commit",
        ),
        ([Write(PROJECT, project(project_id="p" * 505))], "512"),
    ],
)
async def test_limits_are_refused_before_any_call(
    records: RecordStore, writes: Sequence[Write[Any]], said: str
) -> None:
    pk = PK if "512" not in said else "PROJECT#" + "p" * 505
    with pytest.raises(WorkspaceError, match=said) as error:
        await records.commit(pk, writes, activity=DONE)
    assert reason(error) == "INVALID_FIELD"
    assert (await records.head(pk)).pseq == 0


async def test_ninety_writes_go_through(records: RecordStore) -> None:
    await records.commit(PK, grants(90), activity=DONE)
    found = await records.query(GRANT, Index.BASE, PK, prefix="GRANT#", limit=500)
    assert len(found.records) == 90


async def test_records_of_several_families_are_read_at_once(records: RecordStore) -> None:
    made = await create(records)
    done = await records.commit(PK, grants(2), activity=DONE)
    gone = done.records[1]
    await records.commit(PK, [Write(GRANT, gone.message, gone, deleted=True)], activity=DONE)
    keys = [(GRANT, done.records[0].key), (PROJECT, KEY), (GRANT, gone.key)]
    absent = [(PROJECT, Key(f"PROJECT#p_{n}", f"PROJECT#p_{n}")) for n in range(2, 600)]
    found = await records.batch_get_mixed([*keys, *absent, (PROJECT, KEY)])
    assert [row.message if row else None for row in found[:3]] == [
        done.records[0].message, made.message, None,
    ]  # fmt: skip
    assert found[3:-1] == [None] * len(absent)
    assert found[-1] == found[1]
    rows = await records.get_rows([key for _, key in keys])
    assert [row.deleted for row in rows if row is not None] == [False, False, True]
    assert await records.batch_get_mixed([]) == await records.get_rows([]) == []


async def test_a_tombstone_hides_and_counting_goes_on(records: RecordStore) -> None:
    made = await create(records)
    await records.commit(PK, [Write(PROJECT, made.message, made, deleted=True)], activity=DONE)
    assert await records.get(PROJECT, KEY) is None
    gone = await records.get(PROJECT, KEY, deleted=True)
    assert gone is not None
    assert gone.deleted
    await records.commit(PK, [Write(PROJECT, project(), gone)], activity=DONE)
    again = await records.get(PROJECT, KEY)
    assert again is not None
    assert again.stamp.dot == ("n1.a", 3)


async def test_etags_name_what_was_seen(records: RecordStore) -> None:
    first = await create(records)
    assert first.shown().etag == first.etag
    changed = first.edit()
    changed.name = "Two"
    done = await records.commit(PK, [Write(PROJECT, changed, first)], activity=DONE)
    read = await records.get(PROJECT, KEY)
    assert read is not None
    assert done.records[0].etag == read.etag != first.etag
    assert "etag" not in json.loads(read.item.body)


async def test_if_head_refuses_after_any_other_commit(records: RecordStore) -> None:
    head = await records.head(PK)
    await records.commit(PK, grants(1), activity=DONE, if_head=head)
    with pytest.raises(WorkspaceError) as error:
        await records.commit(PK, [Write(PROJECT, project())], activity=DONE, if_head=head)
    assert reason(error) == "CONFLICTING_WRITE"
    assert await records.get(PROJECT, KEY) is None


async def test_two_stores_race_one_head_and_both_win(driver: RecordDriver) -> None:
    """Replicas share no lock: a lost race on HEAD alone is retried inside."""
    stores = [store_over(driver) for _ in range(4)]
    writes = grants(40)
    await asyncio.gather(
        *(
            stores[i % 4].commit(PK, [write], activity=DONE)
            for i, write in enumerate(writes)
        )
    )
    assert (await stores[0].head(PK)).pseq == 40


async def test_partition_sequences_have_no_gaps(records: RecordStore) -> None:
    await asyncio.gather(*(records.commit(PK, [w], activity=DONE) for w in grants(30)))
    events = await records.query(EVENT, Index.BASE, PK, prefix="EVENT#", limit=500)
    assert sorted(r.message.partition_sequence for r in events.records) == list(range(1, 31))


def once(name: str = "One", request_id: str = "") -> Once:
    return Once.of(
        CreateProjectRequest(name=name),
        principal="u_1",
        method="/x/Create",
        request_id=request_id or str(uuid.UUID(int=7)),
        instance_key=b"k" * 32,
    )


async def ask(records: RecordStore, this: Once, name: str = "One") -> CreateProjectResponse:
    done = await records.commit(
        PK,
        [Write(PROJECT, project(name=name))],
        activity=DONE,
        once=this,
        answer=lambda made: CreateProjectResponse(project=made[0].shown()),
    )
    return CreateProjectResponse.FromString(done.answer)


async def test_fifty_parallel_calls_with_one_request_id_have_one_effect(
    driver: RecordDriver,
) -> None:
    stores = [store_over(driver) for _ in range(5)]
    answers = await asyncio.gather(*(ask(stores[i % 5], once()) for i in range(50)))
    assert len({answer.SerializeToString(deterministic=True) for answer in answers}) == 1
    assert (await stores[0].head(PK)).pseq == 1
    # The same without request rows: one effect, but 49 errors.
    fresh = await asyncio.gather(
        *(ask(stores[0], once(request_id=str(uuid.uuid4()))) for _ in range(3)),
        return_exceptions=True,
    )
    assert all(isinstance(answer, WorkspaceError) for answer in fresh)


async def test_the_same_request_id_with_another_payload_is_refused(records: RecordStore) -> None:
    await ask(records, once())
    with pytest.raises(WorkspaceError) as error:
        await ask(records, once("Other"), "Other")
    assert reason(error) == "REQUEST_ID_REUSED"
    assert error.value.metadata["field"] == "request_id"


async def test_a_request_row_is_kept_a_day(records: RecordStore) -> None:
    await ask(records, once())
    rows = [item for item in (await records.changes(None)).items if item.family == "request"]
    assert [row.key for row in rows] == [Key(PK, once().sk)]
    assert rows[0].expires_at is not None
    assert rows[0].expires_at - 1_700_000_000 == 24 * 3600


class Ambiguous:
    """A driver whose next commits lose their answer, before or after the effect."""

    def __init__(self, inner: RecordDriver, faults: list[str]) -> None:
        self._inner = inner
        self.faults = list(faults)
        self.sent = 0

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)

    async def commit(self, pk: str, puts: Sequence[Put]) -> list[str]:
        self.sent += 1
        fault = self.faults.pop(0) if self.faults else ""
        if fault == "before":
            raise DriverUnavailable("lost", ambiguous=True)
        tokens = await self._inner.commit(pk, puts)
        if fault == "after":
            raise DriverUnavailable("lost", ambiguous=True)
        return tokens


@pytest.mark.parametrize(
    "faults", [["before"], ["after"], ["before", "after"], ["before", "before", "before"]]
)
async def test_an_ambiguous_commit_is_settled_by_its_event(
    driver: RecordDriver, faults: list[str]
) -> None:
    records = store_over(Ambiguous(driver, faults))  # type: ignore[arg-type]
    made = await create(records)
    assert (await records.head(PK)).pseq == 1
    read = await records.get(PROJECT, KEY)
    assert read is not None
    assert read.item.token == made.item.token


async def test_without_the_event_an_ambiguous_commit_would_be_an_error(
    driver: RecordDriver, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The control of the test above: resending blindly reports a false conflict."""

    async def blind(self: RecordStore, plan: Any) -> bool:
        return False

    monkeypatch.setattr(RecordStore, "_happened", blind)
    records = store_over(Ambiguous(driver, ["after"]))  # type: ignore[arg-type]
    with pytest.raises((WorkspaceError, ConditionFailed)):
        await create(records)


async def test_a_store_that_stays_away_is_unavailable(driver: RecordDriver) -> None:
    records = store_over(Ambiguous(driver, ["before"] * 20))  # type: ignore[arg-type]
    with pytest.raises(WorkspaceError) as error:
        await create(records)
    assert reason(error) == "BACKEND_UNAVAILABLE"
    assert error.value.retry_after


async def test_what_an_operator_has_to_do_is_told(driver: RecordDriver) -> None:
    records = store_over(driver)
    remedy = DriverUnavailable("table t of account 1: denied", remedy="allow it in IAM")
    with (
        patch.object(type(driver), "get", side_effect=remedy),
        pytest.raises(WorkspaceError, match="allow it in IAM") as error,
    ):
        await records.get(PROJECT, KEY)
    assert reason(error) == "BACKEND_UNAVAILABLE"
    assert "account" not in str(error.value)


@pytest.mark.parametrize("descending", [False, True])
async def test_a_query_starts_inside_of_its_prefix(records: RecordStore, descending: bool) -> None:
    await records.commit(PK, grants(9), activity=DONE)
    found, after = list[str](), None
    while True:
        page = await records.query(
            GRANT, Index.BASE, PK, prefix="GRANT#", lower="GRANT#g_004", limit=2, after=after,
            descending=descending,
        )
        found += [record.message.grant_id for record in page.records]
        if (after := page.next) is None:
            break
    assert found == sorted([f"g_{i:03}" for i in range(4, 9)], reverse=descending)
    with pytest.raises(ValueError):
        await records.query(GRANT, Index.BASE, PK, prefix="GRANT#", lower="GRANS#")


async def test_bodies_hold_every_unicode_plane(records: RecordStore) -> None:
    text = "".join(chr(plane << 16 | 0x0101) for plane in range(17)) + "\u0000\"\\\u2028é"
    await create(records, description=text)
    read = await records.get(PROJECT, KEY)
    assert read is not None
    assert read.message.description == text


async def test_events_leave_out_values_that_are_too_large(records: RecordStore) -> None:
    await create(records, description="x" * 20_000)
    events = await records.query(EVENT, Index.BASE, PK, prefix="EVENT#")
    event: ActivityEvent = events.records[0].message
    assert event.changes[0].sk == PK
    assert not event.changes[0].HasField("after")


@pytest.mark.parametrize(
    ("faults", "written"), [([], True), (["after"], True), (["before"], False)]
)
async def test_a_lost_answer_of_a_row_is_settled_by_reading_it(
    driver: RecordDriver, faults: list[str], written: bool
) -> None:
    records = store_over(Ambiguous(driver, faults))  # type: ignore[arg-type]
    row = Put(Key("NAME#p_1#x", "NAME"), ABSENT, "document_name", '{"document_id":"d_1"}')
    if written:
        token = await records.put_row(row)
        found = await records.get_row(row.key)
        assert found is not None
        assert found.token == token
    else:
        with pytest.raises(WorkspaceError) as error:
            await records.put_row(row)
        assert reason(error) == "BACKEND_UNAVAILABLE"
        assert await records.get_row(row.key) is None
