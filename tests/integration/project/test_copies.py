"""CopyDocument: a new document with the metadata and, soon, the bytes."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from google.protobuf.field_mask_pb2 import FieldMask
from workspace.common.v1.classification_pb2 import Classification
from workspace.project.v1 import document_service_pb2 as pb
from workspace.project.v1 import project_service_pb2 as ps
from workspace.project.v1.document_pb2 import Document, DocumentStatus
from workspace.project.v1.document_service_pb2_grpc import DocumentServiceStub
from workspace.project.v1.link_pb2 import LinkDirection, ObjectLink
from workspace.project.v1.project_pb2 import Project
from workspace.project.v1.project_service_pb2_grpc import ProjectServiceStub
from workspace.storage.v1 import storage_service_pb2 as ss
from workspace.storage.v1.storage_service_pb2_grpc import StorageServiceStub

from tests.harness import Workspace
from tests.integration.project.world import refused, request_id
from tests.integration.storage.people import ANN, BOB, Desk, get, sha256
from tests.integration.storage.test_relocation import let_due_work_finish

_AWAITING = DocumentStatus.DOCUMENT_STATUS_AWAITING_FILE
_AVAILABLE = DocumentStatus.DOCUMENT_STATUS_AVAILABLE


@pytest.fixture
async def desk(tmp_path: Path) -> AsyncIterator[Desk]:
    async with Workspace.open(tmp_path) as ws:
        await ws.sign_in(ANN)
        await ws.sign_in(BOB)
        opened = Desk(ws)
        opened.project_id = await opened.new_project()
        yield opened


async def copied(desk: Desk, document_id: str, who: str = ANN, **more: Any) -> Document:
    answer = await desk.documents(who).CopyDocument(
        pb.CopyDocumentRequest(document_id=document_id, **more)
    )
    return answer.document  # type: ignore[no-any-return]


async def finish(desk: Desk, document_id: str) -> Any:
    handlers = {k: do for module in desk.ws.process.modules for k, do in module.due.items()}
    return await handlers["document.copy"](document_id)


async def bytes_of(desk: Desk, document_id: str, who: str = ANN) -> bytes:
    made = await desk.storage(who).CreateDownload(ss.CreateDownloadRequest(document_id=document_id))
    return (await get(made.transfer)).content


async def test_a_copy_has_metadata_links_and_in_time_the_bytes(desk: Desk) -> None:
    source = await desk.document()
    await desk.uploaded(source, b"the plan")
    await desk.documents().UpdateDocument(
        pb.UpdateDocumentRequest(
            document=Document(document_id=source, title="Plan", concept_tags=["a", "b"])
        )
    )
    link = ObjectLink(kind="requirement", id="R1", relation="describes")
    await desk.documents().LinkObjects(pb.LinkObjectsRequest(document_id=source, links=[link]))
    other = await desk.new_project()
    copy = await copied(desk, source, project_id=other, name="copy.pdf", relative_path="a/b")
    before = await desk.read(source)
    assert (copy.status, copy.HasField("file"), copy.size_bytes) == (_AWAITING, False, 0)
    assert (copy.project_id, copy.name, copy.relative_path) == (other, "copy.pdf", "a/b")
    assert (copy.title, copy.concept_tags, list(copy.links)) == ("Plan", ["a", "b"], [link])
    assert (copy.copied_from, copy.document_id != source) == (source, True)
    assert await finish(desk, copy.document_id) is None
    done = await desk.read(copy.document_id)
    assert (done.status, done.file.sha256, done.file.file_revision) == (
        _AVAILABLE, sha256(b"the plan"), 1
    )
    assert f"/projects/{other}/documents/{copy.document_id}/raw/copy.pdf" in done.storage_key
    assert await bytes_of(desk, copy.document_id) == b"the plan"
    assert await desk.read(source) == before
    assert await finish(desk, copy.document_id) is None
    assert await desk.read(copy.document_id) == done
    incoming = await desk.documents().ListLinks(
        pb.ListLinksRequest(
            kind="requirement", id="R1", direction=LinkDirection.LINK_DIRECTION_INCOMING
        )
    )
    assert {entry.source_id for entry in incoming.links} == {source, copy.document_id}


async def test_the_file_is_that_of_the_call_and_the_copy_can_be_revised(desk: Desk) -> None:
    source = await desk.document()
    await desk.uploaded(source, b"one")
    copy = await copied(desk, source, name="copy.pdf")
    await desk.documents().CreateRevision(pb.CreateRevisionRequest(document_id=source))
    await desk.uploaded(source, b"two")
    await finish(desk, copy.document_id)
    assert await bytes_of(desk, copy.document_id) == b"one"
    await desk.documents().CreateRevision(pb.CreateRevisionRequest(document_id=copy.document_id))
    await desk.uploaded(copy.document_id, b"three", filename="copy.pdf")
    assert await bytes_of(desk, copy.document_id) == b"three"
    assert await bytes_of(desk, source) == b"two"


async def test_a_repeat_makes_one_copy(desk: Desk) -> None:
    source = await desk.document()
    await desk.uploaded(source, b"one")
    same = request_id()
    made = await asyncio.gather(
        *(copied(desk, source, name="copy.pdf", request_id=same) for _ in range(10))
    )
    assert all(each == made[0] for each in made)
    both = [finish(desk, made[0].document_id) for _ in range(2)]
    await asyncio.gather(*both, return_exceptions=True)
    await finish(desk, made[0].document_id)
    assert await bytes_of(desk, made[0].document_id) == b"one"
    no = await refused(copied(desk, source, name="else.pdf", request_id=same))
    assert no.reason == "REQUEST_ID_REUSED"
    taken = await refused(copied(desk, source, name="copy.pdf"))
    assert (taken.reason, taken.metadata["document_id"]) == (
        "ALREADY_EXISTS", made[0].document_id
    )


@pytest.mark.case("Z04")
async def test_what_is_refused(desk: Desk) -> None:
    source = await desk.document()
    empty = await refused(copied(desk, source, name="copy.pdf"))
    assert (empty.reason, empty.code.name) == ("FILE_NOT_AVAILABLE", "FAILED_PRECONDITION")
    await desk.uploaded(source, b"one")
    assert (await refused(copied(desk, source, BOB))).reason == "PERMISSION_DENIED"
    bobs = await desk.new_project(BOB)
    assert (await refused(copied(desk, source, project_id=bobs))).reason == "PERMISSION_DENIED"
    projects: Any = desk.ws.stub(ProjectServiceStub, as_=ANN)
    other = await desk.new_project()
    await projects.UpdateProject(
        ps.UpdateProjectRequest(
            project=Project(
                project_id=other, data_classification=Classification.CLASSIFICATION_PUBLIC
            ),
            update_mask=FieldMask(paths=["data_classification"]),
        )
    )
    low = await refused(copied(desk, source, project_id=other))
    assert (low.reason, low.metadata["to"]) == ("CLASSIFICATION_LOWERED", "public")
    gone = await desk.new_project()
    await projects.DeleteProject(ps.DeleteProjectRequest(project_id=gone))
    assert (await refused(copied(desk, source, project_id=gone))).reason == "INVALID_STATE"
    await desk.documents().DeleteDocument(pb.DeleteDocumentRequest(document_id=source))
    assert (await refused(copied(desk, source, name="x.pdf"))).reason == "FILE_NOT_AVAILABLE"


async def test_an_upload_to_the_copy_wins(desk: Desk) -> None:
    source = await desk.document()
    await desk.uploaded(source, b"one")
    copy = await copied(desk, source, name="copy.pdf")
    await desk.uploaded(copy.document_id, b"mine", filename="mine.pdf")
    assert await finish(desk, copy.document_id) is None
    assert await bytes_of(desk, copy.document_id) == b"mine"


async def test_an_object_is_copied_only_as_it_was_said(desk: Desk) -> None:
    source = await desk.document()
    done = await desk.uploaded(source, b"one")
    target = done.storage_key.replace(source, "d_other")
    storage: Any = desk.ws.service_stub(StorageServiceStub, service="project_svc")
    asked = {"source_key": done.storage_key, "target_key": target, "size_bytes": 3}
    for wrong, reason in (
        ({"sha256": sha256(b"two")}, "CHECKSUM_MISMATCH"),
        ({"sha256": sha256(b"one"), "size_bytes": 4}, "CHECKSUM_MISMATCH"),
        ({"sha256": sha256(b"one"), "source_key": target}, "NOT_FOUND"),
        ({"sha256": sha256(b"one"), "target_key": "else/where"}, "INVALID_FIELD"),
        ({"sha256": sha256(b"one"), "quota_bytes": 5}, "QUOTA_EXCEEDED"),
    ):
        no = await refused(storage.CopyObject(ss.CopyObjectRequest(**(asked | wrong))))
        assert no.reason == reason, wrong
    request = ss.CopyObjectRequest(**asked, sha256=sha256(b"one"), quota_bytes=6)
    await storage.CopyObject(request)
    await storage.CopyObject(request)
    usage = (
        await desk.ws.service_stub(StorageServiceStub, service="identity_svc").GetHomeUsage(
            ss.GetHomeUsageRequest(home_id=done.storage_key.split("/")[1])
        )
    ).total
    assert (usage.bytes, usage.documents, usage.reserved_bytes) == (6, 2, 0)
    taken = await desk.uploaded(await desk.document("b.pdf"), b"bbb", filename="b.pdf")
    asked["target_key"] = taken.storage_key
    no = await refused(
        storage.CopyObject(ss.CopyObjectRequest(**asked, sha256=sha256(b"one")))
    )
    assert no.reason == "CHECKSUM_MISMATCH"


async def test_a_copy_that_no_record_came_to_name_is_removed(desk: Desk) -> None:
    """The document went to the trash while its bytes were copied."""
    source = await desk.document()
    done = await desk.uploaded(source, b"one")
    copy = await copied(desk, source, name="copy.pdf")
    key = done.storage_key.replace(source, copy.document_id).replace("plan.pdf", "copy.pdf")
    storage: Any = desk.ws.service_stub(StorageServiceStub, service="project_svc")
    asked = {"source_key": done.storage_key, "target_key": key, "size_bytes": 3}
    await storage.CopyObject(ss.CopyObjectRequest(**asked, sha256=sha256(b"one")))
    await desk.documents().DeleteDocument(pb.DeleteDocumentRequest(document_id=copy.document_id))
    assert await finish(desk, copy.document_id) is None
    named = await copied(desk, source, name="named.pdf")
    await finish(desk, named.document_id)
    assert key in desk.files()
    await let_due_work_finish(desk)
    assert key not in desk.files()
    assert await bytes_of(desk, named.document_id) == b"one"
    usage = (
        await desk.ws.service_stub(StorageServiceStub, service="identity_svc").GetHomeUsage(
            ss.GetHomeUsageRequest(home_id=key.split("/")[1])
        )
    ).total
    assert (usage.bytes, usage.documents) == (6, 2)


async def test_sync_makes_a_document_of_a_version_on_behalf_of_a_user(desk: Desk) -> None:
    source = await desk.document()
    await desk.uploaded(source, b"the plan")
    version = await desk.read(source)
    version.title = "As the other node had it"
    request = pb.CopyDocumentVersionRequest(
        document_id=source, version=version, name="kept.pdf", request_id=request_id()
    )
    stub: Any = desk.ws.service_stub(DocumentServiceStub, service="sync_svc", as_=ANN)
    made = (await stub.CopyDocumentVersion(request)).document
    assert (made.name, made.title, made.copied_from) == ("kept.pdf", version.title, source)
    assert await finish(desk, made.document_id) is None
    assert await bytes_of(desk, made.document_id) == b"the plan"
    assert (await stub.CopyDocumentVersion(request)).document.document_id == made.document_id

    foreign = pb.CopyDocumentVersionRequest(
        document_id=await desk.document("other.pdf"), version=version, name="x.pdf"
    )
    answer = await refused(stub.CopyDocumentVersion(foreign))
    assert answer.reason == "INVALID_FIELD"
    bob: Any = desk.ws.service_stub(DocumentServiceStub, service="sync_svc", as_=BOB)
    assert (await refused(bob.CopyDocumentVersion(request))).reason == "PERMISSION_DENIED"
    person = desk.documents()
    assert (await refused(person.CopyDocumentVersion(request))).reason == "PERMISSION_DENIED"
