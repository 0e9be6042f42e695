"""Power loss under a whole server: nothing that was acknowledged is lost (D02, D05).

People create projects and upload files until the server is killed and the disk
forgets everything unsynced. Afterwards every acknowledged project, its event and
every completed file, byte for byte, must be there. The controls run the same with
one kind of syncing switched off, and must lose something: without them the test
would prove nothing.
"""

from __future__ import annotations

import asyncio
import hashlib
import os
import random
import uuid
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import grpc
import grpc.aio
import httpx
import pytest
from workspace.project.v1.document_service_pb2 import CreateDocumentRequest
from workspace.project.v1.document_service_pb2_grpc import DocumentServiceStub
from workspace.project.v1.history_service_pb2 import ListActivityRequest
from workspace.project.v1.history_service_pb2_grpc import HistoryServiceStub
from workspace.project.v1.project_service_pb2 import CreateProjectRequest
from workspace.project.v1.project_service_pb2_grpc import ProjectServiceStub
from workspace.storage.v1 import storage_service_pb2 as storage
from workspace.storage.v1.storage_service_pb2_grpc import StorageServiceStub

from services.cli.doctor.finding import healthy
from services.cli.doctor.run import examine
from tests.durability.powerloss.disk import Disk, fuse_is_missing
from tests.server_process import ServerProcess

ANN = "ann@example.com"
SOAK = bool(os.environ.get("WM_SOAK"))
CYCLES = 100 if SOAK else 5
WRITERS = 4
pytestmark = [
    pytest.mark.durability,
    pytest.mark.timeout(3600 if SOAK else 300),
    pytest.mark.skipif(bool(fuse_is_missing()), reason=f"FUSE: {fuse_is_missing()}"),
]


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Disk]:
    with Disk.mounted(tmp_path) as mounted:
        yield mounted


@dataclass
class Ledger:
    """What was acknowledged: projects, and files by document."""

    projects: list[str] = field(default_factory=list)
    files: dict[str, bytes] = field(default_factory=dict)
    changed: asyncio.Condition = field(default_factory=asyncio.Condition)

    @property
    def acks(self) -> int:
        return len(self.projects) + len(self.files)

    async def reached(self, acks: int) -> None:
        async with self.changed:
            await self.changed.wait_for(lambda: self.acks >= acks)

    async def add(self, project: str = "", file: tuple[str, bytes] | None = None) -> None:
        async with self.changed:
            self.projects += [project] if project else []
            self.files |= dict([file]) if file else {}
            self.changed.notify_all()


class Person:
    """Calls a server as one signed-in person, and notes what it acknowledged."""

    def __init__(self, server: ServerProcess, token: str, ledger: Ledger) -> None:
        channel = server.channel(token)
        self.projects: Any = ProjectServiceStub(channel)
        self.documents: Any = DocumentServiceStub(channel)
        self.storage: Any = StorageServiceStub(channel)
        self.history: Any = HistoryServiceStub(channel)
        self.ledger = ledger

    async def write(self, http: httpx.AsyncClient, chance: random.Random) -> None:
        """A project with a file, again and again, until the server is gone."""
        while True:
            made = await self.projects.CreateProject(
                CreateProjectRequest(name="Plans", request_id=str(uuid.uuid4()))
            )
            await self.ledger.add(project=made.project.project_id)
            data = chance.randbytes(chance.randrange(1, 20_000))
            await self._upload(http, made.project.project_id, data)

    async def _upload(self, http: httpx.AsyncClient, project: str, data: bytes) -> None:
        made = await self.documents.CreateDocument(
            CreateDocumentRequest(project_id=project, name="a.bin", request_id=str(uuid.uuid4()))
        )
        document = made.document.document_id
        announced = await self.storage.CreateUpload(
            storage.CreateUploadRequest(
                document_id=document, filename="a.bin", content_type="application/octet-stream",
                size_bytes=len(data), sha256=hashlib.sha256(data).hexdigest(),
                request_id=str(uuid.uuid4()),
            )
        )
        transfer = announced.transfer
        sent = await http.put(transfer.url, content=data, headers=dict(transfer.headers))
        assert sent.status_code == 200, sent.text
        await self.storage.CompleteUpload(
            storage.CompleteUploadRequest(
                upload_id=announced.upload.upload_id, request_id=str(uuid.uuid4())
            )
        )
        await self.ledger.add(file=(document, data))

    async def lost(self, http: httpx.AsyncClient) -> list[str]:
        """What was acknowledged and is not there."""
        found: list[str] = []
        for project in self.ledger.projects:
            try:
                request = ListActivityRequest(project_id=project, type_prefix="project.created")
                if not (await self.history.ListActivity(request)).events:
                    found.append(f"event of {project}")
            except grpc.aio.AioRpcError as error:
                found.append(f"{project}: {error.code().name}")
        for document, data in self.ledger.files.items():
            try:
                request = storage.CreateDownloadRequest(document_id=document)
                url = (await self.storage.CreateDownload(request)).transfer.url
                if (await http.get(url)).content != data:
                    found.append(f"bytes of {document}")
            except (grpc.aio.AioRpcError, httpx.HTTPError) as error:
                found.append(f"{document}: {type(error).__name__}")
        return found


async def write_until_power_fails(
    server: ServerProcess, ledger: Ledger, acks: int, chance: random.Random
) -> None:
    token = await server.token(ANN)
    people = [Person(server, token, ledger) for _ in range(WRITERS)]
    async with httpx.AsyncClient(timeout=10) as http:
        writing = [asyncio.create_task(person.write(http, chance)) for person in people]
        enough = asyncio.create_task(ledger.reached(acks))
        await asyncio.wait([enough, *writing], return_when=asyncio.FIRST_COMPLETED)
        enough.cancel()
        await server.kill()
        ended = await asyncio.gather(*writing, return_exceptions=True)
    allowed = (grpc.aio.AioRpcError, httpx.HTTPError)
    assert all(isinstance(end, allowed) for end in ended), ended


async def lost_after(data: Path, ledger: Ledger) -> list[str]:
    async with ServerProcess.start(data) as server, httpx.AsyncClient(timeout=10) as http:
        return await Person(server, await server.token(ANN), ledger).lost(http)


async def test_power_loss_loses_nothing_acknowledged(disk: Disk) -> None:
    data, ledger, chance = disk.path / "wm-data", Ledger(), random.Random(11)
    async with ServerProcess.start(data) as server:
        await server.sign_in(ANN)
        await server.kill()
    disk.lose_power()
    for _ in range(CYCLES):
        async with ServerProcess.start(data) as server:
            acks = ledger.acks + chance.randrange(5, 60)
            await write_until_power_fails(server, ledger, acks, chance)
        disk.lose_power()
        found = await examine(data)
        assert healthy(found), found
    assert ledger.files
    assert await lost_after(data, ledger) == []


_NO_SQLITE_SYNC = """
from services.records.sql import sqlite
sqlite._PRAGMAS = ("PRAGMA synchronous={level}", *sqlite._PRAGMAS[1:])
"""
_NO_FILE_SYNC = """
import os, stat
from services.objects.filesystem.syscalls import Syscalls
_fsync = Syscalls.fsync

def fsync(self, fd):
    if stat.S_ISDIR(os.fstat(fd).st_mode) == {folders}:
        return
    _fsync(self, fd)

Syscalls.fsync = fsync
"""
CONTROLS = {
    "sqlite off": _NO_SQLITE_SYNC.format(level="OFF"),
    "sqlite normal": _NO_SQLITE_SYNC.format(level="NORMAL"),
    "objects without fsync": _NO_FILE_SYNC.format(folders=False),
    "objects without fsync of folders": _NO_FILE_SYNC.format(folders=True),
}


@pytest.mark.parametrize("control", sorted(CONTROLS))
async def test_without_syncing_something_is_lost(disk: Disk, control: str) -> None:
    data, ledger, chance = disk.path / "wm-data", Ledger(), random.Random(5)
    async with ServerProcess.start(data) as server:
        await server.sign_in(ANN)
        assert await server.terminate() == 0
    async with ServerProcess.start(data, prelude=CONTROLS[control]) as server:
        await write_until_power_fails(server, ledger, 20, chance)
    disk.lose_power()
    assert await lost_after(data, ledger) != []
