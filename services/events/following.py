"""Followers of the change feed: what a service derives from records that changed.

A record also changes by sync: without the service's use cases and without an event of
this instance. A follower names what is to be looked at (a kind of due work and its
subject) and has the handler of that due work look at once; what fails, or has to be
looked at again, becomes due work. The cursor is written afterwards, so that a process
that dies repeats a little. Handlers read the records and do what is right for their
state: replicas may follow side by side, and the feed may be read from its beginning.
"""

from __future__ import annotations

import asyncio
import json
import logging
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import aclosing

from services.events.due import DueHandler
from services.events.feed import Batch
from services.kernel import Kernel
from services.model.errors import Reason, WorkspaceError
from services.model.families import FAMILIES
from services.model.stamp import Stamp
from services.records.port import ABSENT, ConditionFailed, Item, Key, Match, Put
from services.rpc.context import set_current_call

__all__ = ["Follower", "Subjects", "came_from_elsewhere"]

Subjects = Callable[[Sequence[Item]], Iterable[tuple[str, str]]]
"""What changed rows give to look at: pairs of a kind of due work and a subject."""

_AT_ONCE = 8
_ROWS_A_CURSOR = 5_000
_SAVE_SECONDS = 2.0
_PAUSE_SECONDS = 1.0
_RETRY_SECONDS = 60.0
_log = logging.getLogger("workspace.following")


def came_from_elsewhere(item: Item, actor: str) -> bool:
    """Whether others than `actor` (who writes here) had a part in what the row of a
    record shows. Their part stays visible under later writes of this store."""
    if item.family not in FAMILIES:
        return False
    stamp = Stamp.load(item.stamp)
    return bool(stamp.siblings) or any(each != actor for each in stamp.vv)


class Follower:
    """See the module. `name` names its cursor row; never change it. `handlers` has the
    handler of every kind that `subjects` gives."""

    def __init__(
        self,
        kernel: Kernel,
        *,
        name: str,
        subjects: Subjects,
        handlers: Mapping[str, DueHandler],
    ) -> None:
        self._kernel = kernel
        self._records = kernel.records
        self._key = Key(f"FOLLOW#{name}", "CURSOR")
        self._name = name
        self._subjects = subjects
        self._handlers = handlers
        self._passed = 0
        self._found = False
        self._saved_at = 0.0

    async def run(self) -> None:
        """Follow until cancelled."""
        set_current_call(None)
        while True:
            try:
                await self._follow()
            except WorkspaceError as error:
                if error.reason == Reason.ERROR_REASON_CURSOR_LOST:
                    await self._save(None)
                else:
                    _log.warning("%s waits: %s", self._name, Reason.Name(error.reason))
                    await asyncio.sleep(_PAUSE_SECONDS)
            except Exception:
                _log.exception("%s failed; it goes on from its last cursor", self._name)
                await asyncio.sleep(_PAUSE_SECONDS)

    async def _follow(self) -> None:
        async with aclosing(self._kernel.feed.follow(await self._cursor())) as batches:
            async for batch in batches:
                await self._take(batch)

    async def _take(self, batch: Batch) -> None:
        wanted = dict.fromkeys(self._subjects(batch.items))
        gate = asyncio.Semaphore(_AT_ONCE)
        await asyncio.gather(*(self._look(gate, *each) for each in wanted))
        self._found = self._found or bool(wanted)
        self._passed += len(batch.items)
        # Its own row comes by the feed, too: without a finding it is written rarely.
        in_time = time.monotonic() - self._saved_at >= _SAVE_SECONDS
        if self._passed >= _ROWS_A_CURSOR or (self._found and in_time):
            await self._save(batch.cursor)

    async def _look(self, gate: asyncio.Semaphore, kind: str, subject: str) -> None:
        async with gate:
            try:
                again = await self._handlers[kind](subject)
            except Exception as error:
                _log.warning("%s of %s is tried again: %s", kind, self._name, type(error).__name__)
                again = self._kernel.now() + _RETRY_SECONDS
            if again is not None:
                await self._kernel.due.schedule(kind, subject, again)

    async def _cursor(self) -> str | None:
        item = await self._records.get_row(self._key)
        cursor: str | None = json.loads(item.body)["cursor"] if item is not None else None
        return cursor

    async def _save(self, cursor: str | None) -> None:
        """Another replica that is at work here wins."""
        item = await self._records.get_row(self._key)
        condition = ABSENT if item is None else Match(item.token)
        try:
            await self._records.put_row(
                Put(self._key, condition, "follower", json.dumps({"cursor": cursor}))
            )
        except ConditionFailed:
            return
        self._passed, self._found, self._saved_at = 0, False, time.monotonic()
