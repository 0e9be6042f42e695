"""One direction of a connection, from preflight to cursor.

    preflight -> keys to look at -> rows of both sides -> screening -> guard ->
    objects -> records -> cursor

The cursor comes last and never passes what is not durable, so a run may be cut off
at any point: its successor repeats a batch at most, and finds it done.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass, replace

from workspace.sync.v1.run_pb2 import RunPhase, SyncDirection

from services.model.errors import Reason, WorkspaceError
from services.records.port import Key
from services.records.siblings import Rows
from sync_svc.engine.applying import Applier
from sync_svc.engine.batches import BATCH_KEYS, Batch, changed
from sync_svc.engine.guard import Count, Verdict, count_records, judged, mass_change
from sync_svc.engine.matching import Judged, Matched, judge, match
from sync_svc.engine.parents import Ancestors
from sync_svc.engine.parts import Parts
from sync_svc.engine.phases import phase
from sync_svc.engine.reading import read_rows
from sync_svc.engine.reconcile import differing, has_records
from sync_svc.engine.scope import Scope, filter_hash
from sync_svc.engine.selection import Filter, selected
from sync_svc.engine.sync_state import SyncState, SyncStates
from sync_svc.engine.task import Task

__all__ = ["Pipeline", "Source"]

_WEEK_MS = 7 * 86_400_000
_PUSH = SyncDirection.SYNC_DIRECTION_PUSH


@dataclass(frozen=True, slots=True)
class Source:
    """Where the keys come from: the feed after `cursor`, or everything (`full`), in
    which case `tail` is the cursor to go on from afterwards."""

    cursor: str = ""
    full: bool = False
    tail: str = ""


class Pipeline:
    """The work of one run, and of the plan of one. `is_push`: its direction."""

    def __init__(self, task: Task, parts: Parts) -> None:
        self._task = task
        self._parts = parts
        self.is_push = task.direction == _PUSH
        stores = (task.local.records, task.remote.records)
        self._scope = Scope(task.connection, task.options, stores)
        self._states = SyncStates(task.local.records)
        self._applier = Applier(task, parts)
        self._moved_in = False
        self._is_planned = False
        self._arrived: set[Key] = set()

    async def looked(self) -> Source:
        """Where a run would begin now; nothing is written."""
        state = await self._states.load(self._task.connection.connection_id)
        checked = await self._parts.checks.look(self._task, state)
        return await self.source(state, full=checked.full_reconcile)

    async def run(self) -> None:
        """Do it. Raises WorkspaceError, and Stopped between batches."""
        task = self._task
        with phase(task, RunPhase.RUN_PHASE_PREFLIGHT):
            state = await self._states.load(task.connection.connection_id)
            checked = await self._parts.checks.preflight(task, state)
            state = await self._states.load(task.connection.connection_id)
        if not (state.last_push_ms if self.is_push else state.last_pull_ms):
            self._applier.first_contact()
        with phase(task, RunPhase.RUN_PHASE_OBJECTS):
            await self._parts.mover.fetch_pending(task)
        source = await self.source(state, full=checked.full_reconcile)
        try:
            state = await self._work(source, state)
        except WorkspaceError as error:
            if source.full or error.reason != Reason.ERROR_REASON_CURSOR_LOST:
                raise
            if not self.is_push:
                # The surface was rolled back: what came from it may be missing there now,
                # and a push of changes alone would take it for known.
                state = replace(state, push_cursor="", push_reconciled_ms=0)
            source = await self.source(state, full=True)
            state = await self._work(source, state)
        if self._moved_in and not source.full:
            state = await self._work(await self.source(state, full=True), state)
        with phase(task, RunPhase.RUN_PHASE_CURSOR):
            await self._parts.mover.settle(task, self._arrived)
            if not self.is_push:
                await self._parts.checks.acknowledge(task)
            await self._finished()

    async def source(self, state: SyncState, *, full: bool) -> Source:
        """Where to begin: after the cursor, or with everything when that is asked for
        or the cursor does not stand for what is in scope now."""
        task, now = self._task, self._task.now_ms()
        cursor = state.push_cursor if self.is_push else state.pull_cursor
        covers = state.push_filter if self.is_push else state.pull_filter
        done = state.push_reconciled_ms if self.is_push else state.pull_reconciled_ms
        full = full or task.options.full_reconcile or not cursor or now - done > _WEEK_MS
        if full or covers != filter_hash(task.connection):
            task.tally.full_reconcile = True
            return Source(full=True, tail=await task.source.records.tail())
        return Source(cursor)

    async def batches(self, source: Source) -> AsyncIterator[Batch]:
        """What to look at, from the beginning."""
        task = self._task
        ancestors = Ancestors(
            task.source.records, there=None if self.is_push else task.local.records
        )
        skipped = task.remote.instance.instance_id if self.is_push and not source.full else ""
        which = Filter(self._scope, foreign=not self.is_push, origin=skipped)
        read = differing(task, self._scope) if source.full else changed(
            task.source.records, source.cursor
        )
        async for batch in selected(self._with_waiting(read), which, ancestors):
            yield batch

    async def judged(self, batch: Batch, *, preview: bool) -> tuple[Matched, Judged]:
        """A batch with what the target has, and what is to be done."""
        matched = await match(self._task, batch.rows)
        return matched, await judge(self._task, self._parts.intake, matched, preview=preview)

    async def verdict(self, count: Count, *, counted: int = 0) -> Verdict:
        """What the guard says; reads of the target only what it needs, or as much as
        it takes to find `counted` records."""
        most = max(count.needs_records, counted)
        target = self._task.target.records
        records = await count_records(target, self._scope, most) if most else 0
        return judged(count, records)

    async def _work(self, source: Source, state: SyncState) -> SyncState:
        task = self._task
        checked: Matched | None = None
        free = await self._is_free(source)
        batches = self.batches(source)
        first, self._is_planned = True, False
        while True:
            with phase(task, RunPhase.RUN_PHASE_SCAN):
                batch = await anext(batches, None)
            if batch is None:
                break
            task.check()
            if first and not free:
                checked = await self._guard(source, batch)
            first = False
            if batch.rows:
                await self._apply(batch, checked)
            checked = None
            if batch.cursor:
                state = await self._advance(state, batch.cursor)
        if source.tail:
            state = await self._advance(state, source.tail, reconciled=True)
        return state

    async def _is_free(self, source: Source) -> bool:
        """Nothing at the target can be lost, or the caller said that it may."""
        if self._task.options.force:
            return True
        return source.full and not await has_records(self._task.target.records)

    async def _guard(self, source: Source, first: Batch) -> Matched | None:
        """Count the whole run before its first write. A run of one batch is judged by
        what was read anyway, and that is returned to be used again."""
        with phase(self._task, RunPhase.RUN_PHASE_GUARD):
            count = Count()
            if first.last:
                matched = await self._counted(first, count)
                await self._pass(count)
                return matched
            planned = 0
            async for batch in self.batches(source):
                self._task.check()
                await self._counted(batch, count)
                planned += len(batch.rows)
            await self._pass(count)
        self._task.tally.counts.records_planned += planned
        self._is_planned = True
        return None

    async def _counted(self, batch: Batch, count: Count) -> Matched | None:
        if not batch.rows:
            return None
        matched, done = await self.judged(batch, preview=True)
        for each in done.operations.values():
            count.add(each)
        return matched

    async def _pass(self, count: Count) -> None:
        verdict = await self.verdict(count)
        if not verdict.passes:
            raise mass_change(verdict)

    async def _apply(self, batch: Batch, matched: Matched | None) -> None:
        task = self._task
        if not self._is_planned:
            task.tally.counts.records_planned += len(batch.rows)
        with phase(task, RunPhase.RUN_PHASE_RECORDS):
            matched = matched or await match(task, batch.rows)
            done = await judge(task, self._parts.intake, matched, preview=False)
        source = {each.key: each for each in batch.rows}
        self._notice(source, matched)
        await self._applier.apply(done, source)

    def _notice(self, source: dict[Key, Rows], matched: Matched) -> None:
        for key, rows in source.items():
            if rows.item and self._scope.moved_in(matched.known[key].item, rows.item):
                self._moved_in = True

    async def _with_waiting(self, read: AsyncIterator[Batch]) -> AsyncIterator[Batch]:
        """On a push, records that an earlier one held back for their objects go first:
        nothing but their bytes has changed, so no feed tells of them."""
        keys = await self._parts.mover.waiting(self._task) if self.is_push else []
        rows: list[Rows] = []
        for at in range(0, len(keys), BATCH_KEYS):
            if rows:
                yield Batch(rows)
            rows = await read_rows(self._task.local.records, keys[at : at + BATCH_KEYS])
            self._arrived |= {each.key for each in rows if self._is_there(each)}
        async for batch in read:
            there = {each.key for each in batch.rows}
            rows = [each for each in rows if each.key not in there]
            yield replace(batch, rows=[*rows, *batch.rows])
            rows = []

    def _is_there(self, rows: Rows) -> bool:
        origin = f'"o":"{self._task.remote.instance.instance_id}"'
        return rows.item is None or origin in rows.item.stamp

    async def _advance(
        self, state: SyncState, cursor: str, *, reconciled: bool = False
    ) -> SyncState:
        """Remember how far this direction is. A run of some projects only does not.
        While something moved into the scope and is not sought yet, the cursor stands
        for nothing: a run that is cut off now is followed by one of everything."""
        if self._task.options.project_ids:
            return state
        seeking = self._moved_in and not reconciled
        now, covers = self._task.now_ms(), filter_hash(self._task.connection)
        covers = "" if seeking else covers
        with phase(self._task, RunPhase.RUN_PHASE_CURSOR):
            if self.is_push:
                state = replace(state, push_cursor=cursor, push_filter=covers)
                state = replace(state, push_reconciled_ms=now) if reconciled else state
            else:
                state = replace(state, pull_cursor=cursor, pull_filter=covers)
                state = replace(state, pull_reconciled_ms=now) if reconciled else state
            return await self._states.store(state)

    async def _finished(self) -> None:
        if self._task.options.project_ids:
            return
        now = self._task.now_ms()
        state = await self._states.load(self._task.connection.connection_id)
        if self.is_push:
            state = replace(state, last_push_ms=now)
        else:
            state = replace(state, last_pull_ms=now)
        in_step = min(state.last_push_ms, state.last_pull_ms)
        await self._states.store(replace(state, in_step_ms=in_step))
