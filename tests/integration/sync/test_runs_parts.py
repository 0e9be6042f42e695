"""Parts of runs by themselves: rates, plans that are kept, health, answers that continue."""

from __future__ import annotations

import asyncio

import pytest
from workspace.sync.v1.connection_pb2 import ConnectionStatus
from workspace.sync.v1.plan_pb2 import PlannedOperation
from workspace.sync.v1.run_pb2 import Progress, Run, RunCounts, RunPhase, RunStatus
from workspace.sync.v1.status_pb2 import ConnectionSyncStatus, SyncHealth

from services.model.errors import Reason, WorkspaceError
from services.rpc.errors import to_status
from sync_svc.engine.task import Tally
from sync_svc.runs.continued import Continued
from sync_svc.runs.leftovers import Left
from sync_svc.runs.meter import Meter
from sync_svc.runs.plans import Plan, Plans
from sync_svc.runs.states import refusal, summed, with_progress
from sync_svc.runs.status import health_of, worst

RED, YELLOW = SyncHealth.SYNC_HEALTH_RED, SyncHealth.SYNC_HEALTH_YELLOW
GREEN, GREY = SyncHealth.SYNC_HEALTH_GREEN, SyncHealth.SYNC_HEALTH_GREY
DAY = 86_400


class Clock:
    def __init__(self) -> None:
        self.seconds = 1000.0

    def __call__(self) -> float:
        return self.seconds


def test_rates_and_the_time_left_come_from_the_last_seconds() -> None:
    clock, tally = Clock(), Tally()
    meter = Meter(tally, before=None, now=clock, monotonic=clock)
    tally.counts.records_planned, tally.counts.bytes_planned = 100, 4000
    assert not meter.sample().HasField("remaining")
    clock.seconds += 2
    tally.counts.records_done, tally.counts.bytes_done = 20, 1000
    progress = meter.sample()
    assert (progress.records_per_second, progress.bytes_per_second) == (10, 500)
    assert progress.remaining.seconds == 8
    clock.seconds += 60
    meter.sample()
    stalled = meter.sample()
    assert stalled.records_per_second < 1


def test_a_run_that_goes_on_keeps_its_beginning_times_and_counts() -> None:
    clock, tally = Clock(), Tally()
    first = Meter(tally, before=None, now=clock, monotonic=clock)
    tally.phase = RunPhase.RUN_PHASE_RECORDS
    tally.seconds[RunPhase.RUN_PHASE_RECORDS] = 3.0
    tally.counts.records_planned, tally.counts.records_done = 100, 40
    before = first.sample()
    clock.seconds += 50
    again = Tally(seconds={RunPhase.RUN_PHASE_RECORDS: 2.0})
    again.counts.records_planned, again.counts.records_done = 60, 10
    later = Meter(again, before=before, now=clock, monotonic=clock).sample()
    assert later.run.started_at == before.run.started_at
    assert later.run.counts.records_planned == 100
    assert later.run.counts.records_done == 50
    assert [t.duration.seconds for t in later.run.timings] == [5]


def test_what_is_planned_is_kept_until_the_rest_is_planned_anew() -> None:
    before = RunCounts(records_planned=100, records_done=40)
    assert summed(before, RunCounts()).records_planned == 100
    assert summed(before, RunCounts(records_planned=30)).records_planned == 70


def test_progress_is_shown_over_a_run_at_work_and_never_over_its_end() -> None:
    progress = Progress(run=Run(counts=RunCounts(records_done=7)), records_per_second=3)
    queued = with_progress(Run(run_id="r", status=RunStatus.RUN_STATUS_QUEUED), progress)
    assert queued.run.status == RunStatus.RUN_STATUS_RUNNING
    assert queued.run.counts.records_done == 7
    cancelling = with_progress(Run(status=RunStatus.RUN_STATUS_CANCELLING), progress)
    assert cancelling.run.status == RunStatus.RUN_STATUS_CANCELLING
    ended = with_progress(Run(status=RunStatus.RUN_STATUS_SUCCEEDED), progress)
    assert ended.run.counts.records_done == 0


def failed(reason: str, **counts: int) -> Run:
    error = WorkspaceError(Reason.Value(f"ERROR_REASON_{reason}"), "no", metadata={"a": "b"})
    return Run(
        status=RunStatus.RUN_STATUS_FAILED, error=to_status(error, "r"), counts=RunCounts(**counts)
    )


def test_only_an_early_documented_error_is_the_status_of_the_call() -> None:
    early = refusal(failed("MASS_CHANGE"))
    assert early is not None
    assert (early.reason, early.metadata) == (Reason.ERROR_REASON_MASS_CHANGE, {"a": "b"})
    assert refusal(failed("MASS_CHANGE", records_written=1)) is None
    assert refusal(failed("BACKEND_UNAVAILABLE", objects_done=1)) is None
    assert refusal(failed("STORAGE_FULL")) is None
    assert refusal(Run(status=RunStatus.RUN_STATUS_SUCCEEDED)) is None


def line(number: int) -> PlannedOperation:
    return PlannedOperation(name=f"line {number}", objects=number)


def test_a_plan_gives_any_page_of_its_lines() -> None:
    plan = Plan()
    for number in range(100):
        plan.add(line(number))
    assert len(plan) == 100
    assert plan.page(0, 2) == [line(0), line(1)]
    assert plan.page(98, 50) == [line(98), line(99)]
    assert plan.page(100, 5) == []
    plan.add(line(100))
    assert plan.page(100, 5) == [line(100)]
    plan.close()


def test_plans_go_by_age_and_by_number() -> None:
    clock = Clock()
    plans = Plans(kept_seconds=60, most=2, monotonic=clock)
    plans.keep("a", Plan())
    clock.seconds += 50
    assert plans.find("a") is not None
    clock.seconds += 50
    assert plans.find("a") is not None, "its last use counts"
    plans.keep("b", Plan())
    plans.keep("c", Plan())
    assert plans.find("a") is None
    clock.seconds += 61
    assert plans.find("c") is None
    plans.close()


async def test_an_answer_is_made_on_when_its_caller_is_gone() -> None:
    continued, go, made = Continued[int](), asyncio.Event(), 0

    async def make() -> int:
        nonlocal made
        made += 1
        await go.wait()
        return made

    first = asyncio.ensure_future(continued.get("k", make))
    await asyncio.sleep(0)
    first.cancel()
    await asyncio.gather(first, return_exceptions=True)
    go.set()
    assert await continued.get("k", make) == 1
    assert await continued.get("k", make) == 2, "given once"


async def test_an_error_is_given_once_and_then_tried_again() -> None:
    continued, tries = Continued[int](), 0

    async def make() -> int:
        nonlocal tries
        tries += 1
        if tries == 1:
            raise KeyError("k")
        return tries

    with pytest.raises(KeyError):
        await continued.get("k", make)
    assert await continued.get("k", make) == 2


def status(**fields: object) -> ConnectionSyncStatus:
    made = ConnectionSyncStatus(connection_status=ConnectionStatus.CONNECTION_STATUS_ACTIVE)
    made.last_push.run_id = "r_1"
    made.last_push.status = RunStatus.RUN_STATUS_SUCCEEDED
    for name, value in fields.items():
        setattr(made, name, value)
    return made


def test_health_at_a_glance() -> None:
    nothing = Left()
    assert health_of(status(), nothing) == GREEN
    for left in (Left(conflicts=1), Left(quarantined=1), Left(pending=1)):
        assert health_of(status(), left) == YELLOW
    late = status()
    late.pull_lag.seconds = DAY + 1
    assert health_of(late, nothing) == YELLOW
    broken = status()
    broken.last_push.status = RunStatus.RUN_STATUS_FAILED
    assert health_of(broken, Left(conflicts=1)) == RED
    changed = ConnectionStatus.CONNECTION_STATUS_SURFACE_CHANGED
    assert health_of(status(connection_status=changed), nothing) == RED
    paused = ConnectionStatus.CONNECTION_STATUS_PAUSED
    broken.connection_status = paused
    assert health_of(broken, nothing) == GREY
    never = ConnectionSyncStatus(connection_status=ConnectionStatus.CONNECTION_STATUS_ACTIVE)
    assert health_of(never, nothing) == GREY


def test_the_worst_health_is_that_of_all() -> None:
    assert worst([GREY, GREEN, YELLOW, RED]) == RED
    assert worst([GREEN, GREY]) == GREEN
    assert worst([]) == GREY
