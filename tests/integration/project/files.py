"""Short words for the document tests."""

from __future__ import annotations

import hashlib
from typing import Any

from workspace.project.v1.document_pb2 import Document, FileInfo
from workspace.project.v1.document_service_pb2 import (
    AttachFileRequest,
    AuthorizeFileRequest,
    CreateDocumentRequest,
    FileDisposition,
    FilePurpose,
)
from workspace.project.v1.document_service_pb2_grpc import DocumentServiceStub
from workspace.project.v1.history_service_pb2_grpc import HistoryServiceStub
from workspace.project.v1.project_service_pb2 import CreateProjectRequest

from tests.integration.project.world import World, request_id

AVAILABLE = FileDisposition.FILE_DISPOSITION_AVAILABLE
HOLD = FileDisposition.FILE_DISPOSITION_HOLD
REJECTED = FileDisposition.FILE_DISPOSITION_REJECTED
UPLOAD = FilePurpose.FILE_PURPOSE_UPLOAD
DOWNLOAD = FilePurpose.FILE_PURPOSE_DOWNLOAD


def documents(world: World, user_id: str) -> Any:
    return world.stub(DocumentServiceStub, user_id)


def history(world: World, user_id: str) -> Any:
    return world.stub(HistoryServiceStub, user_id)


def storage(world: World, user_id: str = "ann") -> Any:
    """DocumentService as the storage service calls it for a user."""
    return world.stub(DocumentServiceStub, user_id, asking="storage_svc")


async def project(world: World, user_id: str = "ann", **fields: Any) -> str:
    answer = await world.projects(user_id).CreateProject(
        CreateProjectRequest(name=fields.pop("name", "Bridge"), request_id=request_id(), **fields)
    )
    return str(answer.project.project_id)


async def create(world: World, project_id: str, name: str = "a.pdf", **fields: Any) -> Document:
    user_id = fields.pop("as_", "ann")
    answer = await documents(world, user_id).CreateDocument(
        CreateDocumentRequest(project_id=project_id, name=name, **fields)
    )
    return answer.document  # type: ignore[no-any-return]


async def authorize(world: World, document_id: str, purpose: Any = UPLOAD, **more: Any) -> Any:
    user_id = more.pop("as_", "ann")
    return await storage(world, user_id).AuthorizeFile(
        AuthorizeFileRequest(document_id=document_id, purpose=purpose, **more)
    )


def arrived(allowed: Any, upload_id: str, content: bytes = b"one", **more: Any) -> Any:
    """AttachFile for an upload that AuthorizeFile allowed."""
    disposition = more.pop("disposition", AVAILABLE)
    number = more.pop("file_revision", allowed.next_file_revision)
    name = f"x.r{number}-{upload_id[-8:]}.pdf"
    return AttachFileRequest(
        document_id=allowed.document.document_id,
        artifact_id=allowed.artifact.artifact_id,
        upload_id=upload_id,
        disposition=disposition,
        file=FileInfo(
            filename=name,
            size_bytes=len(content),
            content_type="application/pdf",
            sha256=hashlib.sha256(content).hexdigest(),
            storage_key=more.pop("storage_key", allowed.storage_prefix + name),
            file_revision=number,
        ),
        **more,
    )


async def upload(
    world: World, document_id: str, upload_id: str, content: bytes = b"one", **more: Any
) -> Any:
    """Authorise, and attach what arrived."""
    allowed = await authorize(world, document_id, artifact_id=more.pop("artifact_id", ""))
    return await storage(world).AttachFile(arrived(allowed, upload_id, content, **more))
