"""D04: a crash at every durable step of upload, completion, deletion, move, grant.

After a restart the client repeats the call; what people see is then what an
undisturbed run shows, every digest holds, and no file is lost.
"""

from __future__ import annotations

import hashlib
import uuid
from pathlib import Path
from typing import Any

import grpc
import grpc.aio
import httpx
import pytest
from workspace.common.v1.permission_pb2 import Permission
from workspace.identity.v1.account_service_pb2 import CreateAccountRequest
from workspace.identity.v1.account_service_pb2_grpc import AccountServiceStub
from workspace.project.v1.document_service_pb2 import (
    CreateDocumentRequest,
    DeleteDocumentRequest,
    GetDocumentRequest,
    ListDocumentsRequest,
    MoveDocumentRequest,
    RestoreDocumentRequest,
)
from workspace.project.v1.document_service_pb2_grpc import DocumentServiceStub
from workspace.project.v1.grant_pb2 import GrantTargetType
from workspace.project.v1.grant_service_pb2 import (
    CreateGrantRequest,
    ListGrantsRequest,
    RevokeGrantRequest,
)
from workspace.project.v1.grant_service_pb2_grpc import GrantServiceStub
from workspace.project.v1.history_service_pb2 import ListActivityRequest, ListMetadataRecordsRequest
from workspace.project.v1.history_service_pb2_grpc import HistoryServiceStub
from workspace.project.v1.project_service_pb2 import (
    AssignProjectRequest,
    CreateProjectRequest,
    ListProjectsRequest,
)
from workspace.project.v1.project_service_pb2_grpc import ProjectServiceStub
from workspace.storage.v1 import storage_service_pb2 as storage
from workspace.storage.v1.storage_service_pb2_grpc import StorageServiceStub

from tests.durability.crash.explore import Story, explore, plain
from tests.harness import Workspace

ANN, BOB = "ann@example.com", "bob@example.com"
DATA = b"the bytes of a plan" * 500
pytestmark = [pytest.mark.durability, pytest.mark.timeout(600)]


def rid(name: str) -> str:
    """The request id that a client keeps for one step of its work."""
    return str(uuid.uuid5(uuid.NAMESPACE_URL, name))


async def signed_in(ws: Workspace) -> None:
    await ws.sign_in(ANN)
    await ws.sign_in(BOB)


def stub(ws: Workspace, kind: Any) -> Any:
    return ws.stub(kind, as_=ANN)


async def a_project(ws: Workspace) -> dict[str, str]:
    await signed_in(ws)
    made = await stub(ws, ProjectServiceStub).CreateProject(
        CreateProjectRequest(name="Plans", request_id=rid("project"))
    )
    account = await stub(ws, AccountServiceStub).CreateAccount(
        CreateAccountRequest(name="Example", type="client_org", request_id=rid("account"))
    )
    ids = {"project": made.project.project_id, "account": account.account.account_id}
    return ids | {"bob": await ws.sign_in(BOB)}


async def a_document(ws: Workspace) -> dict[str, str]:
    ids = await a_project(ws)
    await upload(ws, ids)
    listed = await stub(ws, DocumentServiceStub).ListDocuments(
        ListDocumentsRequest(project_id=ids["project"])
    )
    return ids | {"document": listed.documents[0].document_id}


async def upload(ws: Workspace, ids: dict[str, str]) -> None:
    """What `wm put` does."""
    await signed_in(ws)
    made = await stub(ws, DocumentServiceStub).CreateDocument(
        CreateDocumentRequest(
            project_id=ids["project"], name="a.pdf", request_id=rid("document")
        )
    )
    try:
        ids["upload"] = await send(ws, made.document.document_id)
    except grpc.aio.AioRpcError as error:
        # Verified already: a client that knows its upload goes on with it.
        if error.code() is not grpc.StatusCode.FAILED_PRECONDITION or "upload" not in ids:
            raise
    await stub(ws, StorageServiceStub).CompleteUpload(
        storage.CompleteUploadRequest(upload_id=ids["upload"], request_id=rid("complete"))
    )


async def send(ws: Workspace, document: str) -> str:
    """Announce the file and send it; the upload's id."""
    announced = await stub(ws, StorageServiceStub).CreateUpload(
        storage.CreateUploadRequest(
            document_id=document, filename="a.pdf", content_type="application/pdf",
            size_bytes=len(DATA), sha256=hashlib.sha256(DATA).hexdigest(),
            request_id=rid("upload"),
        )
    )
    transfer = announced.transfer
    async with httpx.AsyncClient() as http:
        sent = await http.put(transfer.url, content=DATA, headers=dict(transfer.headers))
        assert sent.status_code in (200, 409, 412), sent.text
    return str(announced.upload.upload_id)


async def delete(ws: Workspace, ids: dict[str, str]) -> None:
    await signed_in(ws)
    await stub(ws, DocumentServiceStub).DeleteDocument(
        DeleteDocumentRequest(document_id=ids["document"], request_id=rid("delete"))
    )


async def delete_and_restore(ws: Workspace, ids: dict[str, str]) -> None:
    await delete(ws, ids)
    await stub(ws, DocumentServiceStub).RestoreDocument(
        RestoreDocumentRequest(document_id=ids["document"], request_id=rid("restore"))
    )


async def move_document(ws: Workspace, ids: dict[str, str]) -> None:
    await signed_in(ws)
    await stub(ws, DocumentServiceStub).MoveDocument(
        MoveDocumentRequest(
            document_id=ids["document"], relative_path="deep/er", request_id=rid("move")
        )
    )


async def move_project(ws: Workspace, ids: dict[str, str]) -> None:
    await signed_in(ws)
    await stub(ws, ProjectServiceStub).AssignProject(
        AssignProjectRequest(
            project_id=ids["project"], account_id=ids["account"], request_id=rid("assign")
        )
    )


async def grant_and_revoke(ws: Workspace, ids: dict[str, str]) -> None:
    await signed_in(ws)
    grants = stub(ws, GrantServiceStub)
    made = await grants.CreateGrant(
        CreateGrantRequest(
            project_id=ids["project"], target_type=GrantTargetType.GRANT_TARGET_TYPE_USER,
            target_id=ids["bob"], permissions=[Permission.PERMISSION_WRITE],
            request_id=rid("grant"),
        )
    )
    await grants.CreateGrant(
        CreateGrantRequest(
            project_id=ids["project"], target_type=GrantTargetType.GRANT_TARGET_TYPE_USER,
            target_id=ids["bob"], permissions=[Permission.PERMISSION_WRITE],
            request_id=rid("grant"),
        )
    )
    await grants.RevokeGrant(
        RevokeGrantRequest(
            project_id=ids["project"], grant_id=made.grant.grant_id, request_id=rid("revoke")
        )
    )


async def everything(ws: Workspace, ids: dict[str, str]) -> Any:
    """What Ann sees: projects, grants, documents with history and bytes, events."""
    await signed_in(ws)
    project = ids["project"]
    documents = stub(ws, DocumentServiceStub)
    listed = await documents.ListDocuments(ListDocumentsRequest(project_id=project))
    known = {each.document_id for each in listed.documents} | {ids.get("document", "")} - {""}
    seen: dict[str, Any] = {
        "projects": plain(
            await stub(ws, ProjectServiceStub).ListProjects(ListProjectsRequest(page_size=100))
        ),
        "grants": plain(
            await stub(ws, GrantServiceStub).ListGrants(ListGrantsRequest(project_id=project))
        ),
        "events": sorted(
            event.type
            for event in (
                await stub(ws, HistoryServiceStub).ListActivity(
                    ListActivityRequest(project_id=project, page_size=500)
                )
            ).events
        ),
    }
    for document in sorted(known - {""}):
        found = (await documents.GetDocument(GetDocumentRequest(document_id=document))).document
        history = await stub(ws, HistoryServiceStub).ListMetadataRecords(
            ListMetadataRecordsRequest(document_id=document)
        )
        seen[document] = plain(found), len(history.metadata_records), await content(ws, document)
    return seen


async def content(ws: Workspace, document: str) -> str:
    """SHA-256 of what a person downloads, or why not."""
    try:
        made = await stub(ws, StorageServiceStub).CreateDownload(
            storage.CreateDownloadRequest(document_id=document)
        )
    except grpc.aio.AioRpcError as error:
        return str(error.code().name)
    async with httpx.AsyncClient() as http:
        return hashlib.sha256((await http.get(made.transfer.url)).content).hexdigest()


STORIES = {
    "upload": Story(a_project, upload, everything),
    "delete": Story(a_document, delete, everything),
    "delete and restore": Story(a_document, delete_and_restore, everything),
    "move a document": Story(a_document, move_document, everything),
    "move a project": Story(a_document, move_project, everything),
    "grant and revoke": Story(a_project, grant_and_revoke, everything),
}


@pytest.mark.parametrize("name", STORIES)
async def test_a_crash_at_every_step_is_mended_by_a_repeat(name: str, tmp_path: Path) -> None:
    assert await explore(STORIES[name], tmp_path) == {}


async def test_a_repeat_that_is_no_repeat_is_caught(tmp_path: Path) -> None:
    """The control: a client that forgets its request ids has two effects."""

    async def forgetful(ws: Workspace, ids: dict[str, str]) -> None:
        await signed_in(ws)
        await stub(ws, ProjectServiceStub).CreateProject(
            CreateProjectRequest(name="Again", request_id=str(uuid.uuid4()))
        )
        del ids

    async def count(ws: Workspace, ids: dict[str, str]) -> int:
        await signed_in(ws)
        del ids
        listed = await stub(ws, ProjectServiceStub).ListProjects(ListProjectsRequest())
        return len(listed.projects)

    faults = await explore(Story(a_project, forgetful, count), tmp_path)
    assert [point.split(":")[1:] for point in faults] == [["project.created", "after"]]
