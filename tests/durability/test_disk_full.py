"""A full disk: nothing half-written, a clear reason, and work goes on when there is room."""

from __future__ import annotations

import hashlib
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc
import grpc.aio
import httpx
import pytest
from workspace.project.v1 import document_service_pb2 as ds
from workspace.project.v1 import project_service_pb2 as ps
from workspace.project.v1.document_service_pb2_grpc import DocumentServiceStub
from workspace.project.v1.project_service_pb2_grpc import ProjectServiceStub
from workspace.storage.v1 import storage_service_pb2 as ss
from workspace.storage.v1.storage_service_pb2_grpc import StorageServiceStub

from services.rpc.errors import error_info, peer_status
from tests.durability.checker import problems
from tests.harness import Workspace

ANN = "ann@example.com"
MIB = 1024 * 1024
pytestmark = pytest.mark.durability


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """A tmpfs of 12 MiB; needs the capability to mount."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=12m", "tmpfs", str(folder)]
    if os.geteuid() != 0 or subprocess.run(mount, check=False, capture_output=True).returncode:
        pytest.skip("capability: mount (root)")
    yield folder
    subprocess.run(["umount", "-l", str(folder)], check=True)


def leave_free(disk: Path, size: int) -> Path:
    """Fill the disk with ballast but for `size` bytes."""
    status = os.statvfs(disk)
    ballast = disk / "ballast"
    ballast.write_bytes(bytes(max(status.f_bavail * status.f_frsize - size, 0)))
    return ballast


def reason_of(error: grpc.aio.AioRpcError) -> str:
    status = peer_status(error)
    info = error_info(status) if status is not None else None
    assert info is not None, error
    return info.reason


async def test_records_on_a_full_disk(disk: Path) -> None:
    async with Workspace.open(disk) as ws:
        await ws.sign_in(ANN)
        stub = ws.stub(ProjectServiceStub, as_=ANN)
        ballast = leave_free(disk, 300_000)
        acked: list[str] = []
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await fill(stub, acked)
        assert caught.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
        assert reason_of(caught.value) == "ERROR_REASON_STORAGE_FULL"
        assert acked, "there was room for some"
        assert await project_ids(stub) == sorted(acked)  # reading goes on
        ballast.unlink()
        again = await stub.CreateProject(ps.CreateProjectRequest(name="Room again"))
        acked.append(again.project.project_id)
        assert await project_ids(stub) == sorted(acked)
    assert await problems(disk / "wm-data") == []
    async with Workspace.open(disk) as ws:
        await ws.sign_in(ANN)
        assert await project_ids(ws.stub(ProjectServiceStub, as_=ANN)) == sorted(acked)


async def fill(stub: Any, acked: list[str]) -> None:
    for number in range(10_000):
        request = ps.CreateProjectRequest(name=f"P{number}", description="x" * 3000)
        acked.append((await stub.CreateProject(request)).project.project_id)


async def project_ids(stub: Any) -> list[str]:
    answer = await stub.ListProjects(ps.ListProjectsRequest(page_size=500))
    assert not answer.next_page_token
    return sorted(project.project_id for project in answer.projects)


async def test_an_upload_on_a_full_disk(disk: Path) -> None:
    data = os.urandom(3 * MIB)
    async with Workspace.open(disk) as ws:
        await ws.sign_in(ANN)
        storage = ws.stub(StorageServiceStub, as_=ANN)
        document_id = await new_document(ws)
        announced = await storage.CreateUpload(announcement(document_id, data))
        ballast = leave_free(disk, MIB)
        refused = await send(ws, announced.transfer, data)
        assert refused.status_code in (429, 507), refused.text
        assert refused.json()["details"][0]["reason"] == "ERROR_REASON_STORAGE_FULL"
        assert objects_on(disk) == [], "no part of the object stays"
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await storage.CompleteUpload(complete(announced))
        assert reason_of(caught.value) == "ERROR_REASON_UPLOAD_INCOMPLETE"
        ballast.unlink()
        assert (await send(ws, announced.transfer, data)).is_success  # the same URL
        done = await storage.CompleteUpload(complete(announced))
        assert done.document_id == document_id
        assert await download(ws, document_id) == data
    assert await problems(disk / "wm-data") == []


async def new_document(ws: Workspace) -> str:
    projects = ws.stub(ProjectServiceStub, as_=ANN)
    project = (await projects.CreateProject(ps.CreateProjectRequest(name="Files"))).project
    documents = ws.stub(DocumentServiceStub, as_=ANN)
    request = ds.CreateDocumentRequest(project_id=project.project_id, name="a.bin")
    return str((await documents.CreateDocument(request)).document.document_id)


def announcement(document_id: str, data: bytes) -> ss.CreateUploadRequest:
    return ss.CreateUploadRequest(
        document_id=document_id, filename="a.bin", content_type="application/octet-stream",
        size_bytes=len(data), sha256=hashlib.sha256(data).hexdigest(),
    )


def complete(announced: ss.CreateUploadResponse) -> ss.CompleteUploadRequest:
    return ss.CompleteUploadRequest(upload_id=announced.upload.upload_id)


async def send(ws: Workspace, transfer: Any, data: bytes) -> httpx.Response:
    async with ws.client() as client:
        return await client.request(
            transfer.method, transfer.url, content=data, headers=dict(transfer.headers)
        )


async def download(ws: Workspace, document_id: str) -> bytes:
    storage = ws.stub(StorageServiceStub, as_=ANN)
    request = ss.CreateDownloadRequest(document_id=document_id)
    transfer = (await storage.CreateDownload(request)).transfer
    async with ws.client() as client:
        answer = await client.request(
            transfer.method, transfer.url, headers=dict(transfer.headers)
        )
    assert answer.is_success, answer.text
    return answer.content


def objects_on(disk: Path) -> list[Path]:
    """Files of the object store that hold bytes of uploads, temporary ones too."""
    folder = disk / "wm-data" / "objects"
    return [file for file in folder.rglob("*") if file.is_file() and file.stat().st_size > 64_000]
