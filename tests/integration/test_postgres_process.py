"""The whole workspace with its records on PostgreSQL."""

from __future__ import annotations

import hashlib
from pathlib import Path

from workspace.common.v1.permission_pb2 import Permission, PermissionPreset
from workspace.project.v1.document_service_pb2 import CreateDocumentRequest
from workspace.project.v1.document_service_pb2_grpc import DocumentServiceStub
from workspace.project.v1.grant_pb2 import GrantTargetType
from workspace.project.v1.grant_service_pb2 import CreateGrantRequest
from workspace.project.v1.grant_service_pb2_grpc import GrantServiceStub
from workspace.project.v1.permission_service_pb2 import CheckPermissionRequest
from workspace.project.v1.permission_service_pb2_grpc import PermissionServiceStub
from workspace.project.v1.project_service_pb2 import CreateProjectRequest, ListProjectsRequest
from workspace.project.v1.project_service_pb2_grpc import ProjectServiceStub
from workspace.storage.v1.storage_service_pb2 import (
    CompleteUploadRequest,
    CreateDownloadRequest,
    CreateUploadRequest,
)
from workspace.storage.v1.storage_service_pb2_grpc import StorageServiceStub

from tests.chosen_records import postgres_of
from tests.harness import Workspace

ANN, BOB = "ann@example.com", "bob@example.com"
DATA = b"the bytes" * 100


async def upload(ws: Workspace, project_id: str) -> str:
    made = await ws.stub(DocumentServiceStub, as_=ANN).CreateDocument(
        CreateDocumentRequest(project_id=project_id, name="a.txt", relative_path="deep/er")
    )
    storage = ws.stub(StorageServiceStub, as_=ANN)
    begun = await storage.CreateUpload(
        CreateUploadRequest(
            document_id=made.document.document_id,
            filename="a.txt",
            content_type="text/plain",
            size_bytes=len(DATA),
            sha256=hashlib.sha256(DATA).hexdigest(),
        )
    )
    async with ws.client() as http:
        sent = await http.put(
            begun.transfer.url, content=DATA, headers=dict(begun.transfer.headers)
        )
    assert sent.is_success, sent.text
    await storage.CompleteUpload(CompleteUploadRequest(upload_id=begun.upload.upload_id))
    return made.document.document_id


async def test_sharing_a_file_and_finding_it_after_a_restart(tmp_path: Path) -> None:
    settings = postgres_of(tmp_path)
    async with Workspace.open(tmp_path, **settings) as ws:
        await ws.sign_in(ANN)
        bob = await ws.sign_in(BOB)
        made = await ws.stub(ProjectServiceStub, as_=ANN).CreateProject(
            CreateProjectRequest(name="Plans")
        )
        project_id = made.project.project_id
        document_id = await upload(ws, project_id)
        check = CheckPermissionRequest(
            project_id=project_id, permission=Permission.PERMISSION_VIEW
        )
        mine = ws.stub(PermissionServiceStub, as_=BOB)
        assert not (await mine.CheckPermission(check)).allowed
        await ws.stub(GrantServiceStub, as_=ANN).CreateGrant(
            CreateGrantRequest(
                project_id=project_id,
                target_type=GrantTargetType.GRANT_TARGET_TYPE_USER,
                target_id=bob,
                preset=PermissionPreset.PERMISSION_PRESET_VIEWER,
            )
        )
        assert (await mine.CheckPermission(check)).allowed

    async with Workspace.open(tmp_path, **settings) as ws:
        await ws.sign_in(BOB)
        seen = await ws.stub(ProjectServiceStub, as_=BOB).ListProjects(ListProjectsRequest())
        assert [project.project_id for project in seen.projects] == [project_id]
        answer = await ws.stub(StorageServiceStub, as_=BOB).CreateDownload(
            CreateDownloadRequest(document_id=document_id)
        )
        async with ws.client() as http:
            assert (await http.get(answer.transfer.url)).content == DATA
