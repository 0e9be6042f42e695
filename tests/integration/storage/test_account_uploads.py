"""Uploads to a project of an account: its activity, and a wrong bound header."""

from __future__ import annotations

import hashlib
from pathlib import Path

from workspace.identity.v1.account_service_pb2 import CreateAccountRequest
from workspace.identity.v1.account_service_pb2_grpc import AccountServiceStub
from workspace.project.v1.document_service_pb2 import CreateDocumentRequest
from workspace.project.v1.document_service_pb2_grpc import DocumentServiceStub
from workspace.project.v1.project_service_pb2 import CreateProjectRequest
from workspace.project.v1.project_service_pb2_grpc import ProjectServiceStub
from workspace.storage.v1.storage_service_pb2 import CreateUploadRequest
from workspace.storage.v1.storage_service_pb2_grpc import StorageServiceStub

from services.model.families import FAMILIES
from services.model.indexes import Index
from tests.chosen_records import in_cloud
from tests.harness import Workspace

ANN = "ann@example.com"
DATA = b"the bytes"


async def test_upload_events_name_the_account_and_a_wrong_header_is_named(tmp_path: Path) -> None:
    async with Workspace.open(tmp_path) as ws:
        await ws.sign_in(ANN)
        made = await ws.stub(AccountServiceStub, as_=ANN).CreateAccount(
            CreateAccountRequest(name="Firm", type="client_org")
        )
        account_id = made.account.account_id
        project = await ws.stub(ProjectServiceStub, as_=ANN).CreateProject(
            CreateProjectRequest(name="Plans", account_id=account_id)
        )
        document = await ws.stub(DocumentServiceStub, as_=ANN).CreateDocument(
            CreateDocumentRequest(project_id=project.project.project_id, name="a.txt")
        )
        begun = await ws.stub(StorageServiceStub, as_=ANN).CreateUpload(
            CreateUploadRequest(
                document_id=document.document.document_id,
                filename="a.txt",
                content_type="text/plain",
                size_bytes=len(DATA),
                sha256=hashlib.sha256(DATA).hexdigest(),
            )
        )
        events = await ws.records.query(
            FAMILIES["activity_event"], Index.ACCOUNT, f"ACCOUNT#{account_id}", prefix="EVENT#"
        )
        assert "upload.created" in {record.message.type for record in events.records}

        if in_cloud():  # the data plane, which says so, is not ours there
            return
        wrong = {**begun.transfer.headers, "Content-Type": "text/html"}
        wrong = {name: value for name, value in wrong.items() if name != "content-type"}
        async with ws.client() as http:
            sent = await http.put(begun.transfer.url, content=DATA, headers=wrong)
        assert sent.status_code == 403
        assert "Content-Type: text/plain" in sent.text
