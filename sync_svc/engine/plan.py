"""The plan of a run: what it would do now, line by line, by the same code and with
nothing written. Equal records are left out; a line KEEP says that the target stays as
it is although the source differs."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from dataclasses import replace

from workspace.sync.v1.plan_pb2 import PlannedOperation, PlanSummary

from services.model.errors import Reason, WorkspaceError
from services.records.port import Key
from sync_svc.engine.batches import Batch
from sync_svc.engine.guard import ENOUGH_RECORDS, Count
from sync_svc.engine.matching import Judged
from sync_svc.engine.objects.needed import NeededObject, Presence
from sync_svc.engine.operations import Operation, waiting
from sync_svc.engine.parts import Parts
from sync_svc.engine.pipeline import Pipeline, Source
from sync_svc.engine.task import Task
from sync_svc.engine.wiring import run_parts

__all__ = ["Plan", "plan"]


def plan(task: Task) -> Plan:
    """The plan of this run: `async for line in plan(task)`, then its `summary()`."""
    return Plan(task, run_parts(task))


class Plan:
    """Made while it is iterated over; `summary` is complete when that has ended."""

    def __init__(self, task: Task, parts: Parts) -> None:
        self._task = task
        self._mover = parts.mover
        self._pipeline = Pipeline(task, parts)
        self._count = Count()
        self._full = False

    def __aiter__(self) -> AsyncIterator[PlannedOperation]:
        return self.operations()

    async def operations(self) -> AsyncIterator[PlannedOperation]:
        """Lines in the order of the run. Raises SURFACE_CHANGED, INVALID_STATE, Stopped
        and what the stores raise."""
        source = await self._pipeline.looked()
        async for batch in self._batches(source):
            self._task.check()
            if not batch.rows:
                continue
            _, done = await self._pipeline.judged(batch, preview=True)
            for each in await self._with_objects(done):
                self._count.add(each)
                yield each.line

    async def summary(self) -> PlanSummary:
        """The sum, and what the guard says."""
        count = self._count
        verdict = await self._pipeline.verdict(count, counted=ENOUGH_RECORDS)
        done = PlanSummary()
        done.CopyFrom(count.summary)
        done.guarded_changes, done.guard_limit = verdict.changes, verdict.limit
        done.needs_force = not verdict.passes
        done.full_reconcile = self._full
        return done

    async def _batches(self, source: Source) -> AsyncIterator[Batch]:
        self._full = source.full
        try:
            async for batch in self._pipeline.batches(source):
                yield batch
        except WorkspaceError as error:
            if source.full or error.reason != Reason.ERROR_REASON_CURSOR_LOST:
                raise
            self._full = True
            async for batch in self._pipeline.batches(Source(full=True)):
                yield batch

    async def _with_objects(self, done: Judged) -> list[Operation]:
        needed = await self._mover.needed(self._task, done.incoming, there=done.before)
        found = await self._mover.survey(self._task, needed)
        held = found.gated if self._pipeline.is_push else set()
        by_record = _by_record(needed)
        lines: list[Operation] = []
        for key, each in done.operations.items():
            lines.append(waiting(each) if key in held else _carrying(each, by_record.get(key, ())))
        return lines


def _by_record(needed: Sequence[NeededObject]) -> dict[Key, list[NeededObject]]:
    found: dict[Key, list[NeededObject]] = {}
    for each in needed:
        found.setdefault(each.record_key, []).append(each)
    return found


def _carrying(done: Operation, needed: Sequence[NeededObject]) -> Operation:
    moving = [each for each in needed if each.presence is Presence.ABSENT]
    if not moving:
        return done
    line = PlannedOperation()
    line.CopyFrom(done.line)
    line.objects, line.bytes = len(moving), sum(each.size or 0 for each in moving)
    return replace(done, line=line)
