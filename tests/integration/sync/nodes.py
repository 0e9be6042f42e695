"""Nodes that sync over backup folders, and short words for what people do on them."""

from __future__ import annotations

import asyncio
import hashlib
import uuid
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from google.protobuf.field_mask_pb2 import FieldMask
from workspace.identity.v1.identity_service_pb2 import BootstrapPlatformAdminRequest
from workspace.identity.v1.identity_service_pb2_grpc import IdentityServiceStub
from workspace.project.v1.document_pb2 import Document
from workspace.project.v1.document_service_pb2 import (
    CreateDocumentRequest,
    CreateRevisionRequest,
    DeleteDocumentRequest,
    GetDocumentRequest,
    UpdateDocumentRequest,
)
from workspace.project.v1.document_service_pb2_grpc import DocumentServiceStub
from workspace.project.v1.project_service_pb2 import CreateProjectRequest
from workspace.project.v1.project_service_pb2_grpc import ProjectServiceStub
from workspace.storage.v1.storage_service_pb2 import (
    CompleteUploadRequest,
    CreateDownloadRequest,
    CreateUploadRequest,
)
from workspace.storage.v1.storage_service_pb2_grpc import StorageServiceStub
from workspace.sync.v1.connection_pb2 import Connection, Trust
from workspace.sync.v1.connection_service_pb2 import CreateConnectionRequest
from workspace.sync.v1.connection_service_pb2_grpc import ConnectionServiceStub
from workspace.sync.v1.run_pb2 import Run, RunStatus, SyncDirection, SyncOptions
from workspace.sync.v1.sync_service_pb2 import (
    CompareSurfacesRequest,
    GetConflictRequest,
    GetSyncStatusRequest,
    ListConflictsRequest,
    ListQuarantineRequest,
    PlanSyncRequest,
    PlanSyncResponse,
    PullRequest,
    PushRequest,
    ResolveConflictRequest,
)
from workspace.sync.v1.sync_service_pb2_grpc import SyncServiceStub

from services.model.clocks import HybridClock
from services.model.versions import State
from services.records.port import Key
from services.records.replica import Replica
from sync_svc.engine.reading import is_synced
from tests.chosen_records import plain_client
from tests.harness import Workspace
from tests.integration.sync.backups import Backups, Folders

ANN, BOB, EVE = "ann@example.com", "bob@example.com", "eve@example.com"
ENDED = (RunStatus.RUN_STATUS_SUCCEEDED, RunStatus.RUN_STATUS_SUCCEEDED_WITH_ISSUES)


def request_id() -> str:
    return str(uuid.uuid4())


@dataclass
class Node:
    """A workspace whose platform administrator is Ann."""

    ws: Workspace
    folder: Path
    who: str = ANN
    connections: list[str] = field(default_factory=list)
    backups: Backups = field(default_factory=Folders)

    @classmethod
    @asynccontextmanager
    async def open(
        cls, folder: Path, *, who: str = ANN, new: bool = True,
        backups: Backups | None = None, **settings: Any,
    ) -> AsyncIterator[Node]:  # fmt: skip
        """`new`: there is no platform administrator yet."""
        async with Workspace.open(folder, local_realm="home", **settings) as ws:
            await ws.sign_in(who)
            node = cls(ws, folder, who, backups=backups or Folders())
            if new:
                await node.bootstrap()
            yield node

    async def bootstrap(self) -> None:
        """Ann administers this platform; asked again it stays so."""
        secret = (self.ws.process.kernel.keys_dir / "local.secret").read_text().strip()
        stub: Any = self.ws.stub(IdentityServiceStub, as_=self.who)
        await stub.BootstrapPlatformAdmin(
            BootstrapPlatformAdminRequest(bootstrap_secret=secret, request_id=request_id())
        )

    def stub(self, kind: Any, who: str = "") -> Any:
        return self.ws.stub(kind, as_=who or self.who)

    @property
    def sync(self) -> Any:
        return self.stub(SyncServiceStub)

    @property
    def documents(self) -> Any:
        return self.stub(DocumentServiceStub)

    async def connect(
        self, folder: Path, *, name: str = "backup", trust: Any = Trust.TRUST_FULL, **more: Any
    ) -> str:
        """To the backup that goes with a folder (see `Backups`)."""
        stub = self.stub(ConnectionServiceStub)
        manifest = await asyncio.to_thread(self.backups.manifest, folder, name)
        made = await stub.CreateConnection(
            CreateConnectionRequest(
                connection=Connection(connection_id=name, trust=trust, **manifest, **more),
                request_id=request_id(),
            )
        )
        self.connections.append(made.connection.connection_id)
        return str(made.connection.connection_id)

    async def push(self, name: str = "backup", *, ok: bool = True, **options: Any) -> Run:
        request = PushRequest(
            connection_id=name, options=SyncOptions(**options), request_id=request_id()
        )
        return await _last(self.sync.Push(request), ok=ok)

    async def pull(self, name: str = "backup", *, ok: bool = True, **options: Any) -> Run:
        request = PullRequest(
            connection_id=name, options=SyncOptions(**options), request_id=request_id()
        )
        return await _last(self.sync.Pull(request), ok=ok)

    async def project(self, name: str = "Plans") -> str:
        made = await self.stub(ProjectServiceStub).CreateProject(
            CreateProjectRequest(name=name, request_id=request_id())
        )
        return str(made.project.project_id)

    async def document(self, project_id: str, name: str, data: bytes = b"first") -> str:
        """A document with a file that was sent and completed."""
        made = await self.documents.CreateDocument(
            CreateDocumentRequest(project_id=project_id, name=name, request_id=request_id())
        )
        document_id = str(made.document.document_id)
        await self.send(document_id, data)
        return document_id

    async def send(self, document_id: str, data: bytes) -> None:
        """A file for a document, completed."""
        storage = self.stub(StorageServiceStub)
        made = await storage.CreateUpload(
            CreateUploadRequest(
                document_id=document_id, filename="plan.txt", content_type="text/plain",
                size_bytes=len(data), sha256=hashlib.sha256(data).hexdigest(),
                request_id=request_id(),
            )
        )
        async with plain_client() as client:
            sent = await client.put(
                made.transfer.url, content=data, headers=dict(made.transfer.headers)
            )
        assert sent.is_success, sent.text
        await storage.CompleteUpload(
            CompleteUploadRequest(upload_id=made.upload.upload_id, request_id=request_id())
        )

    async def revise(self, document_id: str, data: bytes) -> None:
        """A new file for a document that has one."""
        await self.documents.CreateRevision(
            CreateRevisionRequest(document_id=document_id, request_id=request_id())
        )
        await self.send(document_id, data)

    async def read(self, document_id: str) -> Document:
        answer = await self.documents.GetDocument(GetDocumentRequest(document_id=document_id))
        found: Document = answer.document
        return found

    async def bytes_of(self, document_id: str) -> bytes:
        """What a person downloads."""
        made = await self.stub(StorageServiceStub).CreateDownload(
            CreateDownloadRequest(document_id=document_id)
        )
        async with plain_client() as client:
            got = await client.get(made.transfer.url, headers=dict(made.transfer.headers))
        assert got.status_code == 200, got.text
        return got.content

    async def edit(self, document_id: str, **fields: Any) -> Document:
        answer = await self.documents.UpdateDocument(
            UpdateDocumentRequest(
                document=Document(document_id=document_id, **fields),
                update_mask=FieldMask(paths=sorted(fields)),
                request_id=request_id(),
            )
        )
        changed: Document = answer.document
        return changed

    async def conflicts(self, **filters: Any) -> list[Any]:
        """Open conflicts, as Ann sees them."""
        answer = await self.sync.ListConflicts(ListConflictsRequest(**filters))
        return list(answer.conflicts)

    async def conflict(self, conflict_id: str) -> Any:
        answer = await self.sync.GetConflict(GetConflictRequest(conflict_id=conflict_id))
        return answer.conflict

    async def resolve(self, conflict_id: str, resolution: Any, **more: Any) -> Any:
        return await self.sync.ResolveConflict(
            ResolveConflictRequest(
                conflict_id=conflict_id, resolution=resolution, request_id=request_id(), **more
            )
        )

    async def trash(self, document_id: str) -> None:
        """Delete a document: it goes into the trash."""
        await self.documents.DeleteDocument(
            DeleteDocumentRequest(document_id=document_id, request_id=request_id())
        )

    async def plan(self, *, push: bool, name: str = "backup", **options: Any) -> PlanSyncResponse:
        """What a run would do now."""
        directions = SyncDirection.SYNC_DIRECTION_PULL, SyncDirection.SYNC_DIRECTION_PUSH
        answer: PlanSyncResponse = await self.sync.PlanSync(
            PlanSyncRequest(
                connection_id=name, direction=directions[push], options=SyncOptions(**options),
                page_size=500,
            )
        )
        return answer

    async def status(self, name: str = "backup") -> Any:
        answer = await self.sync.GetSyncStatus(GetSyncStatusRequest(connection_id=name))
        (found,) = answer.connections
        return found

    async def quarantine(self) -> list[Any]:
        answer = await self.sync.ListQuarantine(ListQuarantineRequest(page_size=500))
        return list(answer.records)

    async def compare(self, name: str = "backup") -> list[Any]:
        """How this workspace and a surface differ, objects read byte by byte."""
        found: list[Any] = []
        token = ""
        while True:
            answer = await self.sync.CompareSurfaces(
                CompareSurfacesRequest(
                    connection_id=name, include_objects=True, read_bytes=True, page_token=token
                ),
                timeout=240,
            )
            found.extend(answer.differences)
            token = answer.next_page_token
            if not token:
                return found

    async def states(self) -> dict[Key, State]:
        """All records that sync, with their versions."""
        records = self.ws.process.kernel.records
        found: dict[Key, State] = {}
        after: Key | None = None
        while items := await records.scan(after, 500):
            keys = [item.key for item in items if is_synced(item)]
            states = await Replica(records).states(keys) if keys else []
            found |= {k: each for k, each in zip(keys, states, strict=True) if each is not None}
            after = items[-1].key
        return found

    def set_clock(self, wall_ms: Callable[[], int]) -> None:
        """Let versions be written at other times; the rest of the node keeps its own."""
        self.ws.process.kernel.records._clock = HybridClock(wall_ms)

    def set_time(self, now: Callable[[], float]) -> None:
        """What time runs take it to be, unix seconds."""
        object.__setattr__(self.ws.process.kernel, "now", now)

    async def due(self) -> None:
        """What is due now, done now: follow-ups of what arrived."""
        handlers = {kind: do for m in self.ws.process.modules for kind, do in m.due.items()}
        await self.ws.process.kernel.due.run(handlers)


async def _last(stream: Any, *, ok: bool) -> Run:
    """The run as it ended."""
    run = Run()
    async for message in stream:
        run = message.progress.run
    if ok:
        assert run.status in ENDED, run
    return run


async def in_step(*nodes: Node, rounds: int = 3) -> None:
    """Everybody pushes and pulls until nothing moves."""
    for _ in range(rounds):
        moved = 0
        for node in nodes:
            for name in node.connections:
                moved += (await node.push(name)).counts.records_written
                moved += (await node.pull(name)).counts.records_written
        if not moved:
            return
    raise AssertionError(f"still {moved} records moved after {rounds} rounds")


async def run_each(nodes: Sequence[Node], *, force: bool = False) -> None:
    """Each in turn pushes and pulls once, over all of its connections."""
    for node in nodes:
        for name in node.connections:
            await node.push(name, force=force)
            await node.pull(name, force=force)


class Desk:
    """Two nodes, one backup, and documents by name that both have."""

    def __init__(self, a: Node, b: Node, folder: Path) -> None:
        self.a, self.b, self.folder = a, b, folder
        self.project_id = ""
        self.ids: dict[str, str] = {}

    async def share(self, *names: str) -> None:
        """Documents of A that both have afterwards; their bytes are their names."""
        self.project_id = self.project_id or await self.a.project()
        for name in names:
            made = await self.a.document(self.project_id, f"{name}.txt", name.encode())
            self.ids[name] = made
        await run_each([self.a, self.b, self.a])

    async def kinds(self, node: Node) -> dict[str, Any]:
        """Open conflicts by the name of their document."""
        by_id = {made: name for name, made in self.ids.items()}
        return {by_id[each.document_id]: each.kind for each in await node.conflicts()}


@asynccontextmanager
async def open_desk(
    folder: Path, *, backups: Backups | None = None, **connection: Any
) -> AsyncIterator[Desk]:
    """Both nodes connected to the backup of `folder`/backup."""
    async with (
        Node.open(folder / "a", backups=backups) as a, Node.open(folder / "b", backups=backups) as b
    ):
        for node in (a, b):
            await node.connect(folder / "backup", **connection)
        yield Desk(a, b, folder)


async def require_equal(*nodes: Node) -> None:
    """Same ids, same clocks, same versions, on every node and every surface of one;
    and every object that a record names is there, with its bytes."""
    first, *rest = await asyncio.gather(*(node.states() for node in nodes))
    for states in rest:
        differing = {k for k in first.keys() | states.keys() if not _same(k, first, states)}
        assert not differing, sorted(map(str, differing))
    for node in nodes:
        for name in node.connections:
            assert await node.compare(name) == [], (node.folder, name)


def _same(key: Key, one: dict[Key, State], other: dict[Key, State]) -> bool:
    return key in one and key in other and one[key].same_as(other[key])
