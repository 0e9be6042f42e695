"""A workspace with a platform admin and connections to backup folders."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from workspace.identity.v1.identity_service_pb2 import BootstrapPlatformAdminRequest
from workspace.identity.v1.identity_service_pb2_grpc import IdentityServiceStub
from workspace.project.v1.project_service_pb2 import CreateProjectRequest
from workspace.project.v1.project_service_pb2_grpc import ProjectServiceStub
from workspace.sync.v1.connection_pb2 import Connection, Trust
from workspace.sync.v1.connection_service_pb2 import CreateConnectionRequest
from workspace.sync.v1.connection_service_pb2_grpc import ConnectionServiceStub
from workspace.sync.v1.run_pb2 import Run
from workspace.sync.v1.sync_service_pb2 import PullRequest, PushRequest
from workspace.sync.v1.sync_service_pb2_grpc import SyncServiceStub

from tests.harness import Workspace

ADMIN, BOB = "ada@example.com", "bob@example.com"


class Node:
    """A served workspace, as its platform admin."""

    def __init__(self, ws: Workspace) -> None:
        self.ws = ws
        self.sync: Any = ws.stub(SyncServiceStub, as_=ADMIN)
        self.connections: Any = ws.stub(ConnectionServiceStub, as_=ADMIN)
        self.projects: Any = ws.stub(ProjectServiceStub, as_=ADMIN)

    async def connect(self, folder: Path, connection_id: str = "backup") -> Connection:
        """A connection to a backup folder of one's own."""
        manifest = Connection(
            connection_id=connection_id, name="Backup", provider="local",
            settings={"folder": str(folder)}, trust=Trust.TRUST_FULL,
        )
        answer = await self.connections.CreateConnection(
            CreateConnectionRequest(connection=manifest)
        )
        made: Connection = answer.connection
        return made

    async def project(self, name: str) -> str:
        """A new project of the admin's own."""
        answer = await self.projects.CreateProject(CreateProjectRequest(name=name))
        return str(answer.project.project_id)

    async def push(self, connection_id: str = "backup", **fields: Any) -> Run:
        """A push to its end."""
        request = PushRequest(connection_id=connection_id, **fields)
        run: Run = [each async for each in self.sync.Push(request)][-1].progress.run
        return run

    async def pull(self, connection_id: str = "backup", **fields: Any) -> Run:
        """A pull to its end."""
        request = PullRequest(connection_id=connection_id, **fields)
        run: Run = [each async for each in self.sync.Pull(request)][-1].progress.run
        return run


@asynccontextmanager
async def node(folder: Path) -> AsyncIterator[Node]:
    """A workspace with its data below `folder`, and its platform admin."""
    async with Workspace.open(folder) as ws:
        for email in (ADMIN, BOB):
            await ws.sign_in(email)
        secret = (ws.process.kernel.keys_dir / "local.secret").read_text().strip()
        await ws.stub(IdentityServiceStub, as_=ADMIN).BootstrapPlatformAdmin(
            BootstrapPlatformAdminRequest(bootstrap_secret=secret)
        )
        yield Node(ws)
