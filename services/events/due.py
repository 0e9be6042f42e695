"""Work that is due at a time: expiry notices, retention, purges, interrupted sagas.

A row `DUE#{hour}#{shard}` says what is due; whoever finds it runs the handler
of its kind and takes the row away. Rows are hints that something must be
looked at: a handler reads the records and does what is right for their state,
so running one twice, or on two replicas at once, is harmless. Handlers of
different rows run at the same time. One that takes longer than a few seconds goes
on beside later runs, so that nothing waits for it.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Final

from services.model.errors import Reason, WorkspaceError
from services.model.times import hour_key, key_time
from services.records.port import (
    ABSENT,
    Condition,
    ConditionFailed,
    Index,
    Item,
    Key,
    Match,
    Put,
)
from services.records.store import RecordStore

__all__ = ["DueHandler", "DueWork"]

DueHandler = Callable[[str], Awaitable[float | None]]
"""Handles the subject of a row. Returns when (unix seconds) to look again, or
None when nothing is left to do. Raising keeps the row for a later try."""

_log = logging.getLogger("workspace.due")
_SHARDS: Final = 4
_WATERMARK: Final = Key("DUE", "WATERMARK")
_HOUR: Final = timedelta(hours=1)
_PAGE: Final = 32
"""Rows that are handled at once."""
_TRIES: Final = 10
_PATIENCE_SECONDS: Final = 5.0
_MOST_AT_WORK: Final = 128
"""Handlers that go on beside later runs; with more the runs wait for them."""
_GONE_AFTER_SECONDS: Final = 3600
_RETRY_SECONDS: Final = 60


class DueWork:
    """Schedules and runs due work. `now` is unix seconds."""

    def __init__(self, records: RecordStore, *, now: Callable[[], float]) -> None:
        self._records = records
        self._now = now
        self._at_work: dict[Key, asyncio.Task[bool]] = {}

    async def schedule(self, kind: str, subject: str, at: float) -> None:
        """Have `kind` look at `subject` at unix time `at` (or soon, when that has
        passed). Idempotent. Call it before the effect that needs it: a row
        without effect is dropped, an effect without row would be forgotten."""
        now = datetime.fromtimestamp(self._now(), UTC)
        due = max(datetime.fromtimestamp(at, UTC), now)
        await self._advance(_floor(now) - _HOUR, first=True)
        body = json.dumps({"kind": kind, "subject": subject})
        key = _key(due, kind, subject)
        condition: Condition = ABSENT
        for _ in range(_TRIES):
            try:
                await self._records.put_row(Put(key, condition, "due", body))
            except ConditionFailed:
                # A row that was handled is due again. One that is there is written
                # anew: who handles it now may not take it away for this call too.
                item = await self._records.get_row(key)
                condition = Match(item.token) if item else ABSENT
            else:
                return
        raise WorkspaceError(
            Reason.ERROR_REASON_CONFLICTING_WRITE,
            "the same work is being scheduled too often at once; repeat the call",
        )

    async def run(self, handlers: Mapping[str, DueHandler]) -> int:
        """Run everything that is due now; returns how many rows were handled. When
        it is cancelled, so are all handlers."""
        try:
            return await self._run(handlers)
        except asyncio.CancelledError:
            await self.close()
            raise

    async def close(self) -> None:
        """Cancel the handlers that are at work. Their rows stay."""
        tasks = list(self._at_work.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _run(self, handlers: Mapping[str, DueHandler]) -> int:
        now = datetime.fromtimestamp(self._now(), UTC)
        hour = await self._watermark()
        if hour is None:
            return 0
        # Nothing is scheduled in the past, and the clocks of replicas differ by
        # less than an hour: older hours are done once they are empty.
        done, handled = _floor(now) - _HOUR, 0
        while hour <= now:
            async for items in self._rows(hour, now):
                done_of = await self._page(items, handlers)
                handled += sum(done_of)
                if not all(done_of):
                    done = min(done, hour)
            hour += _HOUR
        await self._advance(done)
        return handled

    async def _rows(self, hour: datetime, now: datetime) -> AsyncIterator[list[Item]]:
        for shard in range(_SHARDS):
            after: str | None = None
            while True:
                page = await self._records.run(
                    Index.BASE, _partition(hour, shard), lower="",
                    upper=key_time(now + timedelta(microseconds=1)), limit=_PAGE, after=after,
                )
                yield [item for item in page.items if not item.deleted]
                after = page.next
                if after is None:
                    break

    async def _page(
        self, items: Sequence[Item], handlers: Mapping[str, DueHandler]
    ) -> list[bool]:
        """Which of the rows were handled; those that still are were not."""
        begun = [self._begin(i, handlers) for i in items if i.key not in self._at_work]
        if begun:
            full = len(self._at_work) > _MOST_AT_WORK
            await asyncio.wait(begun, timeout=None if full else _PATIENCE_SECONDS)
        done = [task.result() for task in begun if task.done()]
        return done + [False] * (len(items) - len(done))

    def _begin(self, item: Item, handlers: Mapping[str, DueHandler]) -> asyncio.Task[bool]:
        task = asyncio.ensure_future(self._handle(item, handlers))
        self._at_work[item.key] = task
        task.add_done_callback(lambda _: self._ended(item.key, task))
        return task

    def _ended(self, key: Key, task: asyncio.Task[bool]) -> None:
        """Nobody may be waiting for it any more; then its row is met again."""
        del self._at_work[key]
        if not task.cancelled() and (error := task.exception()) is not None:
            _log.warning("due work waits: %s", type(error).__name__)

    async def _handle(self, item: Item, handlers: Mapping[str, DueHandler]) -> bool:
        row = json.loads(item.body)
        handler = handlers.get(row["kind"])
        if handler is None:
            return False  # of a service that another process runs
        try:
            again = await handler(row["subject"])
        except Exception:
            _log.exception("due work failed; it is tried again", extra={"kind": row["kind"]})
            again = self._now() + _RETRY_SECONDS
        if again is not None:
            await self.schedule(row["kind"], row["subject"], again)
        await self._remove(item)
        return True

    async def _remove(self, item: Item) -> None:
        """Take the row away, unless it was scheduled anew meanwhile."""
        expires = int(self._now()) + _GONE_AFTER_SECONDS
        try:
            await self._records.put_row(
                Put(item.key, Match(item.token), "due", item.body, deleted=True, expires_at=expires)
            )
        except ConditionFailed:
            return

    async def _watermark(self) -> datetime | None:
        """The first hour that may still hold rows; None if nothing ever did."""
        item = await self._records.get_row(_WATERMARK)
        return _hour_of(item) if item else None

    async def _advance(self, hour: datetime, *, first: bool = False) -> None:
        """Move the watermark up to `hour`; with `first` only set one."""
        item = await self._records.get_row(_WATERMARK)
        if item is not None and (first or _hour_of(item) >= hour):
            return
        body = json.dumps({"hour": hour.isoformat()})
        condition = Match(item.token) if item else ABSENT
        try:
            await self._records.put_row(Put(_WATERMARK, condition, "due", body))
        except ConditionFailed:
            return  # another replica did


def _key(due: datetime, kind: str, subject: str) -> Key:
    shard = hashlib.sha256(f"{kind}#{subject}".encode()).digest()[0] % _SHARDS
    return Key(_partition(due, shard), f"{key_time(due)}#{kind}#{subject}")


def _partition(hour: datetime, shard: int) -> str:
    return f"DUE#{hour_key(hour)}#{shard}"


def _hour_of(item: Item) -> datetime:
    return datetime.fromisoformat(json.loads(item.body)["hour"])


def _floor(moment: datetime) -> datetime:
    return moment.replace(minute=0, second=0, microsecond=0)
