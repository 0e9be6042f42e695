"""Answers above 16 KiB: kept as keys, answered whole, first and as a replay."""

from __future__ import annotations

import asyncio
import time
import uuid
from collections.abc import AsyncIterator, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from google.protobuf.message import Message
from workspace.common.v1.permission_pb2 import PERMISSION_VIEW
from workspace.project.v1.document_service_pb2 import LinkObjectsResponse
from workspace.project.v1.grant_pb2 import Grant
from workspace.project.v1.history_pb2 import MetadataRecord
from workspace.project.v1.history_service_pb2 import AppendMetadataRecordResponse
from workspace.project.v1.link_pb2 import ObjectLink
from workspace.project.v1.project_pb2 import Project
from workspace.project.v1.project_service_pb2 import (
    AssignProjectResponse,
    CreateProjectRequest,
    CreateProjectResponse,
)

from services.model.clocks import HybridClock
from services.model.errors import Reason, WorkspaceError
from services.model.families import FAMILIES
from services.records.large_answers import ANSWER_LIMIT, storable
from services.records.mutation import Decorate, Mutation, Mutations
from services.records.port import Key
from services.records.record import Activity, Record, Write
from services.records.sql import SqliteDriver
from services.records.store import RecordStore
from services.rpc.consistency import ConsistencyTokens
from services.rpc.context import Call, Caller, set_current_call

KEY = b"k" * 32
PROJECT, GRANT = FAMILIES["project"], FAMILIES["project_grant"]
PK = "PROJECT#p_1"
PROJECT_KEY = Key(PK, PK)
DONE = Activity("project.created", "projects/p_1", project_id="p_1")
LONG = "x" * ANSWER_LIMIT


@pytest.fixture
async def records(tmp_path: Path) -> AsyncIterator[RecordStore]:
    driver = await SqliteDriver.open(tmp_path / "workspace.sqlite")
    yield RecordStore(driver, actor="n.1", clock=HybridClock(lambda: int(time.time() * 1000)))
    await driver.close()


@pytest.fixture(autouse=True)
def call() -> Iterator[None]:
    caller = Caller("u_1", "issuer", "subject")
    set_current_call(Call("r", "/x/Create", deadline=time.monotonic() + 60, caller=caller))
    yield
    set_current_call(None)


def begin(records: RecordStore, request_id: str, decorate: Decorate | None = None) -> Mutation:
    mutations = Mutations(records, instance_key=KEY, consistency=ConsistencyTokens(KEY, "n"))
    request = CreateProjectRequest(name="One", request_id=request_id)
    return mutations.begin(request, decorate=decorate)


def answer(records: Sequence[Record[Any]]) -> CreateProjectResponse:
    project = records[0].shown()
    project.my_permissions.append(PERMISSION_VIEW)
    return CreateProjectResponse(project=project)


async def create(mutation: Mutation, description: str = LONG) -> CreateProjectResponse:
    project = Project(project_id="p_1", name="One", account_id="a_1", description=description)
    return await mutation.commit(PK, [Write(PROJECT, project)], activity=DONE, answer=answer)


async def create_again(mutation: Mutation) -> CreateProjectResponse:
    project = Project(project_id="p_2", name="Two", account_id="a_1")
    return await mutation.commit(
        "PROJECT#p_2", [Write(PROJECT, project)], activity=DONE, answer=answer
    )


async def rename(records: RecordStore) -> None:
    (base,) = await records.batch_get(PROJECT, [PROJECT_KEY])
    assert base is not None
    changed = base.edit()
    changed.name = "Two"
    await records.commit(PK, [Write(PROJECT, changed, base)], activity=DONE)




async def rows(records: RecordStore) -> list[str]:
    return [i.body for i in (await records.changes(None)).items if i.family == "request"]


async def test_the_first_answer_is_whole_and_the_row_small(records: RecordStore) -> None:
    made = await create(begin(records, str(uuid.uuid4())))
    assert (made.project.description, list(made.project.my_permissions)) == (LONG, [1])
    (row,) = await rows(records)
    assert len(row) < 500


async def test_nothing_is_kept_for_a_call_that_nobody_can_repeat(records: RecordStore) -> None:
    mutation = begin(records, "")
    made = await create(mutation, "short")
    assert (made.project.description, bool(made.consistency_token)) == ("short", True)
    assert await mutation.replay(PK, CreateProjectResponse) is None
    assert await rows(records) == []
    await create_again(begin(records, str(uuid.uuid4())))
    assert len(await rows(records)) == 1


async def test_a_replay_reads_the_record_again_and_is_decorated(records: RecordStore) -> None:
    async def decorate(done: CreateProjectResponse) -> None:
        done.project.my_permissions.append(PERMISSION_VIEW)

    same = str(uuid.uuid4())
    first = await create(begin(records, same))
    replayed = await begin(records, same, decorate).replay(PK, CreateProjectResponse)
    assert replayed is not None
    assert replayed.project == first.project
    assert replayed.consistency_token
    await rename(records)
    replayed = await begin(records, same, decorate).replay(PK, CreateProjectResponse)
    assert replayed is not None
    assert (replayed.project.name, replayed.project.description) == ("Two", LONG)
    assert replayed.project.etag != first.project.etag


async def test_a_small_answer_is_replayed_as_it_was(records: RecordStore) -> None:
    async def decorate(_: Message) -> None:
        raise AssertionError("nothing was cut")

    same = str(uuid.uuid4())
    first = await create(begin(records, same), "short")
    await rename(records)
    replayed = await begin(records, same, decorate).replay(PK, CreateProjectResponse)
    assert replayed is not None
    assert replayed.project == first.project


async def test_a_record_that_is_gone_keeps_its_key(records: RecordStore) -> None:
    same = str(uuid.uuid4())
    await create(begin(records, same))
    (base,) = await records.batch_get(PROJECT, [PROJECT_KEY])
    assert base is not None
    await records.commit(PK, [Write(PROJECT, base.message, base, deleted=True)], activity=DONE)
    replayed = await begin(records, same).replay(PK, CreateProjectResponse)
    assert replayed is not None
    assert replayed.project == Project(project_id="p_1")


async def test_parallel_calls_get_equal_whole_answers(records: RecordStore) -> None:
    async def decorate(done: CreateProjectResponse) -> None:
        done.project.my_permissions.append(PERMISSION_VIEW)

    same = str(uuid.uuid4())
    answers = await asyncio.gather(*(create(begin(records, same, decorate)) for _ in range(10)))
    assert {a.project.SerializeToString(deterministic=True) for a in answers} == {
        answers[0].project.SerializeToString(deterministic=True)
    }
    assert answers[0].project.description == LONG


def test_every_record_is_cut_to_its_key_fields() -> None:
    grants = [Grant(grant_id=f"g_{n}", project_id="p_1", note="n" * 4000) for n in range(9)]
    whole = AssignProjectResponse(
        project=Project(project_id="p_1", name="One"), added_grants=grants,
        revoked_grant_ids=["g_x"],
    )
    data, cut = storable(whole)
    assert cut
    assert AssignProjectResponse.FromString(data) == AssignProjectResponse(
        project=Project(project_id="p_1"),
        added_grants=[Grant(grant_id=f"g_{n}", project_id="p_1") for n in range(9)],
        revoked_grant_ids=["g_x"],
    )


def test_keys_with_alternatives_keep_what_the_record_has() -> None:
    record = MetadataRecord(
        document_id="d_1", project_id="p_1", metadata_record_id="m_1", record_type=1, note=LONG
    )
    record.timestamp.seconds = 7
    data, _ = storable(AppendMetadataRecordResponse(metadata_record=record))
    kept = AppendMetadataRecordResponse.FromString(data).metadata_record
    record.ClearField("note")
    assert kept == record
    family = FAMILIES["metadata_record"]
    assert family.key_of(kept) == family.key_of(record)


def test_other_lists_are_left_out_and_the_limit_is_exact() -> None:
    links = [ObjectLink(kind="document", id="d_1", relation="x" * 200) for _ in range(200)]
    assert storable(LinkObjectsResponse(links=links)) == (b"", True)
    for more, cut in ((0, False), (1, True)):
        project = Project(project_id="p_1", description="x" * (ANSWER_LIMIT - 11 + more))
        answer = CreateProjectResponse(project=project)
        assert (answer.ByteSize(), storable(answer)[1]) == (ANSWER_LIMIT + more, cut)


def test_what_cannot_be_cut_is_refused() -> None:
    with pytest.raises(WorkspaceError) as caught:
        storable(CreateProjectResponse(consistency_token=LONG + "x"))
    assert caught.value.reason == Reason.ERROR_REASON_INTERNAL
