"""Files and revisions: what storage asks and tells, and what history keeps."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from workspace.common.v1.permission_pb2 import Permission
from workspace.project.v1 import document_service_pb2 as pb
from workspace.project.v1.document_pb2 import DocumentStatus
from workspace.project.v1.grant_pb2 import GrantTargetType
from workspace.project.v1.grant_service_pb2 import CreateGrantRequest
from workspace.project.v1.history_service_pb2 import ListMetadataRecordsRequest

from tests.integration.project.files import (
    AVAILABLE,
    DOWNLOAD,
    HOLD,
    REJECTED,
    arrived,
    authorize,
    create,
    documents,
    history,
    project,
    storage,
    upload,
)
from tests.integration.project.world import World, refused, request_id

_AWAITING = DocumentStatus.DOCUMENT_STATUS_AWAITING_FILE
_SCANNING = DocumentStatus.DOCUMENT_STATUS_SCANNING
_AVAILABLE = DocumentStatus.DOCUMENT_STATUS_AVAILABLE


async def _reasons(world: World, document_id: str) -> list[str]:
    answer = await history(world, "ann").ListMetadataRecords(
        ListMetadataRecordsRequest(document_id=document_id)
    )
    return [record.reason for record in reversed(answer.metadata_records)]


async def _revise(world: World, document_id: str) -> int:
    answer = await documents(world, "ann").CreateRevision(
        pb.CreateRevisionRequest(document_id=document_id)
    )
    return int(answer.document.reserved_file_revision)


async def test_authorising_an_upload_answers_all_that_storage_needs(world: World) -> None:
    home = await project(world, account_id="a_one")
    made = await create(world, home)
    allowed = await authorize(world, made.document_id)
    prefix = f"accounts/a_one/projects/{home}/documents/{made.document_id}/raw/"
    assert allowed.storage_prefix == prefix
    assert allowed.WhichOneof("home") == "account_id"
    assert allowed.next_file_revision == 1
    assert allowed.document == made
    assert Permission.PERMISSION_WRITE in allowed.permissions
    assert allowed.user_id == "ann"
    before = allowed.grant_revision
    await world.grants("ann").CreateGrant(
        CreateGrantRequest(
            project_id=home,
            target_type=GrantTargetType.GRANT_TARGET_TYPE_USER,
            target_id="eve",
            permissions=[Permission.PERMISSION_VIEW],
        )
    )
    assert (await authorize(world, made.document_id)).grant_revision != before
    no = await refused(authorize(world, made.document_id, as_="eve"))
    assert (no.reason, no.metadata["permission"]) == ("PERMISSION_DENIED", "write")


@pytest.mark.case("S04")
async def test_only_the_storage_service_may_ask_and_attach(world: World) -> None:
    made = await create(world, await project(world))
    allowed = await authorize(world, made.document_id)
    request = pb.AuthorizeFileRequest(document_id=made.document_id, purpose=DOWNLOAD)
    for call in (
        documents(world, "ann").AuthorizeFile(request),
        documents(world, "ann").AttachFile(arrived(allowed, "x_1")),
        world.stub(lambda c: _stub(c), "ann", asking="identity_svc").AttachFile(
            arrived(allowed, "x_1")
        ),
    ):
        assert (await refused(call)).reason == "PERMISSION_DENIED"


def _stub(channel: Any) -> Any:
    from workspace.project.v1.document_service_pb2_grpc import DocumentServiceStub

    return DocumentServiceStub(channel)


async def test_an_attached_file_is_current_and_in_history(world: World) -> None:
    made = await create(world, await project(world), mime_type="text/plain")
    done = (await upload(world, made.document_id, "x_1", b"hello")).document
    assert (done.status, done.size_bytes, done.mime_type) == (_AVAILABLE, 5, "application/pdf")
    assert done.storage_key == done.file.storage_key
    assert done.storage_provider == done.file.storage_provider == "local"
    assert (done.file.file_revision, done.file.upload_id, done.uploaded_by) == (1, "x_1", "ann")
    assert await _reasons(world, made.document_id) == ["created", "file_attached"]
    allowed = await authorize(world, made.document_id, DOWNLOAD)
    assert allowed.file == done.file
    assert allowed.next_file_revision == 0


async def test_attaching_is_idempotent_by_upload(world: World) -> None:
    made = await create(world, await project(world))
    allowed = await authorize(world, made.document_id)
    request = arrived(allowed, "x_1")
    answers = await asyncio.gather(*(storage(world).AttachFile(request) for _ in range(20)))
    assert all(a.document == answers[0].document for a in answers)
    assert await _reasons(world, made.document_id) == ["created", "file_attached"]
    other = await refused(storage(world).AttachFile(arrived(allowed, "x_1", b"two")))
    assert other.reason == "CHECKSUM_MISMATCH"
    late = await refused(storage(world).AttachFile(arrived(allowed, "x_2")))
    assert late.reason == "INVALID_STATE"
    for disposition in (HOLD, REJECTED):
        no = await refused(
            storage(world).AttachFile(arrived(allowed, "x_1", disposition=disposition))
        )
        assert (no.reason, no.metadata["state"]) == ("INVALID_STATE", "available")


@pytest.mark.case("K22")
async def test_a_file_of_another_document_is_refused(world: World) -> None:
    home = await project(world)
    made, other = await create(world, home, "a.pdf"), await create(world, home, "b.pdf")
    allowed = await authorize(world, made.document_id)
    key = f"{(await authorize(world, other.document_id)).storage_prefix}a.pdf"
    no = await refused(storage(world).AttachFile(arrived(allowed, "x_1", storage_key=key)))
    assert (no.reason, no.metadata["field"]) == ("INVALID_FIELD", "file.storage_key")
    absent = arrived(allowed, "x_1")
    absent.document_id = "d_absent"
    assert (await refused(storage(world).AttachFile(absent))).reason == "NOT_FOUND"


async def test_a_held_file_is_released(world: World) -> None:
    made = await create(world, await project(world))
    allowed = await authorize(world, made.document_id)
    held = (await storage(world).AttachFile(arrived(allowed, "x_1", disposition=HOLD))).document
    assert held.status == _SCANNING
    assert held.HasField("pending_file")
    assert not held.HasField("file")
    no = await refused(authorize(world, made.document_id, DOWNLOAD))
    assert no.reason == "FILE_NOT_AVAILABLE"
    assert (await refused(authorize(world, made.document_id))).reason == "INVALID_STATE"
    again = await storage(world).AttachFile(arrived(allowed, "x_1", disposition=HOLD))
    assert again.document == held
    done = (await storage(world).AttachFile(arrived(allowed, "x_1"))).document
    assert done.status == _AVAILABLE
    assert done.file.sha256 == held.pending_file.sha256
    reasons = await _reasons(world, made.document_id)
    assert reasons == ["created", "file_held", "file_released"]


async def test_a_refused_first_file_leaves_the_document_awaiting_another(world: World) -> None:
    made = await create(world, await project(world))
    allowed = await authorize(world, made.document_id)
    await storage(world).AttachFile(arrived(allowed, "x_1", disposition=HOLD))
    refusal = arrived(allowed, "x_1", disposition=REJECTED)
    gone = (await storage(world).AttachFile(refusal)).document
    assert gone.status == _AWAITING
    assert not gone.HasField("pending_file")
    assert (await storage(world).AttachFile(refusal)).document == gone
    # A late release of the refused upload does not bring the file in.
    no = await refused(storage(world).AttachFile(arrived(allowed, "x_1")))
    assert (no.reason, no.metadata["state"]) == ("INVALID_STATE", "rejected")
    following = await authorize(world, made.document_id)
    assert following.next_file_revision == 2
    done = (await upload(world, made.document_id, "x_2")).document
    assert (done.status, done.file.file_revision) == (_AVAILABLE, 2)


async def test_revisions_are_reserved_attached_and_listed_newest_first(world: World) -> None:
    made = await create(world, await project(world))
    early = await refused(_revise(world, made.document_id))
    assert early.reason == "FILE_NOT_AVAILABLE"
    first = (await upload(world, made.document_id, "x_1", b"one")).document
    no = await refused(authorize(world, made.document_id))
    assert (no.reason, no.metadata["state"]) == ("INVALID_STATE", "available")
    assert await _revise(world, made.document_id) == 2
    assert await _revise(world, made.document_id) == 2
    allowed = await authorize(world, made.document_id)
    assert allowed.next_file_revision == 2
    assert (await authorize(world, made.document_id, DOWNLOAD)).file == first.file
    wrong = await refused(storage(world).AttachFile(arrived(allowed, "x_2", file_revision=3)))
    assert wrong.reason == "INVALID_STATE"
    second = (await storage(world).AttachFile(arrived(allowed, "x_2", b"two"))).document
    assert (second.file.file_revision, second.reserved_file_revision) == (2, 0)
    # The old upload is known to history: a repeat answers, another file does not.
    assert (await storage(world).AttachFile(_old(first))).document == second
    no = await refused(storage(world).AttachFile(_old(first, b"other")))
    assert no.reason == "CHECKSUM_MISMATCH"
    listed = await documents(world, "ann").ListRevisions(
        pb.ListRevisionsRequest(document_id=made.document_id)
    )
    assert list(listed.files) == [second.file, first.file]
    earlier = await authorize(world, made.document_id, DOWNLOAD, file_revision=1)
    assert earlier.file == first.file
    no = await refused(authorize(world, made.document_id, DOWNLOAD, file_revision=9))
    assert no.reason == "NOT_FOUND"


def _old(document: Any, content: bytes = b"one") -> Any:
    import hashlib

    request = pb.AttachFileRequest(
        document_id=document.document_id,
        upload_id=document.file.upload_id,
        disposition=AVAILABLE,
        file=document.file,
    )
    request.file.sha256 = hashlib.sha256(content).hexdigest()
    return request


async def test_revisions_are_paged(world: World) -> None:
    made = await create(world, await project(world))
    for number in range(1, 6):
        await upload(world, made.document_id, f"x_{number}", str(number).encode())
        await _revise(world, made.document_id)
    request = pb.ListRevisionsRequest(document_id=made.document_id, page_size=2)
    seen: list[int] = []
    while True:
        page = await documents(world, "ann").ListRevisions(request)
        assert len(page.files) <= 2
        seen += [file.file_revision for file in page.files]
        if not page.next_page_token:
            break
        request.page_token = page.next_page_token
    assert seen == [5, 4, 3, 2, 1]


@pytest.mark.parametrize("state", ["trashed", "archived"])
async def test_what_is_put_away_takes_no_upload(world: World, state: str) -> None:
    made = await create(world, await project(world))
    await upload(world, made.document_id, "x_1")
    stub = documents(world, "ann")
    if state == "trashed":
        await stub.DeleteDocument(pb.DeleteDocumentRequest(document_id=made.document_id))
        no = await refused(authorize(world, made.document_id, DOWNLOAD))
        assert no.reason == "FILE_NOT_AVAILABLE"
    else:
        await stub.ArchiveDocument(pb.ArchiveDocumentRequest(document_id=made.document_id))
        assert (await authorize(world, made.document_id, DOWNLOAD)).file.file_revision == 1
    no = await refused(authorize(world, made.document_id))
    assert (no.reason, no.metadata["state"]) == ("INVALID_STATE", state)


async def test_an_upload_that_ends_in_the_trash_is_refused(world: World) -> None:
    made = await create(world, await project(world))
    allowed = await authorize(world, made.document_id)
    await documents(world, "ann").DeleteDocument(
        pb.DeleteDocumentRequest(document_id=made.document_id)
    )
    no = await refused(storage(world).AttachFile(arrived(allowed, "x_1")))
    assert (no.reason, no.metadata["state"]) == ("INVALID_STATE", "trashed")


async def test_creating_takes_two_commits_and_attaching_one(world: World) -> None:
    home = await project(world)
    commits: list[str] = []
    queries: list[Any] = []
    driver = world.records.driver
    commit, query = driver.commit, driver.query

    async def counted(pk: str, puts: Any) -> Any:
        commits.append(pk)
        return await commit(pk, puts)

    async def asked(*args: Any, **kwargs: Any) -> Any:
        queries.append(args)
        return await query(*args, **kwargs)

    driver.commit, driver.query = counted, asked  # type: ignore[method-assign]
    made = await create(world, home, request_id=request_id())
    assert len(commits) == 2
    await upload(world, made.document_id, "x_1")
    assert len(commits) == 3
    # The grants of the project were read once; nothing else is a query.
    assert len(queries) <= 1
