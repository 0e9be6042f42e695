"""Runs by themselves: claims, progress, cancelling, restarts; with a directed engine."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import AsyncIterator
from contextlib import aclosing
from pathlib import Path

import pytest
from workspace.sync.v1.connection_pb2 import ConnectionStatus
from workspace.sync.v1.run_pb2 import RunPhase, RunStatus, SyncDirection, SyncOptions
from workspace.sync.v1.sync_service_pb2 import (
    CancelRunRequest,
    GetRunRequest,
    ListRunsRequest,
    PullRequest,
    PushRequest,
    StartSyncRequest,
    WatchRunRequest,
)

import identity_svc.module
import services.processes.workspace
from services.model.errors import Reason, WorkspaceError
from services.records.port import Index
from sync_svc.runs.states import run_pk
from tests.chosen_records import needs_sqlite
from tests.harness import Workspace
from tests.integration.sync.fake_engine import (
    Connected,
    Directed,
    Scene,
    as_user,
    collected,
    eventually,
)

PUSH, PULL = SyncDirection.SYNC_DIRECTION_PUSH, SyncDirection.SYNC_DIRECTION_PULL
S = RunStatus


@pytest.fixture
async def scene(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Scene]:
    only = [identity_svc.module.build]
    monkeypatch.setattr(services.processes.workspace, "find_services", lambda: only)
    async with Workspace.open(tmp_path) as ws:
        opened = Scene(ws.process.kernel, Connected("c_a", "c_b"), Directed())
        as_user("StartSync")
        yield opened
        await opened.manager.close()


def start_of(connection: str = "c_a", **fields: object) -> StartSyncRequest:
    return StartSyncRequest(connection_id=connection, direction=PUSH, **fields)  # type: ignore[arg-type]


def reason_of(caught: pytest.ExceptionInfo[WorkspaceError]) -> str:
    return Reason.Name(caught.value.reason).removeprefix("ERROR_REASON_")


def held(scene: Scene, batches: int = 1) -> asyncio.Semaphore:
    """An engine whose batches wait."""
    scene.directed.batches = batches
    scene.directed.go = asyncio.Semaphore(0)
    return scene.directed.go


async def until_begun(scene: Scene, times: int = 1) -> None:
    await eventually(lambda: scene.directed.begun >= times)


async def test_a_run_works_without_a_caller_and_is_told_in_full(scene: Scene) -> None:
    started = await scene.starting.start(start_of(), PUSH)
    assert started.run.status == S.RUN_STATUS_QUEUED
    assert started.run.created_by == "u_ann"
    assert started.consistency_token
    run = await scene.ended_run(started.run.run_id)
    assert run.status == S.RUN_STATUS_SUCCEEDED
    assert run.counts.records_written == 10
    assert run.instance_id == "instance-c_a"
    assert run.node_id == scene.kernel.instance_id
    assert run.started_at.ToNanoseconds() <= run.finished_at.ToNanoseconds()
    assert [(t.phase, t.duration.ToMilliseconds()) for t in run.timings] == [
        (RunPhase.RUN_PHASE_PREFLIGHT, 250)
    ]
    assert run.etag
    assert not run.HasField("error")
    assert scene.connected.notes == [("c_a", False, True)]


async def test_start_and_end_are_activity_and_progress_is_not(scene: Scene) -> None:
    go = held(scene)
    run_id = (await scene.starting.start(start_of(), PUSH)).run.run_id
    await until_begun(scene)
    await scene.rows.save_progress(run_id, (await scene.manager.shown(await record(scene, run_id))))
    go.release()
    await scene.ended_run(run_id)
    page = await scene.kernel.records.run(
        Index.BASE, run_pk(run_id), lower="EVENT#", upper="EVENT#~", limit=100, after=None
    )
    events = page.items
    assert len(events) == 2
    assert '"sync.run_started"' in events[0].body
    assert '"sync.run_finished"' in events[1].body


async def record(scene: Scene, run_id: str):  # type: ignore[no-untyped-def]
    found = await scene.rows.get(run_id)
    assert found is not None
    return found


async def test_one_run_at_a_time_has_a_connection(scene: Scene) -> None:
    go = held(scene)
    first = (await scene.starting.start(start_of(), PUSH)).run.run_id
    with pytest.raises(WorkspaceError) as caught:
        await scene.starting.start(start_of(), PUSH)
    assert reason_of(caught) == "RUN_ACTIVE"
    assert caught.value.metadata == {"run_id": first}
    other = (await scene.starting.start(start_of("c_b"), PUSH)).run.run_id
    go.release()
    go.release()
    await scene.ended_run(first)
    await scene.ended_run(other)
    assert (await scene.starting.start(start_of(), PUSH)).run.run_id not in (first, other)


async def test_the_same_request_id_is_the_same_run(scene: Scene) -> None:
    request_id = str(uuid.uuid4())
    first = await scene.starting.start(start_of(request_id=request_id), PUSH)
    await scene.ended_run(first.run.run_id)
    again = await scene.starting.start(start_of(request_id=request_id), PUSH)
    assert again == first
    assert scene.directed.begun == 1
    forced = start_of(request_id=request_id, options=SyncOptions(force=True))
    with pytest.raises(WorkspaceError) as caught:
        await scene.starting.start(forced, PUSH)
    assert reason_of(caught) == "REQUEST_ID_REUSED"


async def test_a_claim_whose_run_was_never_made_is_free_after_a_minute(scene: Scene) -> None:
    await scene.rows.claim("c_a", "r_lost")
    with pytest.raises(WorkspaceError) as caught:
        await scene.starting.start(start_of(), PUSH)
    assert reason_of(caught) == "RUN_ACTIVE"
    scene.rows._now = lambda: scene.kernel.now() + 61
    assert (await scene.starting.start(start_of(), PUSH)).run.run_id


@needs_sqlite
async def test_a_claim_of_a_process_that_was_killed_holds_nobody_up(scene: Scene) -> None:
    """Killed between the claim and the run: on a store of one process nobody waits."""
    await scene.rows.claim("c_a", "r_lost")
    await scene.manager.close()
    scene.restart()
    assert (await scene.starting.start(start_of(), PUSH)).run.run_id


async def test_what_the_manifest_forbids_is_refused_at_once(scene: Scene) -> None:
    scene.connected.known["c_a"].status = ConnectionStatus.CONNECTION_STATUS_PAUSED
    with pytest.raises(WorkspaceError) as caught:
        await scene.starting.start(start_of(), PUSH)
    assert reason_of(caught) == "INVALID_STATE"
    scene.connected.known["c_a"].status = ConnectionStatus.CONNECTION_STATUS_SURFACE_CHANGED
    with pytest.raises(WorkspaceError) as caught:
        await scene.starting.start(start_of(), PUSH)
    assert reason_of(caught) == "SURFACE_CHANGED"
    options = SyncOptions(reinitialise=True)
    assert (await scene.starting.start(start_of(options=options), PUSH)).run.run_id
    with pytest.raises(WorkspaceError) as caught:
        await scene.starting.start(start_of("c_none"), PUSH)
    assert reason_of(caught) == "PERMISSION_DENIED"


async def test_cancelling_ends_a_run_after_its_batch(scene: Scene) -> None:
    go = held(scene, batches=3)
    run_id = (await scene.starting.start(start_of(), PUSH)).run.run_id
    await until_begun(scene)
    as_user("CancelRun")
    etag = (await scene.run_of(run_id)).etag
    with pytest.raises(WorkspaceError) as caught:
        await scene.starting.cancel(CancelRunRequest(run_id=run_id, etag="stale"))
    assert reason_of(caught) == "ETAG_MISMATCH"
    answer = await scene.starting.cancel(CancelRunRequest(run_id=run_id, etag=etag))
    assert answer.run.status == S.RUN_STATUS_CANCELLING
    assert answer.consistency_token
    again = await scene.starting.cancel(CancelRunRequest(run_id=run_id))
    assert again.run.status == S.RUN_STATUS_CANCELLING
    go.release()
    run = await scene.ended_run(run_id)
    assert run.status == S.RUN_STATUS_CANCELLED
    assert run.counts.batches == 1
    assert (await scene.starting.cancel(CancelRunRequest(run_id=run_id))).run.status == run.status


async def test_a_run_that_ended_cannot_be_cancelled(scene: Scene) -> None:
    run_id = (await scene.starting.start(start_of(), PUSH)).run.run_id
    await scene.ended_run(run_id)
    as_user("CancelRun")
    with pytest.raises(WorkspaceError) as caught:
        await scene.starting.cancel(CancelRunRequest(run_id=run_id))
    assert reason_of(caught) == "INVALID_STATE"


async def test_another_process_cancels_through_the_record(scene: Scene) -> None:
    go = held(scene, batches=3)
    run_id = (await scene.starting.start(start_of(), PUSH)).run.run_id
    await until_begun(scene)
    elsewhere = Scene(scene.kernel, scene.connected, Directed())
    await elsewhere.manager.close()  # it serves calls and works on nothing
    as_user("CancelRun")
    await elsewhere.starting.cancel(CancelRunRequest(run_id=run_id))
    worker = scene.manager._workers[run_id]
    await eventually(lambda: worker._cancelled)
    go.release()
    assert (await scene.ended_run(run_id)).status == S.RUN_STATUS_CANCELLED
    assert len(scene.directed.done) == 1


async def test_a_run_survives_a_crash_and_goes_on_with_its_counts(scene: Scene) -> None:
    go = held(scene, batches=3)
    run_id = (await scene.starting.start(start_of(), PUSH)).run.run_id
    await until_begun(scene)
    go.release()
    await eventually(lambda: len(scene.directed.done) == 1)
    worker = scene.manager._workers[run_id]
    await worker._save()
    await scene.crash()
    scene.restart()
    go.release()
    go.release()
    looking = asyncio.ensure_future(scene.manager.run())
    run = await scene.ended_run(run_id)
    looking.cancel()
    assert run.status == S.RUN_STATUS_SUCCEEDED
    assert scene.directed.begun == 2
    assert run.counts.batches == 3
    assert run.counts.records_done == run.counts.records_planned == 30


async def test_a_process_that_stops_leaves_the_run_to_the_next(scene: Scene) -> None:
    go = held(scene, batches=2)
    looking = asyncio.ensure_future(scene.manager.run())
    run_id = (await scene.starting.start(start_of(), PUSH)).run.run_id
    await until_begun(scene)
    looking.cancel()
    await asyncio.sleep(0.05)
    looking.cancel()  # an impatient process
    assert not looking.done(), "the batch is not cut"
    go.release()
    await asyncio.gather(looking, return_exceptions=True)
    run = await scene.run_of(run_id)
    assert run.status == S.RUN_STATUS_RUNNING
    assert run.counts.batches == 1
    scene.restart()
    go.release()
    await scene.manager.look()
    assert (await scene.ended_run(run_id)).status == S.RUN_STATUS_SUCCEEDED
    assert len(scene.directed.done) == 2, "no batch twice"


async def test_what_is_left_over_shows_in_the_outcome(scene: Scene) -> None:
    scene.left = True
    run_id = (await scene.starting.start(start_of(), PUSH)).run.run_id
    run = await scene.ended_run(run_id)
    assert run.status == S.RUN_STATUS_SUCCEEDED_WITH_ISSUES
    scene.left, scene.directed.conflicts, scene.directed.batches = False, 2, 2
    run_id = (await scene.starting.start(start_of(), PUSH)).run.run_id
    run = await scene.ended_run(run_id)
    assert run.status == S.RUN_STATUS_SUCCEEDED_WITH_ISSUES
    assert run.counts.conflicts == 2


async def test_a_failed_run_keeps_its_error(scene: Scene) -> None:
    scene.directed.error = WorkspaceError(
        Reason.ERROR_REASON_SURFACE_CHANGED, "another one", metadata={"connection_id": "c_a"}
    )
    run_id = (await scene.starting.start(start_of(), PUSH)).run.run_id
    run = await scene.ended_run(run_id)
    assert run.status == S.RUN_STATUS_FAILED
    assert run.error.message == "another one"
    assert ("c_a", True, False) in scene.connected.notes


@pytest.mark.parametrize("reason", ["SURFACE_CHANGED", "MASS_CHANGE", "INVALID_STATE"])
async def test_a_refusal_before_the_first_write_is_the_status_of_push(
    scene: Scene, reason: str
) -> None:
    number = Reason.Value(f"ERROR_REASON_{reason}")
    scene.directed.error = WorkspaceError(number, "not so", metadata={"count": "512"})
    as_user("Push")
    with pytest.raises(WorkspaceError) as caught:
        await collected(scene.watching.push(PushRequest(connection_id="c_a")))
    assert reason_of(caught) == reason
    assert caught.value.metadata == {"count": "512"}


async def test_a_later_error_is_in_the_last_message(scene: Scene) -> None:
    scene.directed.error = WorkspaceError(Reason.ERROR_REASON_STORAGE_FULL, "full")
    as_user("Pull")
    messages = await collected(scene.watching.pull(PullRequest(connection_id="c_a")))
    assert messages[-1].progress.run.status == S.RUN_STATUS_FAILED
    assert messages[-1].progress.run.error.message == "full"
    assert messages[-1].consistency_token


async def test_push_streams_and_resumes(scene: Scene) -> None:
    go = held(scene, batches=2)
    as_user("Push")
    request = PushRequest(connection_id="c_a", request_id=str(uuid.uuid4()))
    async with aclosing(scene.watching.push(request)) as stream:  # type: ignore[type-var]
        first = await anext(stream)
    assert first.progress.run.status == S.RUN_STATUS_RUNNING
    assert first.resume_token
    assert not first.consistency_token
    go.release()
    go.release()
    request.resume_token = first.resume_token
    messages = await collected(scene.watching.push(request))
    last = messages[-1].progress.run
    assert last.run_id == first.progress.run.run_id
    assert last.status == S.RUN_STATUS_SUCCEEDED
    assert messages[-1].consistency_token
    assert scene.directed.begun == 1
    request.resume_token = messages[-1].resume_token
    again = await collected(scene.watching.push(request))
    assert [each.progress.run.status for each in again] == [S.RUN_STATUS_SUCCEEDED]
    request.resume_token = ""
    replay = await collected(scene.watching.push(request))
    assert replay[-1].progress.run.run_id == last.run_id
    assert scene.directed.begun == 1


async def test_a_token_of_others_or_of_a_forgotten_run_is_lost(scene: Scene) -> None:
    as_user("Push")
    request = PushRequest(connection_id="c_a")
    messages = await collected(scene.watching.push(request))
    request.resume_token = messages[-1].resume_token
    as_user("Push", "u_bob")
    with pytest.raises(WorkspaceError) as caught:
        await collected(scene.watching.push(request))
    assert reason_of(caught) == "CURSOR_LOST"
    as_user("Push")
    run_id = messages[-1].progress.run.run_id
    await scene.history._drop(await record(scene, run_id))
    with pytest.raises(WorkspaceError) as caught:
        await collected(scene.watching.push(request))
    assert reason_of(caught) == "CURSOR_LOST"
    assert scene.directed.begun == 1


async def test_watching_tells_the_present_and_each_change(scene: Scene) -> None:
    go = held(scene)
    run_id = (await scene.starting.start(start_of(), PUSH)).run.run_id
    await until_begun(scene)
    as_user("WatchRun")
    request = WatchRunRequest(run_id=run_id)
    seen: list[RunStatus.ValueType] = []
    async for message in scene.watching.watch(request):
        seen.append(message.progress.run.status)
        go.release()
    assert seen[-1] == S.RUN_STATUS_SUCCEEDED
    assert S.RUN_STATUS_RUNNING in seen
    assert len(await collected(scene.watching.watch(request))) == 1
    with pytest.raises(WorkspaceError) as caught:
        await collected(scene.watching.watch(WatchRunRequest(run_id="r_none")))
    assert reason_of(caught) == "PERMISSION_DENIED"


@pytest.mark.case("Z22")
async def test_a_watch_tells_nothing_that_happened_after_the_right_ended(scene: Scene) -> None:
    go = held(scene, batches=2)
    run_id = (await scene.starting.start(start_of(), PUSH)).run.run_id
    await until_begun(scene)
    as_user("WatchRun")
    stream = scene.watching.watch(WatchRunRequest(run_id=run_id))
    assert (await anext(stream)).progress.run.run_id == run_id
    scene.connected.admin = False
    go.release()
    go.release()
    with pytest.raises(WorkspaceError) as caught:
        await anext(stream)
    assert reason_of(caught) == "PERMISSION_DENIED"
    scene.connected.admin = True
    await scene.ended_run(run_id)


async def test_runs_are_listed_newest_first_and_filtered(scene: Scene) -> None:
    ids = []
    for connection in ("c_a", "c_b", "c_a"):
        ids.append((await scene.starting.start(start_of(connection), PUSH)).run.run_id)
        await scene.ended_run(ids[-1])
    as_user("ListRuns")
    first = await scene.history.list(ListRunsRequest(page_size=2))
    assert [run.run_id for run in first.runs] == [ids[2], ids[1]]
    request = ListRunsRequest(page_size=2, page_token=first.next_page_token)
    rest = await scene.history.list(request)
    assert [run.run_id for run in rest.runs] == [ids[0]]
    assert not rest.next_page_token
    only = await scene.history.list(ListRunsRequest(connection_id="c_b"))
    assert [run.run_id for run in only.runs] == [ids[1]]
    none = await scene.history.list(ListRunsRequest(direction=PULL))
    assert list(none.runs) == []
    good = await scene.history.list(ListRunsRequest(status=S.RUN_STATUS_SUCCEEDED))
    assert len(good.runs) == 3
    with pytest.raises(WorkspaceError) as caught:
        await scene.history.list(ListRunsRequest(page_token=first.next_page_token, direction=PULL))
    assert reason_of(caught) == "INVALID_PAGE_TOKEN"


async def test_others_see_no_run(scene: Scene) -> None:
    run_id = (await scene.starting.start(start_of(), PUSH)).run.run_id
    await scene.ended_run(run_id)
    scene.connected.admin = False
    as_user("GetRun", "u_bob")
    for missing in (run_id, "r_none"):
        with pytest.raises(WorkspaceError) as caught:
            await scene.history.get(GetRunRequest(run_id=missing))
        said = caught.value.message.replace(missing, "-")
        assert said == "Permission 'sync' denied on 'runs/-' (or it might not exist)."
    assert list((await scene.history.list(ListRunsRequest())).runs) == []


async def test_history_is_trimmed_but_never_a_run_at_work(scene: Scene) -> None:
    ids = []
    for _ in range(3):
        ids.append((await scene.starting.start(start_of(), PUSH)).run.run_id)
        await scene.ended_run(ids[-1])
    settings = scene.kernel.settings.model_copy(update={"sync_history_runs": 1})
    object.__setattr__(scene.kernel, "settings", settings)
    assert await scene.history.trim("c_a") == 2
    as_user("ListRuns")
    assert [run.run_id for run in (await scene.history.list(ListRunsRequest())).runs] == ids[2:]


async def test_metrics_count_runs(scene: Scene) -> None:
    run_id = (await scene.starting.start(start_of(), PUSH)).run.run_id
    await scene.ended_run(run_id)
    scene.metrics.ended(scene.ended[0])
    labels = {"connection": "c_a", "direction": "push"}
    registry = scene.metrics.runs
    sample = {s.name: s.value for m in registry.collect() for s in m.samples}
    assert sample["workspace_sync_runs_total"] == 1
    written = {s.name: s.value for m in scene.metrics.records.collect() for s in m.samples
               if s.labels == labels}  # fmt: skip
    assert written["workspace_sync_records_total"] == 10
