"""Somebody signed in at a server of the benchmark, and what they set up there."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Any, TypeVar

import grpc.aio
import httpx
from workspace.identity.v1.identity_service_pb2 import NormalizeIdentityRequest
from workspace.identity.v1.identity_service_pb2_grpc import IdentityServiceStub
from workspace.project.v1.document_service_pb2 import CreateDocumentRequest
from workspace.project.v1.document_service_pb2_grpc import DocumentServiceStub
from workspace.project.v1.project_service_pb2 import CreateProjectRequest
from workspace.project.v1.project_service_pb2_grpc import ProjectServiceStub
from workspace.storage.v1.storage_service_pb2 import CompleteUploadRequest, CreateUploadRequest
from workspace.storage.v1.storage_service_pb2_grpc import StorageServiceStub
from workspace.storage.v1.transfer_pb2 import Transfer

from services.cli.signing_in import issue_token
from tests.bench.servers import Server
from tests.harness import BearerChannel

__all__ = ["TRANSFER_METHODS", "Person", "each", "signed_in"]

TRANSFER_METHODS = (
    "/workspace.project.v1.DocumentService/CreateDocument",
    "/workspace.storage.v1.StorageService/CreateUpload",
    "/workspace.storage.v1.StorageService/CompleteUpload",
    "/workspace.storage.v1.StorageService/CreateDownload",
    "/workspace.storage.v1.StorageService/BatchCreateDownloads",
)

T = TypeVar("T")
R = TypeVar("R")


class Person:
    """A signed-in user with a gRPC channel. Stubs are made with `stub`."""

    def __init__(self, channel: grpc.aio.Channel, token: str) -> None:
        self._channel = BearerChannel(channel, token)
        self.user_id = ""
        self.token = token

    def stub(self, stub: Callable[[Any], Any]) -> Any:
        """A generated stub (its asyncio side) that sends this person's token."""
        return stub(self._channel)

    async def project(self, name: str = "bench", account_id: str = "", team_id: str = "") -> str:
        """A new project; its id."""
        made = await self.stub(ProjectServiceStub).CreateProject(
            CreateProjectRequest(name=name, account_id=account_id, team_id=team_id)
        )
        return str(made.project.project_id)

    async def document(self, project_id: str, name: str) -> str:
        """A new document without bytes; its id."""
        made = await self.stub(DocumentServiceStub).CreateDocument(
            CreateDocumentRequest(project_id=project_id, name=name)
        )
        return str(made.document.document_id)

    async def announce(self, document_id: str, size: int, sha256: str) -> tuple[str, Transfer]:
        """A new upload: its id, and where to send the bytes."""
        made = await self.stub(StorageServiceStub).CreateUpload(
            CreateUploadRequest(
                document_id=document_id, filename="bench.bin", size_bytes=size, sha256=sha256,
                content_type="application/octet-stream",
            )
        )
        return made.upload.upload_id, made.transfer

    async def complete(self, upload_id: str) -> None:
        """Tell the server that the bytes are there."""
        await self.stub(StorageServiceStub).CompleteUpload(
            CompleteUploadRequest(upload_id=upload_id)
        )

    async def file(self, project_id: str, name: str, http: httpx.AsyncClient) -> str:
        """A document with a few bytes, all the way; its id."""
        body = name.encode()
        document_id = await self.document(project_id, name)
        digest = hashlib.sha256(body).hexdigest()
        upload_id, transfer = await self.announce(document_id, len(body), digest)
        headers = dict(transfer.headers)
        (await http.put(transfer.url, content=body, headers=headers)).raise_for_status()
        await self.complete(upload_id)
        return document_id


@asynccontextmanager
async def signed_in(server: Server, *emails: str) -> AsyncIterator[list[Person]]:
    """These people, created at first sight."""
    async with grpc.aio.insecure_channel(server.grpc) as channel:
        yield [await _sign_in(channel, server, email) for email in emails]


async def _sign_in(channel: grpc.aio.Channel, server: Server, email: str) -> Person:
    login = await issue_token(channel, server.data_dir, email=email)
    person = Person(channel, login.token)
    me = await person.stub(IdentityServiceStub).NormalizeIdentity(NormalizeIdentityRequest())
    person.user_id = me.user.user_id
    return person


async def each(
    work: Callable[[T], Awaitable[R]], items: Sequence[T], *, at_once: int = 16
) -> list[R]:
    """`work` on every item, a few at a time; the results in order."""
    gate = asyncio.Semaphore(at_once)

    async def one(item: T) -> R:
        async with gate:
            return await work(item)

    return list(await asyncio.gather(*map(one, items)))
