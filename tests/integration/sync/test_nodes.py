"""Nodes over gRPC: lists, evictions, restored and copied workspaces."""

from __future__ import annotations

import shutil
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import grpc
import grpc.aio
import pytest
from workspace.project.v1.project_pb2 import Project
from workspace.project.v1.project_service_pb2 import (
    GetProjectRequest,
    UpdateProjectRequest,
)
from workspace.sync.v1.node_pb2 import Node as NodeMessage
from workspace.sync.v1.node_pb2 import NodeStatus
from workspace.sync.v1.run_pb2 import RunStatus, SyncOptions
from workspace.sync.v1.sync_service_pb2 import (
    EvictNodeRequest,
    ListConflictsRequest,
    ListNodesRequest,
)
from workspace.sync.v1.sync_service_pb2_grpc import SyncServiceStub

from services.rpc.errors import error_info, peer_status
from sync_svc.collection.daily import KIND
from tests.chosen_records import needs_sqlite
from tests.harness import Workspace
from tests.integration.sync.surfaces import ADMIN, BOB, Node, node

LIVE, EVICTED = NodeStatus.NODE_STATUS_LIVE, NodeStatus.NODE_STATUS_EVICTED
_FORCE = SyncOptions(force=True)
DONE = (RunStatus.RUN_STATUS_SUCCEEDED, RunStatus.RUN_STATUS_SUCCEEDED_WITH_ISSUES)


@pytest.fixture
async def pair(tmp_path: Path) -> AsyncIterator[tuple[Node, Node]]:
    """Two nodes that both pushed to and pulled from one folder."""
    async with node(tmp_path / "here") as here, node(tmp_path / "there") as there:
        for each in (there, here):
            await each.connect(tmp_path / "backup")
            assert (await each.pull()).status in DONE
            assert (await each.push()).status in DONE
        yield here, there


async def _nodes(at: Node) -> dict[str, NodeMessage]:
    answer = await at.sync.ListNodes(ListNodesRequest())
    return {each.node_id: each for each in answer.nodes}


def _id(of: Node) -> str:
    return str(of.ws.process.kernel.instance_id)


def _reason(caught: pytest.ExceptionInfo[grpc.aio.AioRpcError]) -> str:
    info = error_info(peer_status(caught.value))
    assert info is not None
    return info.reason


async def test_nodes_are_listed_by_id(pair: tuple[Node, Node]) -> None:
    here, there = pair
    listed = await _nodes(here)
    assert set(listed) == {_id(here), _id(there)}
    assert list(listed) == sorted(listed)
    mine, other = listed[_id(here)], listed[_id(there)]
    assert (mine.self, other.self) == (True, False)
    assert mine.status == other.status == LIVE
    assert mine.incarnation
    assert other.incarnation
    assert mine.incarnation != other.incarnation
    assert other.generation == 1
    assert [each.connection_id for each in other.acknowledgements] == ["backup"]
    assert other.etag
    page = await here.sync.ListNodes(ListNodesRequest(page_size=1))
    assert len(page.nodes) == 1
    rest = await here.sync.ListNodes(
        ListNodesRequest(page_size=1, page_token=page.next_page_token)
    )
    assert [page.nodes[0].node_id, rest.nodes[0].node_id] == sorted(listed)
    assert not rest.next_page_token
    silent = ListNodesRequest(status=NodeStatus.NODE_STATUS_SILENT)
    assert not (await here.sync.ListNodes(silent)).nodes
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await here.sync.ListNodes(
            ListNodesRequest(page_token=page.next_page_token, status=LIVE)
        )
    assert _reason(refused) == "ERROR_REASON_INVALID_PAGE_TOKEN"


async def test_platform_admins_only(pair: tuple[Node, Node]) -> None:
    here, there = pair
    await here.ws.sign_in(BOB)
    bob = here.ws.stub(SyncServiceStub, as_=BOB)
    for call in (
        bob.ListNodes(ListNodesRequest()),
        bob.EvictNode(EvictNodeRequest(node_id=_id(there), force=True)),
        bob.EvictNode(EvictNodeRequest(node_id="absent")),
    ):
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await call
        assert refused.value.code() == grpc.StatusCode.PERMISSION_DENIED


async def test_what_cannot_be_evicted(pair: tuple[Node, Node]) -> None:
    here, there = pair
    for request, reason in (
        (EvictNodeRequest(node_id=_id(here), force=True), "ERROR_REASON_INVALID_STATE"),
        (EvictNodeRequest(node_id=_id(there)), "ERROR_REASON_INVALID_STATE"),
        (EvictNodeRequest(node_id="absent"), "ERROR_REASON_NOT_FOUND"),
        (
            EvictNodeRequest(node_id=_id(there), force=True, etag='"old"'),
            "ERROR_REASON_ETAG_MISMATCH",
        ),
    ):
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await here.sync.EvictNode(request)
        assert _reason(refused) == reason
    assert (await _nodes(here))[_id(there)].status == LIVE


async def test_an_eviction_is_repeatable_and_audited(pair: tuple[Node, Node]) -> None:
    here, there = pair
    seen = (await _nodes(here))[_id(there)]
    request = EvictNodeRequest(
        node_id=_id(there), force=True, note="lost", etag=seen.etag, request_id=str(uuid.uuid4())
    )
    first = await here.sync.EvictNode(request)
    assert first.node.status == EVICTED
    assert first.node.evicted_by
    assert first.node.evicted_at.seconds
    assert await here.sync.EvictNode(request) == first
    again = await here.sync.EvictNode(EvictNodeRequest(node_id=_id(there)))
    assert again.node.evicted_at == first.node.evicted_at
    assert (await _nodes(here))[_id(there)].status == EVICTED
    items = await here.ws.records.scan(None, 10_000)
    events = [each for each in items if '"node.evicted"' in each.body]
    assert [each.family for each in events] == ["activity_event"]
    assert again.consistency_token


@asynccontextmanager
async def _again(folder: Path) -> AsyncIterator[Node]:
    """A workspace that was served before."""
    async with Workspace.open(folder) as ws:
        await ws.sign_in(ADMIN)
        yield Node(ws)


async def _renamed(at: Node, project: str, name: str) -> None:
    await at.projects.UpdateProject(
        UpdateProjectRequest(project=Project(project_id=project, name=name))
    )


@needs_sqlite
async def test_a_copied_data_folder_is_a_node_of_its_own(tmp_path: Path) -> None:
    """Both go on from the same moment, both edit, and both edits are there in the end."""
    async with node(tmp_path / "here") as here:
        await here.connect(tmp_path / "backup")
        project = await here.project("Zero")
        await here.push()
        await here.pull()
        original = here.ws.process.kernel.records.actor
    shutil.copytree(tmp_path / "here", tmp_path / "copy")
    async with _again(tmp_path / "here") as here, _again(tmp_path / "copy") as copy:
        assert here.ws.process.kernel.records.actor == original
        assert copy.ws.process.kernel.records.actor != original
        await _renamed(here, project, "Of the original")
        await _renamed(copy, project, "Of the copy")
        for each in (here, copy, here, copy):
            assert (await each.push(options=_FORCE)).status in DONE
            assert (await each.pull(options=_FORCE)).status in DONE
        for each in (here, copy):
            conflicts = await each.sync.ListConflicts(ListConflictsRequest())
            assert len(conflicts.conflicts) == 1
            shown = await each.projects.GetProject(GetProjectRequest(project_id=project))
            assert shown.project.name in {"Of the original", "Of the copy"}


async def test_collection_is_due_every_day(pair: tuple[Node, Node]) -> None:
    here, _ = pair
    items = await here.ws.records.scan(None, 10_000)
    due = [each for each in items if each.family == "due" and KIND in each.body]
    assert len(due) == 1
    handlers = {k: h for m in here.ws.process.modules for k, h in m.due.items()}
    tomorrow = await handlers[KIND]("local")
    assert tomorrow is not None
    assert tomorrow > here.ws.process.kernel.now()
    assert await handlers[KIND]("connection/backup") is None
    assert await handlers[KIND]("connection/gone") is None
