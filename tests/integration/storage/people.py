"""A workspace with a project, and short words for what storage tests do."""

from __future__ import annotations

import hashlib
import os
import uuid
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc
import grpc.aio
import httpx
from workspace.common.v1.permission_pb2 import Permission
from workspace.identity.v1.identity_service_pb2 import GetSessionRequest
from workspace.identity.v1.identity_service_pb2_grpc import IdentityServiceStub
from workspace.project.v1.document_service_pb2 import CreateDocumentRequest, GetDocumentRequest
from workspace.project.v1.document_service_pb2_grpc import DocumentServiceStub
from workspace.project.v1.grant_pb2 import GrantTargetType
from workspace.project.v1.grant_service_pb2 import CreateGrantRequest, RevokeGrantRequest
from workspace.project.v1.grant_service_pb2_grpc import GrantServiceStub
from workspace.project.v1.project_service_pb2 import CreateProjectRequest
from workspace.project.v1.project_service_pb2_grpc import ProjectServiceStub
from workspace.storage.v1 import storage_service_pb2 as pb
from workspace.storage.v1.storage_service_pb2_grpc import StorageServiceStub
from workspace.storage.v1.transfer_pb2 import Transfer
from workspace.storage.v1.upload_pb2 import Upload

from services.records.record import Activity, Write
from services.rpc.errors import error_info, peer_status
from storage_svc.collection import Collector
from storage_svc.completion import Completion
from storage_svc.module import build_gate
from storage_svc.upload_rows import UPLOADS, upload_key, upload_pk
from storage_svc.usage import Ledger
from tests.chosen_records import plain_client
from tests.harness import Workspace
from tests.servers import aws, containers

ANN, BOB, EVE = "ann@example.com", "bob@example.com", "eve@example.com"


def request_id() -> str:
    return str(uuid.uuid4())


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


@dataclass
class Desk:
    """The services as a person sees them."""

    ws: Workspace
    project_id: str = ""

    def storage(self, who: str = ANN) -> Any:
        return self.ws.stub(StorageServiceStub, as_=who)

    def documents(self, who: str = ANN) -> Any:
        return self.ws.stub(DocumentServiceStub, as_=who)

    async def new_project(self, who: str = ANN) -> str:
        stub: Any = self.ws.stub(ProjectServiceStub, as_=who)
        answer = await stub.CreateProject(
            CreateProjectRequest(name="Files", request_id=request_id())
        )
        return str(answer.project.project_id)

    async def home(self, who: str = ANN) -> str:
        """The person's personal workspace."""
        stub: Any = self.ws.stub(IdentityServiceStub, as_=who)
        return str((await stub.GetSession(GetSessionRequest())).session.user.personal_workspace_id)

    async def document(self, name: str = "plan.pdf", who: str = ANN) -> str:
        answer = await self.documents(who).CreateDocument(
            CreateDocumentRequest(project_id=self.project_id, name=name, request_id=request_id())
        )
        return str(answer.document.document_id)

    async def read(self, document_id: str, who: str = ANN) -> Any:
        answer = await self.documents(who).GetDocument(GetDocumentRequest(document_id=document_id))
        return answer.document

    async def grant(self, who: str, *permissions: Permission.ValueType) -> str:
        stub: Any = self.ws.stub(GrantServiceStub, as_=ANN)
        answer = await stub.CreateGrant(
            CreateGrantRequest(
                project_id=self.project_id,
                target_type=GrantTargetType.GRANT_TARGET_TYPE_USER,
                target_id=await self.ws.sign_in(who),
                permissions=permissions,
                request_id=request_id(),
            )
        )
        return str(answer.grant.grant_id)

    async def revoke(self, grant_id: str) -> None:
        stub: Any = self.ws.stub(GrantServiceStub, as_=ANN)
        await stub.RevokeGrant(
            RevokeGrantRequest(
                project_id=self.project_id, grant_id=grant_id, request_id=request_id()
            )
        )

    async def announce(
        self, document_id: str, data: bytes, *, who: str = ANN, **fields: Any
    ) -> pb.CreateUploadResponse:
        sent: dict[str, Any] = {
            "filename": "plan.pdf",
            "content_type": "application/pdf",
            "size_bytes": len(data),
            "sha256": sha256(data),
            "request_id": request_id(),
        } | fields
        answer: pb.CreateUploadResponse = await self.storage(who).CreateUpload(
            pb.CreateUploadRequest(document_id=document_id, **sent)
        )
        return answer

    async def announce_parts(
        self, document_id: str, data: bytes, **fields: Any
    ) -> pb.CreateMultipartUploadResponse:
        sent: dict[str, Any] = {
            "filename": "big.bin",
            "size_bytes": len(data),
            "sha256": sha256(data),
            "request_id": request_id(),
        } | fields
        answer: pb.CreateMultipartUploadResponse = await self.storage().CreateMultipartUpload(
            pb.CreateMultipartUploadRequest(document_id=document_id, **sent)
        )
        return answer

    async def complete(
        self, upload_id: str, who: str = ANN, **fields: Any
    ) -> pb.CompleteUploadResponse:
        fields = {"request_id": request_id()} | fields
        answer: pb.CompleteUploadResponse = await self.storage(who).CompleteUpload(
            pb.CompleteUploadRequest(upload_id=upload_id, **fields)
        )
        return answer

    async def sent(self, document_id: str, data: bytes, **fields: Any) -> Upload:
        """A file announced and sent, not completed."""
        made = await self.announce(document_id, data, **fields)
        assert (await put(made.transfer, data)).is_success
        return made.upload

    async def uploaded(self, document_id: str, data: bytes, **fields: Any) -> Any:
        """A file announced, sent and completed."""
        return await self.complete((await self.sent(document_id, data, **fields)).upload_id)

    async def row(self, upload_id: str) -> Any:
        return (await self.ws.records.get(UPLOADS, upload_key(upload_id))).message

    async def age(self, upload_id: str, seconds: float) -> None:
        """Move the upload's expiry `seconds` into the past."""
        record = await self.ws.records.get(UPLOADS, upload_key(upload_id))
        upload = record.edit()
        upload.expires_at.seconds = int(self.ws.process.kernel.now() - seconds)
        await self.ws.records.commit(
            upload_pk(upload_id),
            [Write(UPLOADS, upload, base=record)],
            activity=Activity("test.aged", f"uploads/{upload_id}"),
        )

    def collector(self, period: float = 600) -> Collector:
        kernel, gate = self.ws.process.kernel, build_gate(self.ws.process.channel)
        ledger = Ledger(kernel.records, now=kernel.now)
        completion = Completion(kernel=kernel, gate=gate, ledger=ledger)
        return Collector(
            kernel=kernel, completion=completion, gate=gate, ledger=ledger, first=period,
            period=period,
        )

    def files(self) -> list[str]:
        """Keys of the objects that are stored."""
        settings = self.ws.process.settings
        if settings.objects == "s3":
            return _keys_in(settings.aws_s3_bucket)
        if settings.objects == "azure_blob":
            return _names_in(settings.azure_storage_container)
        root = Path(self.ws.process.settings.data_dir) / "objects"
        # os.walk does not mind folders that go while it walks.
        found = [
            str((Path(folder) / name).relative_to(root))
            for folder, _, names in os.walk(root)
            for name in names
        ]
        return sorted(path for path in found if not path.startswith("."))


def _keys_in(bucket: str) -> list[str]:
    client = aws.clients_of(aws.versitygw()).client("s3", path_style=True)
    pages = client.get_paginator("list_objects_v2").paginate(Bucket=bucket)
    found = [each["Key"] for page in pages for each in page.get("Contents", ())]
    return sorted(key for key in found if not key.startswith("."))


def _names_in(container: str) -> list[str]:
    with containers.client(container) as client:
        return sorted(name for name in client.list_blob_names() if not name.startswith("."))


async def put(transfer: Transfer, data: bytes, **headers: str) -> httpx.Response:
    async with plain_client() as client:
        return await client.put(
            transfer.url, content=data, headers=dict(transfer.headers) | headers
        )


async def get(transfer: Transfer) -> httpx.Response:
    async with plain_client() as client:
        return await client.get(transfer.url, headers=dict(transfer.headers))


class Refused:
    """What a refused call said."""

    def __init__(self, error: grpc.aio.AioRpcError) -> None:
        status = peer_status(error)
        assert status is not None, error
        info = error_info(status)
        assert info is not None
        self.code = error.code()
        self.reason = info.reason.removeprefix("ERROR_REASON_")
        self.metadata = dict(info.metadata)
        self.message = status.message


async def refused(call: Any) -> Refused:
    """The refusal of a call that must be refused."""
    try:
        answer = await call
    except grpc.aio.AioRpcError as error:
        return Refused(error)
    raise AssertionError(f"was allowed: {type(answer).__name__}")
