"""History: append-only records, write events with their context, activity."""

from __future__ import annotations

from typing import Any

import pytest
from google.protobuf.struct_pb2 import Struct
from workspace.common.v1.permission_pb2 import Permission
from workspace.project.v1 import history_service_pb2 as pb
from workspace.project.v1.document_service_pb2 import DeleteDocumentRequest
from workspace.project.v1.grant_pb2 import GrantTargetType
from workspace.project.v1.grant_service_pb2 import CreateGrantRequest
from workspace.project.v1.history_pb2 import MetadataRecordType, WriteEventKind
from workspace.project.v1.link_pb2 import ObjectLink

from tests.integration.project.files import create, documents, history, project, upload
from tests.integration.project.world import World, refused, request_id

_EXTRACTION = MetadataRecordType.METADATA_RECORD_TYPE_EXTRACTION
_CURATED = MetadataRecordType.METADATA_RECORD_TYPE_CURATED
_NOTE = WriteEventKind.WRITE_EVENT_KIND_NOTE
_MAPPING = WriteEventKind.WRITE_EVENT_KIND_MAPPING_DECISION


def _struct(**members: Any) -> Struct:
    struct = Struct()
    struct.update(members)
    return struct


async def _grant(world: World, project_id: str, user_id: str, *permissions: int) -> None:
    await world.grants("ann").CreateGrant(
        CreateGrantRequest(
            project_id=project_id,
            target_type=GrantTargetType.GRANT_TARGET_TYPE_USER,
            target_id=user_id,
            permissions=permissions,
        )
    )


async def _all(call: Any, request: Any, name: str) -> list[Any]:
    seen: list[Any] = []
    while True:
        page = await call(request)
        seen += getattr(page, name)
        if not page.next_page_token:
            return seen
        request.page_token = page.next_page_token


@pytest.mark.parametrize("scope", ["document", "project"])
async def test_a_record_is_appended_and_listed_newest_first(world: World, scope: str) -> None:
    home = await project(world)
    made = await create(world, home)
    about = {"document_id": made.document_id} if scope == "document" else {"project_id": home}
    stub = history(world, "ann")
    request = pb.AppendMetadataRecordRequest(
        record_type=_EXTRACTION, snapshot=_struct(title="T"), request_id=request_id(), **about
    )
    first = (await stub.AppendMetadataRecord(request)).metadata_record
    assert (first.project_id, first.actor, first.schema_version) == (home, "ann", 1)
    assert (await stub.AppendMetadataRecord(request)).metadata_record == first
    second = (
        await stub.AppendMetadataRecord(
            pb.AppendMetadataRecordRequest(
                record_type=_CURATED, snapshot=_struct(title="U"), **about
            )
        )
    ).metadata_record
    listed = await _all(
        stub.ListMetadataRecords,
        pb.ListMetadataRecordsRequest(page_size=1, **about),
        "metadata_records",
    )
    assert listed[:2] == [second, first]
    only = await _all(
        stub.ListMetadataRecords,
        pb.ListMetadataRecordsRequest(record_type=_EXTRACTION, **about),
        "metadata_records",
    )
    assert only == [first]


async def test_a_large_snapshot_is_answered_whole_and_a_larger_one_refused(world: World) -> None:
    made = await create(world, await project(world))
    stub = history(world, "ann")
    request = pb.AppendMetadataRecordRequest(
        document_id=made.document_id,
        record_type=_CURATED,
        snapshot=_struct(text="x" * 60_000),
        request_id=request_id(),
    )
    first = await stub.AppendMetadataRecord(request)
    assert first.metadata_record.snapshot["text"] == "x" * 60_000
    assert (await stub.AppendMetadataRecord(request)).metadata_record == first.metadata_record
    request.snapshot.update({"more": "y" * 6_000})
    request.request_id = request_id()
    no = await refused(stub.AppendMetadataRecord(request))
    assert (no.reason, no.metadata["limit"]) == ("LIMIT_EXCEEDED", "snapshot_bytes")


@pytest.mark.parametrize(
    ("held", "kind", "allowed"),
    [
        (Permission.PERMISSION_WRITE, _EXTRACTION, True),
        (Permission.PERMISSION_REVIEW, _EXTRACTION, False),
        (Permission.PERMISSION_REVIEW, _CURATED, True),
        (Permission.PERMISSION_WRITE, _CURATED, False),
    ],
)
async def test_extraction_needs_write_and_curation_review(
    world: World, held: int, kind: int, allowed: bool
) -> None:
    home = await project(world)
    made = await create(world, home)
    await _grant(world, home, "bob", held)
    call = history(world, "bob").AppendMetadataRecord(
        pb.AppendMetadataRecordRequest(
            document_id=made.document_id,
            record_type=kind,  # type: ignore[arg-type]
            snapshot=_struct(a=1),
        )
    )
    if allowed:
        assert (await call).metadata_record.actor == "bob"
    else:
        assert (await refused(call)).reason == "PERMISSION_DENIED"


@pytest.mark.parametrize("scope", ["document", "project"])
async def test_a_write_event_comes_with_its_context(world: World, scope: str) -> None:
    home = await project(world)
    made = await create(world, home, title="T")
    about = {"document_id": made.document_id} if scope == "document" else {"project_id": home}
    request = pb.CreateWriteEventRequest(
        kind=_NOTE,
        text="line one\nline two",
        document_context=_struct(page=3),
        links=[ObjectLink(kind="requirement", id="R1", relation="about")],
        request_id=request_id(),
        **about,
    )
    done = await history(world, "ann").CreateWriteEvent(request)
    event, context = done.write_event, done.metadata_record
    assert (event.actor, event.text, event.project_id) == ("ann", "line one\nline two", home)
    assert event.metadata_record_id == context.metadata_record_id
    assert event.timestamp == context.timestamp
    assert context.record_type == MetadataRecordType.METADATA_RECORD_TYPE_WRITE_CONTEXT
    assert context.snapshot["title" if scope == "document" else "name"] in ("T", "Bridge")
    again = await history(world, "ann").CreateWriteEvent(request)
    assert (again.write_event, again.metadata_record) == (event, context)
    listed = await _all(
        history(world, "ann").ListWriteEvents, pb.ListWriteEventsRequest(**about), "write_events"
    )
    assert listed == [event]


async def test_write_events_of_a_project_are_those_of_its_documents_too(world: World) -> None:
    home = await project(world)
    one, two = await create(world, home, "1.pdf"), await create(world, home, "2.pdf")
    stub = history(world, "ann")
    made = []
    for about, kind in (
        ({"document_id": one.document_id}, _NOTE),
        ({"project_id": home}, _NOTE),
        ({"document_id": two.document_id}, _MAPPING),
    ):
        request = pb.CreateWriteEventRequest(kind=kind, text="t", **about)  # type: ignore[arg-type]
        made.append((await stub.CreateWriteEvent(request)).write_event)
    request_all = pb.ListWriteEventsRequest(project_id=home, page_size=2)
    assert await _all(stub.ListWriteEvents, request_all, "write_events") == made[::-1]
    mapping = pb.ListWriteEventsRequest(project_id=home, kind=_MAPPING)
    assert await _all(stub.ListWriteEvents, mapping, "write_events") == [made[2]]
    of_one = pb.ListWriteEventsRequest(document_id=one.document_id)
    assert await _all(stub.ListWriteEvents, of_one, "write_events") == [made[0]]


@pytest.mark.parametrize(
    ("held", "kind", "allowed"),
    [
        (Permission.PERMISSION_COMMENT, _NOTE, True),
        (Permission.PERMISSION_COMMENT, _MAPPING, False),
        (Permission.PERMISSION_REVIEW, _MAPPING, True),
        (Permission.PERMISSION_VIEW, _NOTE, False),
    ],
)
async def test_a_note_needs_comment_and_a_mapping_review(
    world: World, held: int, kind: int, allowed: bool
) -> None:
    home = await project(world)
    await _grant(world, home, "bob", held)
    call = history(world, "bob").CreateWriteEvent(
        pb.CreateWriteEventRequest(project_id=home, kind=kind, text="t")  # type: ignore[arg-type]
    )
    if allowed:
        assert (await call).write_event.actor == "bob"
    else:
        assert (await refused(call)).reason == "PERMISSION_DENIED"


async def test_nothing_is_written_about_what_is_in_the_trash(world: World) -> None:
    made = await create(world, await project(world))
    await documents(world, "ann").DeleteDocument(
        DeleteDocumentRequest(document_id=made.document_id)
    )
    stub = history(world, "ann")
    for call in (
        stub.CreateWriteEvent(
            pb.CreateWriteEventRequest(document_id=made.document_id, kind=_NOTE, text="t")
        ),
        stub.AppendMetadataRecord(
            pb.AppendMetadataRecordRequest(
                document_id=made.document_id, record_type=_CURATED, snapshot=_struct(a=1)
            )
        ),
    ):
        assert (await refused(call)).reason == "INVALID_STATE"
    listed = await stub.ListMetadataRecords(
        pb.ListMetadataRecordsRequest(document_id=made.document_id)
    )
    assert [record.reason for record in listed.metadata_records] == ["trashed", "created"]


async def test_history_is_read_by_those_who_may_view(world: World) -> None:
    home = await project(world)
    made = await create(world, home)
    stub = history(world, "bob")
    for about in ({"document_id": made.document_id}, {"project_id": home}):
        for call in (
            stub.ListMetadataRecords(pb.ListMetadataRecordsRequest(**about)),
            stub.ListWriteEvents(pb.ListWriteEventsRequest(**about)),
            stub.ListActivity(pb.ListActivityRequest(**about)),
        ):
            assert (await refused(call)).reason == "PERMISSION_DENIED"


async def test_activity_of_a_project_holds_its_documents_newest_first(world: World) -> None:
    home = await project(world)
    made = await create(world, home)
    await upload(world, made.document_id, "x_1")
    stub = history(world, "ann")
    request = pb.ListActivityRequest(project_id=home, page_size=1)
    events = await _all(stub.ListActivity, request, "events")
    assert [e.type for e in events] == [
        "document.file_attached", "document.created", "project.created"
    ]
    assert {e.project_id for e in events} == {home}
    assert events[1].changes[0].after["name"] == "a.pdf"
    of_document = pb.ListActivityRequest(document_id=made.document_id)
    assert await _all(stub.ListActivity, of_document, "events") == events[:2]
    some = pb.ListActivityRequest(project_id=home, type_prefix="project.")
    assert [e.type for e in await _all(stub.ListActivity, some, "events")] == ["project.created"]


async def test_activity_between_two_times(world: World) -> None:
    home = await project(world)
    await create(world, home)
    stub = history(world, "ann")
    events = (await stub.ListActivity(pb.ListActivityRequest(project_id=home))).events
    newest, oldest = events[0].occurred_at, events[-1].occurred_at
    request = pb.ListActivityRequest(project_id=home, until=oldest)
    assert not (await stub.ListActivity(request)).events
    request = pb.ListActivityRequest(project_id=home, since=newest)
    assert (await stub.ListActivity(request)).events[0] == events[0]


async def test_changes_of_access_are_shown_to_managers_alone(world: World) -> None:
    home = await project(world)
    await _grant(world, home, "bob", Permission.PERMISSION_VIEW)
    request = pb.ListActivityRequest(project_id=home)
    managed = (await history(world, "ann").ListActivity(request)).events
    seen = (await history(world, "bob").ListActivity(request)).events
    assert [e.type for e in managed] == ["grant.created", "project.created"]
    assert [e.type for e in seen] == ["project.created"]
    assert {c.family for c in managed[1].changes} == {"project", "project_grant"}
    assert {c.family for c in seen[0].changes} == {"project"}


async def test_activity_of_an_account_says_nothing_of_what_is_closed(world: World) -> None:
    home = await project(world, "eve", account_id="a_one", restricted=True)
    request = pb.ListActivityRequest(account_id="a_one")
    no = await refused(history(world, "eve").ListActivity(request))
    assert (no.reason, no.metadata["permission"]) == ("PERMISSION_DENIED", "manage_account")
    (event,) = (await history(world, "ann").ListActivity(request)).events
    assert (event.type, event.resource) == ("project.created", f"projects/{home}")
    assert not event.changes
