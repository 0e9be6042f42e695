"""ENOSPC and EIO at every change of the disk (D06, D07).

The story is run once for each change that it makes to the disk: there, the disk
fails. Whatever was acknowledged stays and nothing is half there. A write that
found no space is repeated with success as soon as there is space again; after a
failed fsync, and after EIO, a store refuses to write until it is opened again,
because nobody knows what the kernel still holds (reliability.md 4.2).
"""

from __future__ import annotations

import hashlib
import os
import shutil
import uuid
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import grpc
import grpc.aio
import httpx
import pytest
from workspace.project.v1.document_service_pb2 import CreateDocumentRequest
from workspace.project.v1.document_service_pb2_grpc import DocumentServiceStub
from workspace.project.v1.project_service_pb2 import CreateProjectRequest
from workspace.project.v1.project_service_pb2_grpc import ProjectServiceStub
from workspace.storage.v1 import storage_service_pb2 as storage
from workspace.storage.v1.storage_service_pb2_grpc import StorageServiceStub

from services.model.errors import WorkspaceError
from services.records.port import DriverUnavailable
from tests.durability.checker import problems
from tests.durability.powerloss.disk import Disk, fuse_is_missing
from tests.harness import Workspace

ANN = "ann@example.com"
SOAK = bool(os.environ.get("WM_SOAK"))
POINTS = 1000 if SOAK else 12
pytestmark = [
    pytest.mark.durability,
    pytest.mark.timeout(3600 if SOAK else 300),
    pytest.mark.skipif(bool(fuse_is_missing()), reason=f"FUSE: {fuse_is_missing()}"),
]
FAILURES = (grpc.aio.AioRpcError, httpx.HTTPError, AssertionError, WorkspaceError,
            DriverUnavailable, OSError)


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Disk]:
    with Disk.mounted(tmp_path) as mounted:
        yield mounted


class Story:
    """A project and a file in it, by a client that keeps its request ids."""

    def __init__(self) -> None:
        self.acked: dict[str, str] = {}

    async def run(self, ws: Workspace) -> None:
        await ws.sign_in(ANN)
        projects: Any = ws.stub(ProjectServiceStub, as_=ANN)
        made = await projects.CreateProject(
            CreateProjectRequest(name="Plans", request_id=self._id("project"))
        )
        self.acked["project"] = made.project.project_id
        documents: Any = ws.stub(DocumentServiceStub, as_=ANN)
        document = await documents.CreateDocument(
            CreateDocumentRequest(
                project_id=made.project.project_id, name="a.bin", request_id=self._id("document")
            )
        )
        self.acked["document"] = document.document.document_id
        await self._upload(ws, document.document.document_id)

    async def _upload(self, ws: Workspace, document: str) -> None:
        stub: Any = ws.stub(StorageServiceStub, as_=ANN)
        if "file" in self.acked:
            return
        if "sent" not in self.acked:
            announced = await stub.CreateUpload(
                storage.CreateUploadRequest(
                    document_id=document, filename="a.bin", size_bytes=len(DATA),
                    content_type="application/octet-stream", request_id=self._id("upload"),
                    sha256=SHA,
                )
            )
            transfer = announced.transfer
            async with httpx.AsyncClient() as http:
                answer = await http.put(
                    transfer.url, content=DATA, headers=dict(transfer.headers)
                )
            assert answer.status_code == 200, answer.text
            self.acked["sent"] = announced.upload.upload_id
        await stub.CompleteUpload(
            storage.CompleteUploadRequest(
                upload_id=self.acked["sent"], request_id=self._id("complete")
            )
        )
        self.acked["file"] = document

    async def lost(self, ws: Workspace) -> list[str]:
        """What was acknowledged and is not there."""
        await ws.sign_in(ANN)
        if "file" not in self.acked:
            return []
        stub: Any = ws.stub(StorageServiceStub, as_=ANN)
        made = await stub.CreateDownload(
            storage.CreateDownloadRequest(document_id=self.acked["file"])
        )
        async with httpx.AsyncClient() as http:
            return [] if (await http.get(made.transfer.url)).content == DATA else ["file"]

    @staticmethod
    def _id(name: str) -> str:
        return str(uuid.uuid5(uuid.NAMESPACE_URL, name))


DATA = bytes(range(256)) * 40
SHA = hashlib.sha256(DATA).hexdigest()


def scene(disk: Disk, tmp_path: Path) -> Path:
    place = disk.path / "scene"
    shutil.rmtree(place, ignore_errors=True)
    shutil.copytree(tmp_path / "prepared", place)
    return place


@pytest.mark.parametrize("error", ["ENOSPC", "EIO"])
async def test_a_failing_disk_loses_nothing_acknowledged(
    disk: Disk, tmp_path: Path, error: str
) -> None:
    async with Workspace.open(tmp_path / "prepared") as ws:
        await ws.sign_in(ANN)
    async with Workspace.open(scene(disk, tmp_path)) as ws:
        disk.fail()
        await Story().run(ws)
        changes = disk.changes
    assert changes > 10
    points = range(1, changes + 1, max(1, changes // POINTS))
    seen = [await fails_at(disk, tmp_path, error, at) for at in points]
    assert any(told for told, _ in seen), "no failure reached anybody"
    assert any(went_on for told, went_on in seen if told) == (error == "ENOSPC")


async def fails_at(disk: Disk, tmp_path: Path, error: str, at: int) -> tuple[bool, bool]:
    """Run the story with this change failing: whether somebody was told, and
    whether the same process went on when the disk was well again."""
    place, story, told, went_on = scene(disk, tmp_path), Story(), False, False
    async with Workspace.open(place) as ws:
        disk.fail(error, at, sticky=True)
        try:
            await story.run(ws)
        except FAILURES:
            told = True
        disk.fail()
        with suppress(*FAILURES):
            await story.run(ws)
            went_on = True
    assert await problems(place / "wm-data") == [], at
    async with Workspace.open(place) as ws:
        assert await story.lost(ws) == [], at
        await story.run(ws)
        assert await story.lost(ws) == []
    assert await problems(place / "wm-data") == []
    return told, went_on
