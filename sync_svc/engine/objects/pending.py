"""What is still to come, and what waits for it, from run to run."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Sequence

from services.model.versions import State
from services.records.pending_bytes import PendingBytes, PendingObject
from services.records.port import Key
from services.records.replica import Incoming
from sync_svc.engine.objects.copying import look
from sync_svc.engine.objects.needed import (
    Fault,
    Moved,
    NeededObject,
    Presence,
    named_objects,
)
from sync_svc.engine.objects.parallel import in_parallel
from sync_svc.engine.task import Task
from sync_svc.surfaces.surface import Surface

__all__ = ["Bring", "Pending", "expect_objects"]

_NEW_MS = 3_600_000

Bring = Callable[[NeededObject], Awaitable[Fault | None]]
"""Has an object here if the remote surface has it; what hinders it otherwise."""


class Pending:
    """Rows of `services/records/pending_bytes.py`, as the runs of one connection see
    them. They lie in the local store."""

    def __init__(self, *, concurrency: int) -> None:
        self._concurrency = concurrency
        self._held: dict[Key, list[PendingObject]] = {}

    async def mark(self, task: Task, moved: Moved, *, direction: str) -> None:
        """Note the objects whose absence was met. A key with other bytes is a matter
        of quarantine, not of time."""
        rows = [
            _row(task, each, fault, direction)
            for each, fault in moved.faults.items()
            if fault is not Fault.MISMATCH
        ]
        if rows:
            await PendingBytes(task.local.records).put(rows)

    async def waiting(self, task: Task) -> list[Key]:
        """Records that a push over this connection held back."""
        rows = PendingBytes(task.local.records)
        self._held = {}
        async for page in rows.of_connection(task.connection.connection_id):
            for each in page:
                if each.direction == "push":
                    self._held.setdefault(each.record, []).append(each)
        return list(self._held)

    async def settle(self, task: Task, through: Iterable[Key]) -> None:
        """These records need not wait any more, as far as `waiting` told of them."""
        done = [row for key in sorted(through) for row in self._held.pop(key, [])]
        if done:
            await PendingBytes(task.local.records).remove(done, now_ms=task.now_ms())

    async def fetch(self, task: Task, bring: Bring) -> int:
        """Try everything that is to come here; how many objects did."""
        rows, came = PendingBytes(task.local.records), 0
        async for page in rows.all():
            pulls = [each for each in page if _may_come(each, task)]
            gone = await self._unnamed(task, pulls)
            await rows.remove(gone, now_ms=task.now_ms())
            pulls = [each for each in pulls if each not in gone]
            here: list[PendingObject] = []
            still: list[PendingObject] = []

            async def one(
                row: PendingObject,
                here: list[PendingObject] = here,
                still: list[PendingObject] = still,
            ) -> None:
                task.check()
                fault = await bring(_needed(row))
                (still if fault else here).append(row)

            await in_parallel(pulls, one, concurrency=self._concurrency)
            await rows.remove(here, now_ms=task.now_ms())
            for connection in sorted({each.connection_id for each in still}):
                await rows.put([each for each in still if each.connection_id == connection])
            came += len(here)
        return came

    async def _unnamed(
        self, task: Task, rows: Sequence[PendingObject]
    ) -> list[PendingObject]:
        """Those that their record names no more. A new row may be there before its
        record is."""
        old = [each for each in rows if each.since_ms + _NEW_MS < task.now_ms()]
        keys = list({each.record for each in old})
        found = await task.local.replica.states(keys) if keys else []
        states = dict(zip(keys, found, strict=True))
        return [each for each in old if not _names(states[each.record], each)]


async def expect_objects(
    surface: Surface, incoming: Sequence[Incoming], *, connection_id: str, now_ms: int
) -> int:
    """Before states are joined here without a run (a held version is taken): note the
    objects of theirs that are not here, for the next run to bring; how many."""
    missing = [
        _pending(needed, Fault.MISSING, "pull", connection_id, now_ms)
        for each in incoming
        for needed in named_objects(each.key, each.state)
        if needed.required and await look(surface.objects, needed) is Presence.ABSENT
    ]
    if missing:
        await PendingBytes(surface.records).put(missing)
    return len(missing)


def _names(state: State | None, row: PendingObject) -> bool:
    named = named_objects(row.record, state) if state is not None else []
    return any(each.identity == (row.storage_key, row.sha256) for each in named)


def _may_come(row: PendingObject, task: Task) -> bool:
    """What has no checksum is taken only from where its record came."""
    ours = row.connection_id == task.connection.connection_id
    return row.direction == "pull" and (bool(row.sha256) or ours)


def _row(task: Task, needed: NeededObject, fault: Fault, direction: str) -> PendingObject:
    connection = task.connection.connection_id
    return _pending(needed, fault, direction, connection, task.now_ms())


def _pending(
    needed: NeededObject, fault: Fault, direction: str, connection_id: str, now_ms: int
) -> PendingObject:
    return PendingObject(
        connection_id=connection_id,
        direction=direction,
        pk=needed.record_key.pk,
        sk=needed.record_key.sk,
        storage_key=needed.key,
        size=needed.size,
        sha256=needed.sha256,
        content_type=needed.content_type,
        fault=fault.value,
        since_ms=now_ms,
    )


def _needed(row: PendingObject) -> NeededObject:
    return NeededObject(row.storage_key, row.size, row.sha256, row.record, row.content_type)
