"""Usage follows files that come, go and move by sync; purges wait for conflicts."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from workspace.project.v1.document_pb2 import DocumentStatus
from workspace.project.v1.document_service_pb2 import (
    DeleteDocumentRequest,
    PurgeDocumentRequest,
    RestoreDocumentRequest,
)
from workspace.project.v1.project_service_pb2 import (
    DeleteProjectRequest,
    PurgeProjectRequest,
    RestoreProjectRequest,
    SetLegalHoldRequest,
)
from workspace.project.v1.project_service_pb2_grpc import ProjectServiceStub
from workspace.storage.v1.storage_service_pb2 import (
    CreateDownloadRequest,
    GetHomeUsageRequest,
    RelocateProjectRequest,
)
from workspace.storage.v1.storage_service_pb2_grpc import StorageServiceStub
from workspace.sync.v1.conflict_pb2 import Resolution

from project_svc.documents.purge import DOCUMENT_PURGE
from project_svc.projects.purge import PROJECT_PURGE
from services.cli.doctor.usage import recount
from services.events.due import DueHandler
from services.events.following import Follower
from services.model.errors import WorkspaceError
from services.processes.workspace import WorkspaceProcess
from storage_svc.module import build_gate
from storage_svc.old_objects import OldObjects
from storage_svc.usage import Ledger
from tests.integration.storage.people import refused
from tests.integration.sync.arriving import (
    account,
    again,
    assign,
    eventually,
    rows,
    send,
    two_nodes,
)
from tests.integration.sync.nodes import Node, in_step, request_id

TWICE = 2


@pytest.fixture
async def nodes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[tuple[Node, Node]]:
    """The trash keeps nothing, and due work is done when a test says so."""

    async def idle(_: WorkspaceProcess) -> None:
        return

    monkeypatch.setattr(WorkspaceProcess, "_run_due", idle)
    async with two_nodes(tmp_path) as made:
        for node in made:
            object.__setattr__(node.ws.process.kernel.settings, "trash_days", 0)
        yield made


async def work(node: Node) -> None:
    """Do what is due."""
    process = node.ws.process
    handlers = {kind: do for module in process.modules for kind, do in module.due.items()}
    await process.kernel.due.run(handlers)


async def usage(node: Node, home_id: str) -> tuple[int, int]:
    """Documents and bytes of a home; the counters are the sums of their parts."""
    stub: Any = node.ws.service_stub(StorageServiceStub, service="identity_svc", as_=node.who)
    total = (await stub.GetHomeUsage(GetHomeUsageRequest(home_id=home_id))).total
    counted = await recount(node.ws.records.driver)
    assert list(counted.faults()) == []
    return total.documents, total.bytes


async def uses(node: Node, home_id: str, documents: int, size: int) -> None:
    async def so() -> bool:
        await work(node)
        return await usage(node, home_id) == (documents, size)

    await eventually(so)


async def is_there(node: Node, key: str) -> bool:
    try:
        await node.ws.process.kernel.objects.head(key)
    except WorkspaceError:
        return False
    return True


def handler(node: Node, kind: str) -> DueHandler:
    """What does due work of a kind in this process."""
    return next(module.due[kind] for module in node.ws.process.modules if kind in module.due)


async def trash(node: Node, document_id: str) -> None:
    await node.documents.DeleteDocument(
        DeleteDocumentRequest(document_id=document_id, request_id=request_id())
    )


async def test_files_that_came_are_counted_like_those_that_were_sent(
    nodes: tuple[Node, Node],
) -> None:
    a, b = nodes
    project_id = await a.project()
    document_id = await a.document(project_id, "plan.txt", b"12345")
    home = (await a.read(document_id)).workspace_id
    await a.document(project_id, "other.txt", b"123")
    assert await usage(a, home) == (2, 8)
    await send(a, b)
    await uses(b, home, 2, 8)


async def test_bytes_that_come_later_are_counted_when_they_come(
    nodes: tuple[Node, Node], tmp_path: Path
) -> None:
    a, b = nodes
    project_id = await a.project()
    document_id = await a.document(project_id, "plan.txt", b"12345")
    document = await a.read(document_id)
    await a.push()
    (stored,) = [path for path in (tmp_path / "backup").rglob("plan.txt") if path.is_file()]
    data = stored.read_bytes()
    stored.unlink()
    await b.pull()
    assert (await b.read(document_id)).file.sha256 == document.file.sha256
    assert (await rows(b.ws.records, "pending_bytes")) != []
    said = await refused(
        b.stub(StorageServiceStub).CreateDownload(CreateDownloadRequest(document_id=document_id))
    )
    assert said.reason == "FILE_NOT_AVAILABLE"
    assert await usage(b, document.workspace_id) == (0, 0)
    stored.write_bytes(data)
    await b.pull()
    assert (await rows(b.ws.records, "pending_bytes")) == []
    await uses(b, document.workspace_id, 1, 5)
    assert await b.bytes_of(document_id) == b"12345"


async def test_what_another_node_purged_is_removed_here_and_counted_no_more(
    nodes: tuple[Node, Node],
) -> None:
    a, b = nodes
    project_id = await a.project()
    document_id = await a.document(project_id, "plan.txt", b"12345")
    document = await a.read(document_id)
    await send(a, b)
    await uses(b, document.workspace_id, 1, 5)
    await trash(a, document_id)
    await a.documents.PurgeDocument(
        PurgeDocumentRequest(document_id=document_id, request_id=request_id())
    )
    await send(a, b)
    await uses(b, document.workspace_id, 0, 0)
    assert not await is_there(b, document.file.storage_key)
    # Both did it alike: nothing is to be decided, and nothing moves any more.
    await in_step(a, b, rounds=5)
    assert await a.conflicts() == await b.conflicts() == []


async def test_a_relocation_by_another_node_leaves_no_old_objects_here(
    nodes: tuple[Node, Node],
) -> None:
    a, b = nodes
    home = await account(a)
    project_id = await a.project()
    document_id = await a.document(project_id, "plan.txt", b"12345")
    before = await a.read(document_id)
    await send(a, b)
    await uses(b, before.workspace_id, 1, 5)
    await assign(a, project_id, home)
    stream = a.stub(StorageServiceStub).RelocateProject(
        RelocateProjectRequest(project_id=project_id, request_id=request_id())
    )
    assert [message async for message in stream]
    await send(a, b)
    after = await b.read(document_id)
    assert after.file.storage_key.startswith(f"accounts/{home}/")
    assert await b.bytes_of(document_id) == b"12345"
    await uses(b, home, 1, 5)
    await eventually(lambda: rows(b.ws.records, "relocated_object"))
    assert await is_there(b, before.file.storage_key)  # URLs may name it still
    kernel = replace(b.ws.process.kernel, now=lambda: time.time() + 8 * 86_400)
    old = OldObjects(
        kernel=kernel, gate=build_gate(b.ws.process.channel),
        ledger=Ledger(kernel.records, now=kernel.now),
    )
    for item in await rows(b.ws.records, "relocated_object"):
        subject = f"{project_id}/{item.key.sk.removeprefix('OLD#')}"
        assert await old.look(subject) is None
    assert not await is_there(b, before.file.storage_key)
    assert await b.bytes_of(document_id) == b"12345"
    await uses(b, before.workspace_id, 0, 0)


async def test_a_hold_that_came_holds_what_is_in_the_trash_here(
    nodes: tuple[Node, Node],
) -> None:
    a, b = nodes
    project_id = await a.project()
    document_id = await a.document(project_id, "plan.txt", b"12345")
    document = await a.read(document_id)
    await send(a, b)
    await trash(b, document_id)
    hold = SetLegalHoldRequest(
        project_id=project_id, legal_hold=True, reason="a court", request_id=request_id()
    )
    await a.stub(ProjectServiceStub).SetLegalHold(hold)
    await send(a, b)
    purge = PurgeDocumentRequest(document_id=document_id, request_id=request_id())
    assert (await refused(b.documents.PurgeDocument(purge))).reason == "HELD"
    assert (await handler(b, DOCUMENT_PURGE)(document_id) or 0) > time.time()
    assert await is_there(b, document.file.storage_key)


async def test_what_came_while_nobody_followed_is_counted_after_a_restart(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without followers nothing is counted, and no document says its account."""

    async def idle(_: Follower) -> None:
        return

    async with two_nodes(tmp_path) as (a, b):
        home = await account(a)
        with monkeypatch.context() as patched:
            patched.setattr(Follower, "run", idle)
            async with Node.open(tmp_path / "c") as c:
                await c.connect(tmp_path / "backup")
                project_id = await a.project()
                await assign(a, project_id, home)
                document_id = await a.document(project_id, "plan.txt", b"12345")
                await send(a, c)
                assert await c.bytes_of(document_id) == b"12345"
                assert await usage(c, home) == (0, 0)
                assert (await c.read(document_id)).account_id == ""
        async with again(tmp_path / "c") as c:
            await uses(c, home, 1, 5)

            async def copied() -> bool:
                return (await c.read(document_id)).account_id == home

            await eventually(copied)
        await send(a, b)
        await uses(b, home, 1, 5)


async def test_a_trashed_project_that_came_is_restored_or_purged_here(
    nodes: tuple[Node, Node],
) -> None:
    a, b = nodes
    projects = a.stub(ProjectServiceStub)
    kept, gone = await a.project("Kept"), await a.project("Gone")
    document_id = await a.document(gone, "plan.txt", b"12345")
    document = await a.read(document_id)
    for project_id in (kept, gone):
        await projects.DeleteProject(
            DeleteProjectRequest(project_id=project_id, request_id=request_id())
        )
    await send(a, b)
    await uses(b, document.workspace_id, 1, 5)

    async def due() -> bool:
        kinds = [item for item in await rows(b.ws.records, "due") if PROJECT_PURGE in item.body]
        return len(kinds) == TWICE

    await eventually(due)
    there = b.stub(ProjectServiceStub)
    await there.RestoreProject(RestoreProjectRequest(project_id=kept, request_id=request_id()))
    await there.PurgeProject(PurgeProjectRequest(project_id=gone, request_id=request_id()))
    await uses(b, document.workspace_id, 0, 0)
    assert await handler(b, PROJECT_PURGE)(kept) is None
    await in_step(b, a, rounds=5)
    await uses(a, document.workspace_id, 0, 0)
    assert await a.conflicts() == await b.conflicts() == []


async def test_nothing_is_purged_that_an_open_conflict_holds(nodes: tuple[Node, Node]) -> None:
    a, b = nodes
    project_id = await a.project()
    document_id = await a.document(project_id, "plan.txt", b"12345")
    await send(a, b)
    await trash(a, document_id)
    await b.edit(document_id, title="still needed")
    await trash(b, document_id)
    await a.documents.RestoreDocument(
        RestoreDocumentRequest(document_id=document_id, request_id=request_id())
    )
    await a.edit(document_id, title="restored")
    await trash(a, document_id)
    await in_step(a, b, rounds=5)
    (found,) = await a.conflicts()
    assert (await a.read(document_id)).status == DocumentStatus.DOCUMENT_STATUS_TRASHED
    request = PurgeDocumentRequest(document_id=document_id, request_id=request_id())
    said = await refused(a.documents.PurgeDocument(request))
    assert said.reason == "INVALID_STATE"
    assert "resolve its open conflicts" in said.message
    now = time.time()
    later = await handler(a, DOCUMENT_PURGE)(document_id)
    assert later is not None
    assert later > now + 80_000
    projects = a.stub(ProjectServiceStub)
    await projects.DeleteProject(
        DeleteProjectRequest(project_id=project_id, request_id=request_id())
    )
    purge = PurgeProjectRequest(project_id=project_id, request_id=request_id())
    said = await refused(projects.PurgeProject(purge))
    assert (said.reason, "ResolveConflict" in said.message) == ("INVALID_STATE", True)
    assert (await handler(a, PROJECT_PURGE)(project_id) or 0) > now + 80_000
    file = (await a.read(document_id)).file
    assert await is_there(a, file.storage_key)
    conflict = await a.conflict(found.conflict_id)
    await a.resolve(conflict.conflict_id, Resolution(ours=Resolution.Ours()))
    await projects.PurgeProject(
        PurgeProjectRequest(project_id=project_id, request_id=request_id())
    )

    async def removed() -> bool:
        await work(a)
        return not await is_there(a, file.storage_key)

    await eventually(removed)
