"""A person at a deployment: the stubs that the suite calls, uploads and downloads."""

from __future__ import annotations

import hashlib
import uuid
from typing import Any

import httpx
from workspace.identity.v1.account_service_pb2_grpc import AccountServiceStub
from workspace.identity.v1.identity_service_pb2 import GetSessionRequest
from workspace.identity.v1.identity_service_pb2_grpc import IdentityServiceStub
from workspace.identity.v1.team_service_pb2_grpc import TeamServiceStub
from workspace.project.v1.document_service_pb2 import CreateDocumentRequest
from workspace.project.v1.document_service_pb2_grpc import DocumentServiceStub
from workspace.project.v1.grant_service_pb2_grpc import GrantServiceStub
from workspace.project.v1.history_service_pb2_grpc import HistoryServiceStub
from workspace.project.v1.permission_service_pb2_grpc import PermissionServiceStub
from workspace.project.v1.project_service_pb2_grpc import ProjectServiceStub
from workspace.storage.v1.storage_service_pb2 import (
    CompleteUploadRequest,
    CreateDownloadRequest,
    CreateUploadRequest,
)
from workspace.storage.v1.storage_service_pb2_grpc import StorageServiceStub
from workspace.sync.v1.connection_service_pb2_grpc import ConnectionServiceStub
from workspace.sync.v1.sync_service_pb2_grpc import SyncServiceStub

from tests.stack.deployment import Deployment

__all__ = ["Person", "request_id"]


def request_id() -> str:
    return str(uuid.uuid4())


class Person:
    """Make one with `enter`; `token` and `user_id` say who it is."""

    def __init__(self, at: Deployment, token: str) -> None:
        channel = at.channel(token)
        self.at = at
        self.token = token
        self.user_id = ""
        self.identity = IdentityServiceStub(channel)
        self.accounts = AccountServiceStub(channel)
        self.teams = TeamServiceStub(channel)
        self.projects = ProjectServiceStub(channel)
        self.grants = GrantServiceStub(channel)
        self.permissions = PermissionServiceStub(channel)
        self.documents = DocumentServiceStub(channel)
        self.history = HistoryServiceStub(channel)
        self.storage = StorageServiceStub(channel)
        self.connections = ConnectionServiceStub(channel)
        self.sync = SyncServiceStub(channel)

    @classmethod
    async def enter(cls, at: Deployment, email: str) -> Person:
        """Sign in."""
        person = cls(at, await at.sign_in(email))
        session = await person.identity.GetSession(GetSessionRequest(), timeout=20)
        person.user_id = session.session.user.user_id
        return person

    async def upload(self, project_id: str, name: str, data: bytes) -> str:
        """A new document with a file; its id."""
        made = await self.documents.CreateDocument(
            CreateDocumentRequest(project_id=project_id, name=name, request_id=request_id())
        )
        document_id: str = made.document.document_id
        announced = await self.storage.CreateUpload(
            CreateUploadRequest(
                document_id=document_id, filename=name, content_type="application/octet-stream",
                size_bytes=len(data), sha256=hashlib.sha256(data).hexdigest(),
                request_id=request_id(),
            )
        )  # fmt: skip
        await self._transfer(announced.transfer, data)
        await self.storage.CompleteUpload(
            CompleteUploadRequest(upload_id=announced.upload.upload_id, request_id=request_id())
        )
        return document_id

    async def download(self, document_id: str) -> bytes:
        """The bytes of a document, as its SHA-256 says."""
        signed = await self.storage.CreateDownload(CreateDownloadRequest(document_id=document_id))
        data = await self._transfer(signed.transfer, None)
        assert hashlib.sha256(data).hexdigest() == signed.sha256
        return data

    async def _transfer(self, transfer: Any, data: bytes | None) -> bytes:
        async with httpx.AsyncClient(verify=self.at.trust(), timeout=60) as client:
            answer = await client.request(
                transfer.method, transfer.url, headers=dict(transfer.headers), content=data
            )
        return answer.raise_for_status().content
