"""Documents: create, read, change, archive, trash, move."""

from __future__ import annotations

from typing import Any

import pytest
from google.protobuf.field_mask_pb2 import FieldMask
from google.protobuf.struct_pb2 import Struct
from workspace.common.v1.classification_pb2 import Classification
from workspace.common.v1.permission_pb2 import Permission
from workspace.project.v1 import document_service_pb2 as pb
from workspace.project.v1.document_pb2 import Document, DocumentStatus
from workspace.project.v1.grant_pb2 import GrantTargetType
from workspace.project.v1.grant_service_pb2 import CreateGrantRequest
from workspace.project.v1.history_pb2 import MetadataRecordType
from workspace.project.v1.history_service_pb2 import ListMetadataRecordsRequest
from workspace.project.v1.project_pb2 import ProjectStatus
from workspace.project.v1.project_service_pb2 import SetLegalHoldRequest, SetProjectStatusRequest

from tests.integration.project.files import create, documents, history, project, upload
from tests.integration.project.world import World, refused, request_id

_TRASHED = DocumentStatus.DOCUMENT_STATUS_TRASHED
_AVAILABLE = DocumentStatus.DOCUMENT_STATUS_AVAILABLE


async def _grant(world: World, project_id: str, user_id: str, *permissions: int) -> None:
    await world.grants("ann").CreateGrant(
        CreateGrantRequest(
            project_id=project_id,
            target_type=GrantTargetType.GRANT_TARGET_TYPE_USER,
            target_id=user_id,
            permissions=permissions,
        )
    )


async def _update(world: World, document: Document, *paths: str, as_: str = "ann") -> Any:
    return await documents(world, as_).UpdateDocument(
        pb.UpdateDocumentRequest(document=document, update_mask=FieldMask(paths=paths))
    )


async def test_a_created_document_has_the_fields_that_the_server_sets(world: World) -> None:
    home = await project(world, account_id="a_one")
    made = await create(
        world, home, "Résumé.PDF", relative_path="in/2024", title="T", concept_tags=["x", "y"],
        metadata_confidence=0.0, source_date="2024-02-29",
    )
    assert made.project_id == home
    assert (made.account_id, made.workspace_id, made.team_id) == ("a_one", "", "")
    assert (made.owner_type, made.owner_id) == ("project", home)
    assert (made.file_extension, made.mime_type) == ("pdf", "application/pdf")
    assert made.status == DocumentStatus.DOCUMENT_STATUS_AWAITING_FILE
    assert made.classification == Classification.CLASSIFICATION_INTERNAL
    assert made.created_by == made.updated_by == "ann"
    assert made.HasField("metadata_confidence")
    assert list(made.concept_tags) == ["x", "y"]
    assert made.name == "R\u00e9sum\u00e9.PDF"
    read = await documents(world, "ann").GetDocument(
        pb.GetDocumentRequest(document_id=made.document_id)
    )
    assert read.document == made
    assert made.etag


@pytest.mark.parametrize(
    ("fields", "field"),
    [
        ({"name": "a/b.pdf"}, "name"),
        ({"name": ".."}, "name"),
        ({"relative_path": "/in"}, "relative_path"),
        ({"relative_path": "a/../b"}, "relative_path"),
        ({"source_date": "2023-02-29"}, "source_date"),
        ({"source_date": "2023-13"}, "source_date"),
    ],
)
async def test_what_cannot_be_stored_is_refused_by_field(
    world: World, fields: dict[str, Any], field: str
) -> None:
    home = await project(world)
    no = await refused(create(world, home, **fields))
    assert (no.reason, no.metadata["field"]) == ("INVALID_FIELD", field)


async def test_raw_metadata_has_a_size_a_depth_and_numbers_that_json_knows(world: World) -> None:
    home = await project(world)
    large, deep, odd = Struct(), Struct(), Struct()
    large.update({"text": "x" * 33_000})
    value: Any = 1
    for _ in range(20):
        value = {"in": value}
    deep.update(value)
    odd.update({"n": float("nan")})
    for raw in (large, deep, odd):
        no = await refused(create(world, home, raw_metadata=raw))
        assert (no.reason, no.metadata["field"]) == ("INVALID_FIELD", "raw_metadata")


async def test_an_answer_larger_than_a_request_row_is_answered_whole_again(world: World) -> None:
    home = await project(world)
    raw = Struct()
    raw.update({"text": "x" * 30_000, "n": 1})
    request = pb.CreateDocumentRequest(
        project_id=home, name="a.pdf", raw_metadata=raw, request_id=request_id()
    )
    first = await documents(world, "ann").CreateDocument(request)
    again = await documents(world, "ann").CreateDocument(request)
    assert first.document.raw_metadata["text"] == "x" * 30_000
    assert again.document == first.document


async def test_creating_needs_write_and_an_active_project(world: World) -> None:
    home = await project(world)
    no = await refused(create(world, home, as_="bob"))
    assert (no.reason, no.metadata["permission"]) == ("PERMISSION_DENIED", "write")
    await _grant(world, home, "bob", Permission.PERMISSION_VIEW)
    assert (await refused(create(world, home, as_="bob"))).reason == "PERMISSION_DENIED"
    absent = await refused(create(world, "p_absent"))
    assert absent.reason == "PERMISSION_DENIED"
    await world.projects("ann").SetProjectStatus(
        SetProjectStatusRequest(
            project_id=home, status=ProjectStatus.PROJECT_STATUS_ARCHIVED
        )
    )
    assert (await refused(create(world, home))).reason == "INVALID_STATE"


@pytest.mark.case("Z02")
async def test_absent_and_forbidden_documents_are_refused_alike(world: World) -> None:
    home = await project(world)
    made = await create(world, home)
    for document_id in (made.document_id, "d_absent"):
        no = await refused(
            documents(world, "bob").GetDocument(pb.GetDocumentRequest(document_id=document_id))
        )
        assert no.reason == "PERMISSION_DENIED"
        assert no.metadata == {"permission": "view", "resource": f"documents/{document_id}"}


@pytest.mark.case("Z02")
async def test_absent_and_forbidden_documents_take_the_same_calls(world: World) -> None:
    """A deployment of several processes asks over the network: it would be told by time."""
    made = await create(world, await project(world))
    counted = []
    for document_id in (made.document_id, "d_absent"):
        before = world.identity.batches
        request = pb.GetDocumentRequest(document_id=document_id)
        await refused(documents(world, "bob").GetDocument(request))
        counted.append(world.identity.batches - before)
    assert counted == [1, 1]


async def test_a_place_holds_one_document(world: World) -> None:
    home, other = await project(world), await project(world)
    made = await create(world, home, "a.pdf", relative_path="in")
    no = await refused(create(world, home, "a.pdf", relative_path="in"))
    assert (no.reason, no.metadata["document_id"]) == ("ALREADY_EXISTS", made.document_id)
    await create(world, home, "A.pdf", relative_path="in")
    await create(world, home, "a.pdf")
    await create(world, other, "a.pdf", relative_path="in")
    await create(world, home, "e\u0301.pdf")
    assert (await refused(create(world, home, "\u00e9.pdf"))).reason == "ALREADY_EXISTS"


async def test_a_request_id_has_one_effect_and_one_payload(world: World) -> None:
    home = await project(world)
    request = pb.CreateDocumentRequest(project_id=home, name="a.pdf", request_id=request_id())
    first = await documents(world, "ann").CreateDocument(request)
    assert (await documents(world, "ann").CreateDocument(request)).document == first.document
    request.title = "other"
    no = await refused(documents(world, "ann").CreateDocument(request))
    assert no.reason == "REQUEST_ID_REUSED"


async def test_an_update_appends_the_new_state_to_history(world: World) -> None:
    home = await project(world)
    made = await create(world, home)
    changed = await _update(
        world, Document(document_id=made.document_id, title="New", etag=made.etag), "title"
    )
    assert changed.document.title == "New"
    assert changed.document.etag != made.etag
    records = (
        await history(world, "ann").ListMetadataRecords(
            ListMetadataRecordsRequest(document_id=made.document_id)
        )
    ).metadata_records
    curated, created = records
    assert curated.record_type == MetadataRecordType.METADATA_RECORD_TYPE_CURATED
    assert (curated.schema_version, curated.actor) == (1, "ann")
    assert curated.snapshot["title"] == "New"
    assert created.reason == "created"
    assert "title" not in created.snapshot
    # The snapshot is the record as stored, times included.
    assert curated.snapshot["updated_at"] == changed.document.updated_at.ToJsonString()


async def test_an_update_of_nothing_writes_nothing(world: World) -> None:
    home = await project(world)
    made = await create(world, home, title="T")
    same = await _update(world, Document(document_id=made.document_id, title="T"), "title")
    assert same.document == made
    assert same.consistency_token


async def test_updates_refuse_masks_old_etags_and_states(world: World) -> None:
    home = await project(world)
    made = await create(world, home)
    mine = Document(document_id=made.document_id, title="x", name="y.pdf")
    for path in ("name", "status", "project_id", "nothing"):
        no = await refused(_update(world, mine, path))
        assert (no.reason, no.metadata["field"]) == ("INVALID_MASK", path)
    await _update(world, mine, "title")
    mine.etag, mine.title = made.etag, "z"
    assert (await refused(_update(world, mine, "title"))).reason == "ETAG_MISMATCH"
    await documents(world, "ann").DeleteDocument(
        pb.DeleteDocumentRequest(document_id=made.document_id)
    )
    mine.etag = ""
    no = await refused(_update(world, mine, "title"))
    assert (no.reason, no.metadata["state"]) == ("INVALID_STATE", "trashed")


async def test_only_an_owner_lowers_the_classification(world: World) -> None:
    home = await project(world)
    made = await create(
        world, home, classification=Classification.CLASSIFICATION_CONFIDENTIAL
    )
    await _grant(world, home, "bob", Permission.PERMISSION_WRITE)
    mine = Document(
        document_id=made.document_id, classification=Classification.CLASSIFICATION_PUBLIC
    )
    no = await refused(_update(world, mine, "classification", as_="bob"))
    assert no.reason == "CLASSIFICATION_LOWERED"
    assert no.metadata == {"from": "confidential", "to": "public"}
    lowered = await _update(world, mine, "classification")
    assert lowered.document.classification == Classification.CLASSIFICATION_PUBLIC


async def test_concurrent_updates_of_different_fields_all_happen(world: World) -> None:
    import asyncio

    home = await project(world)
    made = await create(world, home)
    fields = ["title", "issuing_body", "geographic_scope", "revision", "project_role"]
    await asyncio.gather(
        *(
            _update(world, Document(document_id=made.document_id, **{name: name}), name)  # type: ignore[arg-type]
            for name in fields
        )
    )
    read = await documents(world, "ann").GetDocument(
        pb.GetDocumentRequest(document_id=made.document_id)
    )
    assert [getattr(read.document, name) for name in fields] == fields


async def test_archiving_needs_a_file_and_can_be_undone(world: World) -> None:
    home = await project(world)
    made = await create(world, home)
    request = pb.ArchiveDocumentRequest(document_id=made.document_id)
    no = await refused(documents(world, "ann").ArchiveDocument(request))
    assert (no.reason, no.metadata["state"]) == ("INVALID_STATE", "awaiting_file")
    await upload(world, made.document_id, "x_1")
    done = await documents(world, "ann").ArchiveDocument(request)
    assert done.document.status == DocumentStatus.DOCUMENT_STATUS_ARCHIVED
    mine = Document(document_id=made.document_id, title="x")
    assert (await refused(_update(world, mine, "title"))).metadata["state"] == "archived"
    request.unarchive = True
    back = await documents(world, "ann").ArchiveDocument(request)
    assert back.document.status == _AVAILABLE


async def test_the_trash_frees_the_place_and_restoring_takes_it_again(world: World) -> None:
    home = await project(world)
    made = await create(world, home, "a.pdf")
    await upload(world, made.document_id, "x_1")
    stub = documents(world, "ann")
    delete = pb.DeleteDocumentRequest(document_id=made.document_id, request_id=request_id())
    gone = (await stub.DeleteDocument(delete)).document
    assert (gone.status, gone.trashed_by) == (_TRASHED, "ann")
    assert gone.purge_after.seconds - gone.trashed_at.seconds == 30 * 86_400
    assert (await stub.DeleteDocument(delete)).document == gone
    again = await refused(
        stub.DeleteDocument(pb.DeleteDocumentRequest(document_id=made.document_id))
    )
    assert again.reason == "INVALID_STATE"

    other = await create(world, home, "a.pdf")
    restore = pb.RestoreDocumentRequest(document_id=made.document_id)
    no = await refused(stub.RestoreDocument(restore))
    assert (no.reason, no.metadata["document_id"]) == ("ALREADY_EXISTS", other.document_id)
    await stub.DeleteDocument(pb.DeleteDocumentRequest(document_id=other.document_id))
    back = (await stub.RestoreDocument(restore)).document
    assert back.status == _AVAILABLE
    assert not back.HasField("trashed_at")
    assert not back.trashed_by
    assert (await refused(create(world, home, "a.pdf"))).reason == "ALREADY_EXISTS"
    assert (await refused(stub.RestoreDocument(restore))).reason == "INVALID_STATE"


async def test_deleting_needs_owner_and_no_hold(world: World) -> None:
    home = await project(world, account_id="a_one", restricted=False)
    made = await create(world, home)
    request = pb.DeleteDocumentRequest(document_id=made.document_id)
    no = await refused(documents(world, "eve").DeleteDocument(request))
    assert (no.reason, no.metadata["permission"]) == ("PERMISSION_DENIED", "owner")
    await world.projects("ann").SetLegalHold(
        SetLegalHoldRequest(project_id=home, legal_hold=True, reason="case")
    )
    assert (await refused(documents(world, "ann").DeleteDocument(request))).reason == "HELD"


async def test_a_move_claims_the_new_place_and_frees_the_old_one(world: World) -> None:
    home = await project(world)
    made = await create(world, home, "a.pdf")
    taken = await create(world, home, "b.pdf")
    stub = documents(world, "ann")
    no = await refused(
        stub.MoveDocument(pb.MoveDocumentRequest(document_id=made.document_id, name="b.pdf"))
    )
    assert (no.reason, no.metadata["document_id"]) == ("ALREADY_EXISTS", taken.document_id)
    moved = (
        await stub.MoveDocument(
            pb.MoveDocumentRequest(
                document_id=made.document_id, relative_path="in/2024", name="C.TXT"
            )
        )
    ).document
    assert (moved.relative_path, moved.name, moved.file_extension) == ("in/2024", "C.TXT", "txt")
    await create(world, home, "a.pdf")
    no = await refused(create(world, home, "C.TXT", relative_path="in/2024"))
    assert no.metadata["document_id"] == made.document_id
    same = await stub.MoveDocument(pb.MoveDocumentRequest(document_id=made.document_id))
    assert same.document == moved


@pytest.mark.case("Z04")
async def test_a_move_to_another_project_is_refused_by_field(world: World) -> None:
    home, other = await project(world), await project(world)
    made = await create(world, home)
    no = await refused(
        documents(world, "ann").MoveDocument(
            pb.MoveDocumentRequest(document_id=made.document_id, project_id=other)
        )
    )
    assert (no.reason, no.metadata["field"]) == ("INVALID_FIELD", "project_id")
