"""The one thread that writes an SQLite file: many commits, one fsync.

It owns the only connection that writes and checkpoints. SQLite allows one
writer at a time anyway; with a single one there is no busy waiting, waiting
commits share an fsync, and the WAL-reset bug (two connections that checkpoint
at once, https://sqlite.org/wal.html, fixed in 3.51.3) cannot occur.
"""

from __future__ import annotations

import asyncio
import logging
import queue
import sqlite3
import threading
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from services.records.port import (
    ConditionFailed,
    DriverUnavailable,
    Item,
    Key,
    StorageFull,
)
from services.records.sql.cache import PointCache

__all__ = ["Session", "Writer", "storage_error"]

_LOG = logging.getLogger(__name__)
_T = TypeVar("_T")
_BROKEN = (sqlite3.SQLITE_IOERR, sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)


@dataclass(slots=True)
class Session:
    """What a piece of work may use inside the transaction of its batch.

    Work raises ConditionFailed before its first write, or not at all: that is
    how one commit is rejected without hurting the others of the batch.
    """

    connection: sqlite3.Connection
    seq: int
    written: dict[Key, Item | None] = field(default_factory=dict)
    """Keys that changed, with their new items (None: removed)."""

    def next_seq(self) -> int:
        self.seq += 1
        return self.seq


Work = Callable[[Session], Any]


@dataclass(slots=True, eq=False)
class _Job:
    work: Work
    future: asyncio.Future[Any]
    result: Any = None
    error: BaseException | None = None

    def deliver(self) -> None:
        if self.future.done():  # the caller was cancelled; its commit stands
            return
        if self.error is not None:
            self.future.set_exception(self.error)
        else:
            self.future.set_result(self.result)


class Writer:
    """Group commit over one connection. `submit` and `settle` belong to the loop."""

    def __init__(
        self,
        connection: sqlite3.Connection,
        wal: Path,
        cache: PointCache,
        *,
        seq: int,
        max_batch: int = 256,
        wal_limit: int = 64 << 20,
    ) -> None:
        self._connection = connection
        self._wal = wal
        self._cache = cache
        self._seq = self._committed = seq
        self._max_batch = max_batch
        self._wal_limit = wal_limit
        self._truncate_at = wal_limit
        self._loop = asyncio.get_running_loop()
        self._queue: queue.SimpleQueue[_Job | None] = queue.SimpleQueue()
        self._failure: str | None = None
        self._closed = False
        self._thread = threading.Thread(target=self._run, name="records-writer", daemon=True)
        self._thread.start()

    @property
    def seq(self) -> int:
        """Not below the position of any committed write."""
        return self._seq

    @property
    def committed(self) -> int:
        """Position of a committed write; those of writes that are acknowledged
        later are above it."""
        return self._committed

    async def submit(self, work: Callable[[Session], _T]) -> _T:
        """Run `work` in the next batch; returns once that is durable."""
        if self._closed:
            raise DriverUnavailable("the record store is closed")
        future: asyncio.Future[_T] = self._loop.create_future()
        self._queue.put(_Job(work, future))
        return await future

    def close(self) -> None:
        """Finish what was submitted, checkpoint, close the connection. Blocks."""
        if not self._closed:
            self._closed = True
            self._queue.put(None)
        self._thread.join()

    def _run(self) -> None:
        while (first := self._queue.get()) is not None:
            jobs, more = self._drain(first)
            self._batch(jobs)
            if not more:
                break
        self._connection.close()

    def _drain(self, first: _Job) -> tuple[list[_Job], bool]:
        jobs = [first]
        while len(jobs) < self._max_batch:
            try:
                job = self._queue.get_nowait()
            except queue.Empty:
                return jobs, True
            if job is None:
                return jobs, False
            jobs.append(job)
        return jobs, True

    def _batch(self, jobs: list[_Job]) -> None:
        try:
            self._transaction(jobs)
        except Exception as error:  # whatever it is, callers wait to hear of it
            self._recover(jobs, error)
        self._checkpoint()

    def _recover(self, jobs: list[_Job], error: Exception) -> None:
        """A statement failed and the batch was rolled back: find the culprit.

        Alone, every other commit of the batch succeeds. After an I/O error
        nothing is tried again: a second fsync may report success for pages
        that the kernel already dropped.
        """
        if self._failure is None and len(jobs) > 1:
            for job in jobs:
                self._batch([job])
            return
        self._finish(jobs, {}, storage_error(error))

    def _transaction(self, jobs: list[_Job]) -> None:
        """Run and commit `jobs`. Raises when a statement failed, rolled back."""
        if self._failure is not None:
            raise DriverUnavailable(self._failure)
        session = Session(self._connection, self._seq)
        try:
            self._connection.execute("BEGIN IMMEDIATE")
            for job in jobs:
                self._work(job, session)
        except Exception as error:
            self._roll_back(error)
            raise
        finally:
            self._seq = session.seq  # numbers of a failed batch are not used again
        self._cache.mark(session.written)
        failure = self._commit()
        if failure is None:
            self._committed = session.seq
        self._finish(jobs, session.written, failure)

    @staticmethod
    def _work(job: _Job, session: Session) -> None:
        job.result = job.error = None
        try:
            job.result = job.work(session)
        except ConditionFailed as error:
            job.error = error

    def _commit(self) -> Exception | None:
        try:
            self._connection.execute("COMMIT")
        except sqlite3.Error as error:
            self._roll_back(error)
            return storage_error(error, ambiguous=_is_broken(error))
        return None

    def _roll_back(self, error: Exception) -> None:
        if _is_broken(error):
            self._failure = (
                "the record store met a disk error and takes no more writes: "
                "check the disk, then restart"
            )
            _LOG.error("record store stops writing: %s", error)
        try:
            if self._connection.in_transaction:
                self._connection.execute("ROLLBACK")
        except sqlite3.Error:
            self._failure = self._failure or "the record store could not roll back: restart"

    def _finish(
        self, jobs: list[_Job], written: dict[Key, Item | None], error: Exception | None
    ) -> None:
        """Hand the outcome of a batch to the loop, in one callback."""
        if error is not None:
            for job in jobs:
                job.error = error
        fresh = {} if error else {key: item for key, item in written.items() if item}
        try:
            self._loop.call_soon_threadsafe(self._settle, jobs, tuple(written), fresh)
        except RuntimeError:  # the loop is gone, and with it everyone who waited
            _LOG.warning("record store: the event loop ended before %d commits", len(jobs))

    def _settle(self, jobs: list[_Job], keys: Iterable[Key], fresh: dict[Key, Item]) -> None:
        self._cache.settle(keys, fresh)
        for job in jobs:
            job.deliver()

    def _checkpoint(self) -> None:
        """Empty a WAL that readers kept from being reset. Data is safe either way."""
        try:
            size = self._wal.stat().st_size
            if self._failure is None and size > self._truncate_at:
                row = self._connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
                # A reader was in the way: try again only after as much growth.
                self._truncate_at = self._wal_limit + (size if row[0] else 0)
        except (OSError, sqlite3.Error) as error:
            _LOG.warning("record store: checkpoint failed: %s", error)


def _is_broken(error: Exception) -> bool:
    return isinstance(error, sqlite3.Error) and _code(error) in _BROKEN


def _code(error: sqlite3.Error) -> int:
    """The primary result code (https://sqlite.org/rescode.html), 0 if none."""
    return getattr(error, "sqlite_errorcode", 0) & 0xFF


def storage_error(error: Exception, *, ambiguous: bool = False) -> Exception:
    """The port's error for a failure of sqlite3; others are returned unchanged."""
    if not isinstance(error, sqlite3.Error):
        return error
    if _code(error) == sqlite3.SQLITE_FULL:
        full = StorageFull("no space left for the record store: free space on its disk")
        full.__cause__ = error
        return full
    if type(error) in (sqlite3.OperationalError, sqlite3.DatabaseError):
        name = getattr(error, "sqlite_errorname", "SQLITE_ERROR")
        lost = DriverUnavailable(f"the record store failed: {name}", ambiguous=ambiguous)
        lost.__cause__ = error
        return lost
    return error
