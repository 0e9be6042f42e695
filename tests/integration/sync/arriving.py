"""Words for tests of what follows a change that came by sync."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

from workspace.identity.v1.account_service_pb2 import CreateAccountRequest
from workspace.identity.v1.account_service_pb2_grpc import AccountServiceStub
from workspace.project.v1.document_service_pb2 import (
    CreateDocumentRequest,
    ListDocumentsRequest,
    MoveDocumentRequest,
)
from workspace.project.v1.project_service_pb2 import AssignProjectRequest
from workspace.project.v1.project_service_pb2_grpc import ProjectServiceStub

from services.records.port import Item, Key
from services.records.store import RecordStore
from tests.harness import Workspace
from tests.integration.sync.nodes import ANN, Node, request_id

SECONDS = 20.0


async def eventually(check: Callable[[], Awaitable[Any]]) -> Any:
    """What the check answers once it is true; followers work in the background."""
    async with asyncio.timeout(SECONDS):
        while not (found := await check()):  # noqa: ASYNC110 - rows, not events
            await asyncio.sleep(0.02)
    return found


@asynccontextmanager
async def two_nodes(folder: Path, **settings: Any) -> AsyncIterator[tuple[Node, Node]]:
    """A and B, each with the backup folder as a connection."""
    async with AsyncExitStack() as stack:
        nodes = [
            await stack.enter_async_context(Node.open(folder / name, **settings))
            for name in ("a", "b")
        ]
        for node in nodes:
            await node.connect(folder / "backup")
        yield nodes[0], nodes[1]


@asynccontextmanager
async def again(folder: Path, **settings: Any) -> AsyncIterator[Node]:
    """A node of `two_nodes` after a restart."""
    async with Workspace.open(folder, local_realm="home", **settings) as ws:
        await ws.sign_in(ANN)
        yield Node(ws, folder, ANN, ["backup"])


async def send(sender: Node, receiver: Node) -> None:
    """What one has, the other gets."""
    await sender.push()
    await receiver.pull()


async def account(node: Node, name: str = "Acme") -> str:
    made = await node.stub(AccountServiceStub).CreateAccount(
        CreateAccountRequest(name=name, type="client_org", request_id=request_id())
    )
    return str(made.account.account_id)


async def assign(node: Node, project_id: str, account_id: str) -> None:
    await node.stub(ProjectServiceStub).AssignProject(
        AssignProjectRequest(
            project_id=project_id, account_id=account_id, request_id=request_id()
        )
    )


async def documents(node: Node, **scope: Any) -> list[Any]:
    answer = await node.documents.ListDocuments(ListDocumentsRequest(page_size=500, **scope))
    return list(answer.documents)


async def move(node: Node, document_id: str, name: str) -> Any:
    request = MoveDocumentRequest(document_id=document_id, name=name, request_id=request_id())
    return (await node.documents.MoveDocument(request)).document


def create(node: Node, project_id: str, name: str) -> Any:
    """The call; its refusal names who lives there."""
    return node.documents.CreateDocument(
        CreateDocumentRequest(project_id=project_id, name=name, request_id=request_id())
    )


async def rows(store: RecordStore, family: str) -> list[Item]:
    """Live rows of a family in the whole store."""
    found: list[Item] = []
    after: Key | None = None
    while items := await store.scan(after, 500):
        found += [each for each in items if each.family == family and not each.deleted]
        after = items[-1].key
    return found
