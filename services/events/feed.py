"""The change feed of this process: read once for any number of followers.

Followers at the same position share one read of the store. A commit of this
process wakes them at once, commits of other processes are found by polling.
"""

from __future__ import annotations

import asyncio
import logging
from collections import OrderedDict
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import aclosing, suppress
from dataclasses import dataclass

from services.model.errors import WorkspaceError
from services.records.port import ChangePage, Item, Key
from services.records.store import RecordStore

__all__ = ["HEARTBEAT_SECONDS", "Batch", "Feed"]

HEARTBEAT_SECONDS = 1.0
_log = logging.getLogger("workspace.feed")
_PAGE = 500
_SETTLE_SECONDS = 5.0
_SHARED_PAGES = 64
_SHARED_CHARS = 32 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class Batch:
    """Changed rows, oldest first, kernel rows and tombstones included; empty
    as a heartbeat. `cursor` resumes after it. `started_at` (unix seconds) is
    when its read began: with a `complete` batch everything that was committed
    before it has been delivered."""

    items: Sequence[Item]
    cursor: str
    started_at: float
    complete: bool


@dataclass(slots=True)
class _Read:
    version: int
    started_at: float
    page: asyncio.Future[ChangePage]
    _chars: int | None = None

    @property
    def chars(self) -> int:
        """What a finished page holds in memory, about. Counted once."""
        if not self.page.done() or self.page.cancelled() or self.page.exception() is not None:
            return 0
        if self._chars is None:
            items = self.page.result().items
            self._chars = sum(len(item.body) + len(item.stamp) for item in items)
        return self._chars


class Feed:
    """Follows `records.changes`. `now` is unix seconds; `poll` is how often a
    follower looks for commits of other processes, in seconds."""

    def __init__(
        self, records: RecordStore, *, now: Callable[[], float], poll: float = HEARTBEAT_SECONDS
    ) -> None:
        self._records = records
        self._now = now
        self._poll = poll
        self._version = 0
        self._wake = asyncio.Event()
        self._read_more = asyncio.Event()
        self._reads: OrderedDict[str | None, _Read] = OrderedDict()
        self._read_until = 0.0
        self._stop_listening = records.on_commit(self._committed)

    async def tail(self) -> str:
        """The cursor of now."""
        return await self._records.tail()

    async def follow(self, cursor: str | None) -> AsyncGenerator[Batch, None]:
        """Batches after `cursor` (None: from the beginning), for ever; an empty
        one at least every `poll` seconds. Raises CURSOR_LOST, and
        BACKEND_UNAVAILABLE when the store does not answer: follow again from
        the last cursor."""
        while True:
            version, wake = self._version, self._wake
            batch = await self._batch(cursor, version)
            cursor = batch.cursor
            yield batch
            if not batch.items and version == self._version:
                await _woken(wake, self._poll)

    async def indexes_settled(self) -> None:
        """Before a decision that looks for rows by an index. Where indexes lag, a driver
        adds to them what its process wrote and what the feed brought: so this waits for
        a follower to have read what was committed before the call, a few seconds at most
        (a process without followers goes by the index). Elsewhere it returns at once."""
        if self._records.capabilities.consistent_index_reads:
            return
        since = self._now()
        self._wake_followers()
        with suppress(TimeoutError):
            async with asyncio.timeout(_SETTLE_SECONDS):
                while self._read_until < since:
                    await self._read_more.wait()

    async def keep_up(self) -> None:
        """For a process in which nothing else follows: until cancelled, what other
        processes commit is read. At once done where indexes do not lag."""
        if self._records.capabilities.consistent_index_reads:
            return
        while True:
            try:
                async with aclosing(self.follow(await self.tail())) as batches:
                    async for _ in batches:
                        continue
            except WorkspaceError:  # others say that the store does not answer
                pass
            except Exception:  # whatever it is, the next read may do
                _log.exception("the feed is not followed now")
            await asyncio.sleep(self._poll)

    def close(self) -> None:
        """Stop listening to commits. Followers go on polling."""
        self._stop_listening()

    def _committed(self, _pk: str, _keys: Sequence[Key]) -> None:
        self._wake_followers()

    def _wake_followers(self) -> None:
        self._version += 1
        self._wake.set()
        self._wake = asyncio.Event()

    async def _batch(self, cursor: str | None, version: int) -> Batch:
        """A read at this cursor that began no earlier than `version`."""
        read = self._reads.get(cursor)
        if read is None or not self._usable(read, version):
            read = self._begin(cursor)
        try:
            page = await asyncio.shield(read.page)
        except BaseException:
            self._forget(cursor, read)
            raise
        if not page.items:
            self._forget(cursor, read)
        if page.complete and read.started_at > self._read_until:
            self._read_until = read.started_at
            self._read_more.set()
            self._read_more = asyncio.Event()
        return Batch(page.items, page.cursor, read.started_at, page.complete)

    @staticmethod
    def _usable(read: _Read, version: int) -> bool:
        """A page with rows stays right for ever; an empty one until a commit."""
        if read.page.done():
            return read.page.exception() is None and bool(read.page.result().items)
        return read.version >= version

    def _begin(self, cursor: str | None) -> _Read:
        started_at = self._now()
        task = asyncio.ensure_future(self._records.changes(cursor, _PAGE))
        task.add_done_callback(_retrieved)
        read = _Read(self._version, started_at, task)
        self._reads[cursor] = read
        task.add_done_callback(self._trim)
        return read

    def _trim(self, _: object) -> None:
        """Forget the oldest pages beyond what is worth sharing."""
        chars = sum(read.chars for read in self._reads.values())
        while self._reads and (len(self._reads) > _SHARED_PAGES or chars > _SHARED_CHARS):
            chars -= self._reads.popitem(last=False)[1].chars

    def _forget(self, cursor: str | None, read: _Read) -> None:
        if self._reads.get(cursor) is read:
            del self._reads[cursor]


def _retrieved(task: asyncio.Future[ChangePage]) -> None:
    """A read whose followers all left does not warn of its exception."""
    if not task.cancelled():
        task.exception()


async def _woken(wake: asyncio.Event, seconds: float) -> None:
    try:
        async with asyncio.timeout(seconds):
            await wake.wait()
    except TimeoutError:
        return
