"""Runs, plans, comparisons and statuses over gRPC, with the real engine and folders."""

from __future__ import annotations

import asyncio
import shutil
import uuid
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import grpc
import grpc.aio
import pytest
from workspace.project.v1.project_pb2 import Project
from workspace.project.v1.project_service_pb2 import (
    GetProjectRequest,
    UpdateProjectRequest,
)
from workspace.sync.v1.connection_pb2 import Connection, ConnectionStatus
from workspace.sync.v1.connection_service_pb2 import UpdateConnectionRequest
from workspace.sync.v1.plan_pb2 import DifferenceKind, PlanAction
from workspace.sync.v1.run_pb2 import RunPhase, RunStatus, SyncDirection, SyncOptions
from workspace.sync.v1.status_pb2 import ConnectionSyncStatus, SyncHealth
from workspace.sync.v1.sync_service_pb2 import (
    CancelRunRequest,
    CompareSurfacesRequest,
    GetRunRequest,
    GetSyncStatusRequest,
    ListNodesRequest,
    ListQuarantineRequest,
    ListRunsRequest,
    PlanSyncRequest,
    PushRequest,
    RetryQuarantinedRequest,
    StartSyncRequest,
    WatchRunRequest,
)
from workspace.sync.v1.sync_service_pb2_grpc import SyncServiceStub

from services.model.families import FAMILIES
from services.records.port import Key
from services.records.record import Activity, Write
from services.rpc.errors import error_info, peer_status
from tests.integration.sync.surfaces import BOB, Node, node

PUSH, PULL = SyncDirection.SYNC_DIRECTION_PUSH, SyncDirection.SYNC_DIRECTION_PULL
S = RunStatus


@pytest.fixture
async def here(tmp_path: Path) -> AsyncIterator[Node]:
    """A node that is connected to a folder nobody used yet."""
    async with node(tmp_path / "here") as opened:
        await opened.connect(tmp_path / "backup")
        yield opened


def refusal(caught: pytest.ExceptionInfo[grpc.aio.AioRpcError]) -> tuple[grpc.StatusCode, str]:
    """Code and reason."""
    status = peer_status(caught.value)
    info = error_info(status) if status else None
    return caught.value.code(), info.reason.removeprefix("ERROR_REASON_") if info else ""


async def planned(here: Node, direction: Any = PUSH, **fields: Any) -> Any:
    request = PlanSyncRequest(connection_id="backup", direction=direction, **fields)
    return await here.sync.PlanSync(request)


async def status_of(here: Node) -> ConnectionSyncStatus:
    answer = await here.sync.GetSyncStatus(GetSyncStatusRequest(connection_id="backup"))
    found: ConnectionSyncStatus = answer.connections[0]
    return found


async def test_a_push_does_what_its_plan_said(here: Node) -> None:
    await here.project("One")
    plan = await planned(here)
    assert plan.summary.creates > 0
    assert plan.summary.full_reconcile
    assert not plan.summary.needs_force
    run = await here.push()
    assert run.status == S.RUN_STATUS_SUCCEEDED
    assert run.phase == RunPhase.RUN_PHASE_CURSOR
    assert run.counts.records_written == plan.summary.creates
    assert list((await planned(here)).operations) == []


async def test_a_push_after_a_push_has_nothing_to_send(here: Node) -> None:
    """Not even the events of its own run."""
    await here.project("One")
    await here.push()
    for _ in range(2):
        run = await here.push()
        assert run.counts.records_planned == 0
    assert (await status_of(here)).records_to_push == 0


async def test_two_nodes_meet_in_a_folder(here: Node, tmp_path: Path) -> None:
    project_id = await here.project("Shared")
    await here.push()
    async with node(tmp_path / "there") as there:
        await there.connect(tmp_path / "backup")
        run = await there.pull()
        assert run.status == S.RUN_STATUS_SUCCEEDED
        assert run.counts.records_written > 0
        answer = await there.sync.CompareSurfaces(CompareSurfacesRequest(connection_id="backup"))
        kinds = {each.kind for each in answer.differences}
        assert kinds <= {DifferenceKind.DIFFERENCE_KIND_LOCAL_ONLY}
        keys = {each.key.pk for each in answer.differences}
        assert f"PROJECT#{project_id}" not in keys


async def test_the_pages_of_a_plan_are_of_one_plan(here: Node) -> None:
    await here.project("One")
    first = await planned(here, page_size=3)
    await here.project("Two")
    lines, token = list(first.operations), first.next_page_token
    while token:
        page = await planned(here, page_size=3, page_token=token)
        assert page.summary == first.summary
        lines.extend(page.operations)
        token = page.next_page_token
    assert len(lines) == first.summary.creates
    assert {line.action for line in lines} == {PlanAction.PLAN_ACTION_CREATE}
    assert (await planned(here)).summary.creates > first.summary.creates


async def test_a_token_of_a_plan_is_for_its_caller_and_time(here: Node) -> None:
    await here.project("One")
    first = await planned(here, page_size=1)
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await planned(here, PULL, page_token=first.next_page_token)
    assert refusal(caught) == (grpc.StatusCode.INVALID_ARGUMENT, "INVALID_PAGE_TOKEN")
    servicer = next(
        each.servicer for module in here.ws.process.modules if module.name == "sync_svc"
        for each in module.registrations if each.full_name.endswith("SyncService")
    )
    kept = servicer._runs.planning._plans  # type: ignore[attr-defined]
    second = await planned(here, page_size=1, page_token=first.next_page_token)
    kept.close()
    again = await planned(here, page_size=1, page_token=first.next_page_token)
    assert again.operations == second.operations, "as another replica makes it"
    kept.close()
    await here.project("Two")
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await planned(here, page_token=first.next_page_token)
    assert refusal(caught) == (grpc.StatusCode.OUT_OF_RANGE, "CURSOR_LOST")


async def test_a_plan_leaves_an_unused_folder_alone(here: Node, tmp_path: Path) -> None:
    await here.project("One")
    assert (await planned(here)).summary.creates > 0
    assert not (tmp_path / "backup" / "workspace.sqlite").exists()


async def purged(here: Node, project_id: str) -> None:
    """The record becomes a tombstone, as after the time in the trash."""
    family, pk = FAMILIES["project"], f"PROJECT#{project_id}"
    record = await here.ws.records.get(family, Key(pk, pk))
    await here.ws.records.commit(
        pk, [Write(family, record.edit(), base=record, deleted=True)],
        activity=Activity("project.purged", f"projects/{project_id}"),
    )


async def test_the_guard_stops_a_push_and_force_passes_it(here: Node) -> None:
    ids = [await here.project(f"P{number}") for number in range(8)]
    await here.push()
    for project_id in ids:
        await purged(here, project_id)
    before = (await planned(here)).summary
    assert before.needs_force, before
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await here.push()
    assert refusal(caught) == (grpc.StatusCode.FAILED_PRECONDITION, "MASS_CHANGE")
    assert (await status_of(here)).health == SyncHealth.SYNC_HEALTH_RED
    run = await here.push(options=SyncOptions(force=True))
    assert run.status == S.RUN_STATUS_SUCCEEDED


async def test_another_surface_behind_a_connection_is_refused(
    here: Node, tmp_path: Path
) -> None:
    await here.project("One")
    await here.push()
    await here.connect(tmp_path / "other", "other")
    await here.push("other")
    shutil.rmtree(tmp_path / "backup")
    shutil.move(tmp_path / "other", tmp_path / "backup")
    for _ in range(2):
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await here.push()
        assert refusal(caught) == (grpc.StatusCode.FAILED_PRECONDITION, "SURFACE_CHANGED")
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await planned(here)
    assert refusal(caught) == (grpc.StatusCode.FAILED_PRECONDITION, "SURFACE_CHANGED")
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await here.sync.CompareSurfaces(CompareSurfacesRequest(connection_id="backup"))
    assert refusal(caught) == (grpc.StatusCode.FAILED_PRECONDITION, "SURFACE_CHANGED")
    status = await status_of(here)
    assert status.connection_status == ConnectionStatus.CONNECTION_STATUS_SURFACE_CHANGED
    assert status.health == SyncHealth.SYNC_HEALTH_RED
    run = await here.push(options=SyncOptions(reinitialise=True))
    assert run.status == S.RUN_STATUS_SUCCEEDED
    assert (await status_of(here)).health == SyncHealth.SYNC_HEALTH_GREEN


async def test_a_folder_that_is_gone_is_unavailable(here: Node, tmp_path: Path) -> None:
    await here.project("One")
    await here.push()
    shutil.rmtree(tmp_path / "backup")
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await here.push()
    assert refusal(caught) == (grpc.StatusCode.UNAVAILABLE, "BACKEND_UNAVAILABLE")
    assert (await status_of(here)).health == SyncHealth.SYNC_HEALTH_RED


async def test_a_paused_connection_is_grey_and_refuses_runs(here: Node) -> None:
    await here.connections.UpdateConnection(
        UpdateConnectionRequest(
            connection=Connection(
                connection_id="backup", status=ConnectionStatus.CONNECTION_STATUS_PAUSED
            ),
            update_mask={"paths": ["status"]},  # type: ignore[arg-type]
        )
    )
    start = StartSyncRequest(connection_id="backup", direction=PUSH)
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await here.sync.StartSync(start)
    assert refusal(caught) == (grpc.StatusCode.FAILED_PRECONDITION, "INVALID_STATE")
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await here.push()
    assert refusal(caught) == (grpc.StatusCode.FAILED_PRECONDITION, "INVALID_STATE")
    assert (await status_of(here)).health == SyncHealth.SYNC_HEALTH_GREY


async def test_status_goes_from_grey_to_green_and_counts_what_waits(here: Node) -> None:
    await here.project("One")
    fresh = await status_of(here)
    assert fresh.health == SyncHealth.SYNC_HEALTH_GREY
    assert fresh.records_to_push > 0
    assert not fresh.HasField("last_push")
    pushed = await here.push()
    pulled = await here.pull()
    done = await status_of(here)
    assert done.health == SyncHealth.SYNC_HEALTH_GREEN
    assert done.records_to_push == 0
    assert done.last_push.run_id == pushed.run_id
    assert done.last_pull.run_id == pulled.run_id
    assert done.HasField("in_step_at")
    assert done.HasField("reconciled_at")
    assert done.HasField("pull_lag")
    assert not done.active_run_id
    await here.project("Two")
    later = await status_of(here)
    assert later.records_to_push > 0
    assert later.HasField("push_lag")
    answer = await here.sync.GetSyncStatus(GetSyncStatusRequest())
    assert answer.health == SyncHealth.SYNC_HEALTH_GREEN
    assert answer.HasField("observed_at")


async def test_runs_can_be_started_watched_got_and_listed(here: Node) -> None:
    await here.project("One")
    start = StartSyncRequest(
        connection_id="backup", direction=PUSH, request_id=str(uuid.uuid4())
    )
    started = await here.sync.StartSync(start)
    assert (await here.sync.StartSync(start)).run.run_id == started.run.run_id
    request = WatchRunRequest(run_id=started.run.run_id)
    messages = [each async for each in here.sync.WatchRun(request)]
    assert messages[-1].progress.run.status == S.RUN_STATUS_SUCCEEDED
    got = await here.sync.GetRun(GetRunRequest(run_id=started.run.run_id))
    assert got.run.status == S.RUN_STATUS_SUCCEEDED
    listed = await here.sync.ListRuns(ListRunsRequest(connection_id="backup"))
    assert [run.run_id for run in listed.runs] == [started.run.run_id]
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await here.sync.CancelRun(CancelRunRequest(run_id=started.run.run_id))
    assert refusal(caught) == (grpc.StatusCode.FAILED_PRECONDITION, "INVALID_STATE")


async def test_a_closed_stream_leaves_the_run_going(here: Node) -> None:
    for number in range(5):
        await here.project(f"P{number}")
    call = here.sync.Push(PushRequest(connection_id="backup"))
    first = await call.read()
    call.cancel()
    run_id = first.progress.run.run_id
    messages = [each async for each in here.sync.WatchRun(WatchRunRequest(run_id=run_id))]
    assert messages[-1].progress.run.status == S.RUN_STATUS_SUCCEEDED


async def test_compare_pages_and_says_equal_on_the_last(here: Node) -> None:
    await here.project("One")
    await here.push()
    await here.pull()
    whole = await here.sync.CompareSurfaces(CompareSurfacesRequest(connection_id="backup"))
    assert whole.equal, whole
    assert whole.records_compared > 0
    await here.project("Two")
    request = CompareSurfacesRequest(connection_id="backup", page_size=1)
    found, pages = [], []
    while True:
        page = await here.sync.CompareSurfaces(request)
        pages.append(page)
        found.extend(page.differences)
        request.page_token = page.next_page_token
        if not request.page_token:
            break
    assert not any(page.equal for page in pages)
    assert len(found) > 1
    assert {each.kind for each in found} == {DifferenceKind.DIFFERENCE_KIND_LOCAL_ONLY}
    assert len({(each.key.pk, each.key.sk) for each in found}) == len(found)
    counts = [page.records_compared for page in pages]
    assert counts == sorted(counts)
    assert counts[-1] == whole.records_compared + len(found)


async def test_an_edit_arrives_and_nothing_is_forced(here: Node, tmp_path: Path) -> None:
    project_id = await here.project("Before")
    await here.push()
    async with node(tmp_path / "there") as there:
        await there.connect(tmp_path / "backup")
        await there.pull()
        await here.projects.UpdateProject(
            UpdateProjectRequest(
                project=Project(project_id=project_id, name="After"),
                update_mask={"paths": ["name"]},  # type: ignore[arg-type]
            )
        )
        assert (await here.push()).counts.records_written > 0
        assert (await there.pull()).counts.records_written > 0
        admin = there.ws.records
        key = Key(f"PROJECT#{project_id}", f"PROJECT#{project_id}")
        record = await admin.get(FAMILIES["project"], key)
        assert record.message.name == "After"
    assert (await here.projects.GetProject(GetProjectRequest(project_id=project_id))).project


async def test_nobody_else_may_use_any_of_it(here: Node) -> None:
    run = await here.push()
    bob: Any = here.ws.stub(SyncServiceStub, as_=BOB)
    calls = [
        bob.StartSync(StartSyncRequest(connection_id="backup", direction=PUSH)),
        bob.GetRun(GetRunRequest(run_id=run.run_id)),
        bob.CancelRun(CancelRunRequest(run_id=run.run_id)),
        bob.PlanSync(PlanSyncRequest(connection_id="backup", direction=PUSH)),
        bob.CompareSurfaces(CompareSurfacesRequest(connection_id="backup")),
        bob.GetSyncStatus(GetSyncStatusRequest(connection_id="backup")),
        bob.ListQuarantine(ListQuarantineRequest(connection_id="backup")),
        bob.ListRuns(ListRunsRequest(connection_id="backup")),
        bob.ListNodes(ListNodesRequest()),
    ]
    for call in calls:
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await call
        assert refusal(caught) == (grpc.StatusCode.PERMISSION_DENIED, "PERMISSION_DENIED")
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        [each async for each in bob.Push(PushRequest(connection_id="backup"))]
    assert refusal(caught) == (grpc.StatusCode.PERMISSION_DENIED, "PERMISSION_DENIED")


async def test_quarantine_and_nodes_are_served(here: Node) -> None:
    await here.push()
    listed = await here.sync.ListQuarantine(ListQuarantineRequest())
    assert list(listed.records) == []
    answer = await here.sync.RetryQuarantined(
        RetryQuarantinedRequest(quarantine_ids=["q_none"])
    )
    assert answer.results[0].error.code == grpc.StatusCode.NOT_FOUND.value[0]
    nodes = (await here.sync.ListNodes(ListNodesRequest())).nodes
    assert [each.self for each in nodes].count(True) == 1


async def test_metrics_tell_how_sync_stands(here: Node) -> None:
    run = await here.push()
    assert run.status == S.RUN_STATUS_SUCCEEDED
    async with here.ws.client() as client:
        for _ in range(100):
            text = (await client.get("/metrics")).text
            if 'workspace_sync_runs_total{connection="backup"' in text:
                break
            await asyncio.sleep(0.05)
    assert 'direction="push",outcome="succeeded"} 1.0' in text
    assert "workspace_sync_records_to_push" in text
    assert "Backup" not in text
