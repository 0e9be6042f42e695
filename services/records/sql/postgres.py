"""PostgreSQL driver (13 or newer), over psycopg 3.

A commit is two round trips: lock, read the versions; write, COMMIT. The first
statement takes an advisory lock on the partition, so that what the second one
reads cannot change and transaction ids follow commit order in a partition.
The change feed is ordered by transaction id and stops before the oldest
transaction still running (https://www.postgresql.org/docs/current/functions-info.html,
`pg_snapshot_xmin`).
"""

from __future__ import annotations

import asyncio
import math
import random
import time
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, TypeVar

from services.model.errors import Reason, WorkspaceError
from services.records.port import (
    Absent,
    Capabilities,
    ChangePage,
    ConditionFailed,
    CursorLost,
    DriverUnavailable,
    Index,
    Item,
    ItemPage,
    Key,
    Put,
    StorageFull,
)
from services.records.sql.provision import (
    check_postgres,
    postgres_formats,
    provision_postgres,
)
from services.records.sql.reasons import failure_kind
from services.records.sql.rows import (
    SEQ,
    check_puts,
    feed_cursor,
    item_of_row,
    page_position,
    parameters,
    query_bounds,
    read_cursor,
)
from services.records.sql.statements import PostgresStatements

try:
    import psycopg
    from psycopg import errors
    from psycopg_pool import AsyncConnectionPool, PoolClosed, PoolTimeout, TooManyRequests
except ImportError as error:  # an extra; this module is imported on first use only
    raise WorkspaceError(
        Reason.ERROR_REASON_INVALID_STATE,
        "the PostgreSQL record store needs psycopg: pip install 'workspace-management[postgres]'",
        metadata={"extra": "postgres"},
    ) from error

__all__ = ["PostgresDriver", "migrate_postgres", "read_formats"]

_T = TypeVar("_T")
_Connection = psycopg.AsyncConnection[tuple[Any, ...]]
_Row = tuple[Any, ...]

_ATTEMPTS = 5
_BRIEF_SECONDS = 0.1
"""A client and the gateway repeat a call, up to sixteen times together within its deadline."""
_RECONNECT_SECONDS = 5.0
"""After these the pool begins anew with its pauses, which double each time."""
_LOCK = "SELECT pg_advisory_xact_lock(hashtextextended(%(pk)s::text, 0))"
# The timeline comes from the position being written, not from the control
# file, which a promoted standby updates only at its next checkpoint.
_IDENTITY = """
SELECT 'postgres:' || (SELECT value FROM meta WHERE name = 'store_id')
    || ':' || (SELECT system_identifier FROM pg_control_system())
    || ':' || (SELECT oid FROM pg_database WHERE datname = current_database())
    || ':' || left(pg_walfile_name(pg_current_wal_lsn()), 8),
    pg_snapshot_xmax(pg_current_snapshot())::text
"""
_TAIL = _IDENTITY.replace("pg_snapshot_xmax", "pg_snapshot_xmin")
_AFTER_KEYS = "\x7f"  # above every key, which is printable ASCII
_CAPABILITIES = Capabilities(
    consistent_index_reads=True,
    ordered_change_feed=True,
    expiry_precision_seconds=math.inf,  # until `collect_expired` is called
    multi_process=True,
)


class PostgresDriver:
    """The record driver for a shared PostgreSQL database. Make one with `open`."""

    name = "postgres"
    capabilities = _CAPABILITIES

    def __init__(
        self, pool: AsyncConnectionPool[_Connection], *, clock: Callable[[], float]
    ) -> None:
        self._pool = pool
        self._patience = _Patience(pool)
        self._clock = clock
        self._statements = PostgresStatements()

    @classmethod
    async def open(
        cls,
        dsn: str,
        *,
        min_size: int = 1,
        max_size: int = 10,
        connect_timeout: float = 10.0,
        lock_timeout: float = 10.0,
        statement_timeout: float = 30.0,
        clock: Callable[[], float] = time.time,
        read_only: bool = False,
        migrate: bool = True,
    ) -> PostgresDriver:
        """Connect to `dsn` (a libpq string or URL) and make the tables if needed;
        `migrate` False: they must be there, as `wm migrate` makes them; `read_only`:
        and nothing is written.

        Times are in seconds; `clock` tells unix seconds (expiry is judged by
        it, so hosts need synchronised clocks). Raises DriverUnavailable when
        the server does not answer, WorkspaceError INVALID_STATE when the
        database needs newer software or `wm migrate`, or may not be written by its user.
        """
        settings = {"lock_timeout": lock_timeout, "statement_timeout": statement_timeout}

        async def configure(connection: _Connection) -> None:
            await _configure(connection, settings)
            driver._patience.connected()

        pool: AsyncConnectionPool[_Connection] = AsyncConnectionPool(
            dsn,
            min_size=min_size,
            max_size=max_size,
            timeout=connect_timeout,
            reconnect_timeout=_RECONNECT_SECONDS,
            open=False,
            configure=configure,
            kwargs={"autocommit": True, "connect_timeout": max(2, math.ceil(connect_timeout))},
            name="records",
        )
        driver = cls(pool, clock=clock)
        try:
            seconds = math.ceil(connect_timeout)
            if read_only:
                await asyncio.to_thread(check_postgres, dsn, seconds)
            else:
                await asyncio.to_thread(provision_postgres, dsn, seconds, migrate=migrate)
            await pool.open(wait=True, timeout=connect_timeout)
        except psycopg.Error as failure:
            await pool.close()
            raise _port_error(failure) from failure
        except BaseException:
            await pool.close()
            raise
        return driver

    async def get(self, key: Key) -> Item | None:
        bounds = {"pk": key.pk, "sk": key.sk, "now": self._now()}
        rows = await self._rows(self._statements.point, bounds)
        return item_of_row(rows[0]) if rows else None

    async def batch_get(self, keys: Sequence[Key]) -> list[Item | None]:
        distinct = list(dict.fromkeys(keys))
        bounds = {
            "pks": [key.pk for key in distinct],
            "sks": [key.sk for key in distinct],
            "now": self._now(),
        }
        rows = await self._rows(self._statements.points, bounds)
        found = {item.key: item for item in map(item_of_row, rows)}
        return [found.get(key) for key in keys]

    async def query(
        self,
        index: Index,
        partition: str,
        *,
        lower: str = "",
        upper: str | None = None,
        limit: int = 100,
        after: str | None = None,
        descending: bool = False,
    ) -> ItemPage:
        bounds, narrowed = query_bounds(lower, upper, after, descending=descending)
        text = self._statements.query(
            index, after=narrowed, upper=upper is not None, descending=descending
        )
        bounds |= {"partition": partition, "now": self._now(), "limit": limit + 1}
        rows = await self._rows(text, bounds)
        items = [item_of_row(row) for row in rows[:limit]]
        return ItemPage(items, page_position(index, items[-1]) if len(rows) > limit else None)

    async def commit(self, pk: str, puts: Sequence[Put]) -> list[str]:
        check_puts(pk, puts)
        return await self._attempt(lambda connection: self._commit(connection, pk, puts))

    async def changes(self, cursor: str | None, limit: int) -> ChangePage:
        return await self._attempt(lambda connection: self._changes(connection, cursor, limit))

    async def tail(self) -> str:
        [(identity, oldest)] = await self._rows(_TAIL, {})
        return feed_cursor(identity, int(oldest) - 1, _AFTER_KEYS, "")

    async def scan(self, after: Key | None, limit: int) -> Sequence[Item]:
        bounds: dict[str, Any] = {"now": self._now(), "limit": limit}
        if after is None:
            text = self._statements.scan_first
        else:
            text = self._statements.scan_after
            bounds |= {"pk": after.pk, "sk": after.sk}
        return [item_of_row(row) for row in await self._rows(text, bounds)]

    async def collect_expired(self, limit: int) -> int:
        """Remove up to `limit` expired rows for good; returns how many."""
        bounds = {"now": self._now(), "limit": limit}
        return len(await self._rows(self._statements.collect, bounds))

    async def identity(self) -> str:
        return str((await self._rows(_IDENTITY, {}))[0][0])

    async def is_encrypted(self) -> bool:
        """Whether the connections to the server are over TLS."""
        rows = await self._rows("SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()", {})
        return bool(rows and rows[0][0])

    async def close(self) -> None:
        await self._pool.close()

    def _now(self) -> int:
        return math.floor(self._clock())

    async def _rows(self, text: str, bounds: dict[str, Any]) -> list[_Row]:
        async def run(connection: _Connection) -> list[_Row]:
            return await _fetch(connection, text, bounds)

        return await self._attempt(run)

    async def _commit(self, connection: _Connection, pk: str, puts: Sequence[Put]) -> list[str]:
        sent = False
        try:
            async with connection.pipeline():
                await connection.execute("BEGIN ISOLATION LEVEL READ COMMITTED")
                await connection.execute(_LOCK, {"pk": pk})
                await self._check(connection, pk, puts)
                cursors = [
                    await connection.execute(_query(self._statements.put), parameters(put))
                    for put in puts
                ]
                sent = True
                await connection.execute("COMMIT")
                rows = [await cursor.fetchone() for cursor in cursors]
            return [str(row[0]) for row in rows if row is not None]
        except psycopg.Error as failure:
            if sent and _is_lost(failure):
                raise _unavailable(failure, ambiguous=True) from failure
            raise

    async def _check(self, connection: _Connection, pk: str, puts: Sequence[Put]) -> None:
        """Compare every condition with the rows, under the lock of the partition."""
        sks = [put.key.sk for put in puts]
        bounds = {"pk": pk, "sks": sks, "now": self._now()}
        versions: dict[str, int] = dict(await _fetch(connection, self._statements.check, bounds))
        for position, put in enumerate(puts):
            rev = versions.get(put.key.sk)
            found = None if rev is None else str(rev)
            expected = None if isinstance(put.condition, Absent) else put.condition.token
            if found != expected:
                key = {"pk": pk, "sk": put.key.sk, "now": bounds["now"]}
                rows = await _fetch(connection, self._statements.point, key)
                raise ConditionFailed(position, item_of_row(rows[0]) if rows else None)

    async def _changes(self, connection: _Connection, cursor: str | None, limit: int) -> ChangePage:
        async with connection.pipeline():
            [(identity, newest)] = await _fetch(connection, _IDENTITY, {})
            seq, pk, sk = read_cursor(identity, cursor)
            if seq >= int(newest):
                raise CursorLost("the change cursor is newer than the store: it was rolled back")
            position = {"seq": str(seq), "pk": pk, "sk": sk}
            bounds = {**position, "now": self._now(), "limit": limit}
            found = await _fetch(connection, self._statements.changes, bounds)
        rows, held_back = [row[:-1] for row in found if row[0] is not None], found[0][-1]
        if rows:
            seq, pk, sk = int(rows[-1][SEQ]), rows[-1][0], rows[-1][1]
        return ChangePage(
            [item_of_row(row) for row in rows],
            feed_cursor(identity, seq, pk, sk),
            complete=len(rows) < limit and not held_back,
        )

    async def _attempt(self, work: Callable[[_Connection], Awaitable[_T]]) -> _T:
        """Run `work` on a pooled connection; repeat what surely had no effect.

        That is: serialization failures, deadlocks, and connections found dead
        before COMMIT was sent (the server was restarted, say). psycopg stops the
        statement of a task that is cancelled, and may say so instead of the
        cancellation: that must not be lost, or the task would go on for ever.
        """
        task = asyncio.current_task()
        asked = task.cancelling() if task else 0
        for attempt in range(1, _ATTEMPTS + 1):
            try:
                async with self._pool.connection(self._patience.seconds) as connection:
                    return await work(connection)
            except psycopg.Error as failure:
                if task is not None and task.cancelling() > asked:
                    raise asyncio.CancelledError from failure
                if _is_repeatable(failure) and _is_lost(failure):
                    self._patience.lost()
                if attempt == _ATTEMPTS or not _is_repeatable(failure):
                    raise _port_error(failure) from failure
            await asyncio.sleep(random.uniform(0, 0.01 * 2**attempt))  # noqa: S311 - jitter
        raise AssertionError("unreachable")


class _Patience:
    """How long a call waits for a connection: briefly while none can be made. To wait for
    a server that is down would cost each call its whole deadline, and the client would
    hear DEADLINE_EXCEEDED, which no policy repeats."""

    def __init__(self, pool: AsyncConnectionPool[_Connection]) -> None:
        self._pool = pool
        self._failed = 0
        self._lost = False

    @property
    def seconds(self) -> float:
        stats = self._pool.get_stats()
        failing = self._lost or self._failures() > self._failed
        if failing and not stats.get("pool_available"):
            return _BRIEF_SECONDS
        return self._pool.timeout

    def lost(self) -> None:
        """A connection ended; until the next one is made it is doubtful that one will be."""
        self._lost = True

    def connected(self) -> None:
        """One was made just now."""
        self._failed, self._lost = self._failures(), False

    def _failures(self) -> int:
        return self._pool.get_stats().get("connections_errors", 0)


async def migrate_postgres(dsn: str, *, connect_timeout: float = 10.0) -> int:
    """Make the tables of a database, or bring them to what this release needs; returns the
    format they had (0: none). Raises as `PostgresDriver.open` does."""
    return await _asked(provision_postgres, dsn, connect_timeout)


async def read_formats(dsn: str, *, connect_timeout: float = 10.0) -> tuple[int, int]:
    """The format of the tables (0: none) and the oldest code they admit; nothing is
    changed. Raises DriverUnavailable."""
    return await _asked(postgres_formats, dsn, connect_timeout)


async def _asked(work: Callable[[str, int], _T], dsn: str, connect_timeout: float) -> _T:
    try:
        return await asyncio.to_thread(work, dsn, math.ceil(connect_timeout))
    except psycopg.Error as failure:
        raise _port_error(failure) from failure


def _query(text: str) -> bytes:
    """psycopg types a query as a literal, or as bytes when it is computed."""
    return text.encode()


async def _fetch(connection: _Connection, text: str, bounds: dict[str, Any]) -> list[_Row]:
    cursor = await connection.execute(_query(text), bounds)
    return await cursor.fetchall()


async def _configure(connection: _Connection, settings: dict[str, float]) -> None:
    """Limits of this session. A server set to `synchronous_commit=off` would
    acknowledge what it may lose, so at least `on` is asked for."""
    for name, seconds in settings.items():
        value = f"{math.ceil(seconds * 1000)}ms"
        await connection.execute("SELECT set_config(%s, %s, false)", (name, value))
    await connection.execute(
        "SELECT set_config('synchronous_commit', 'on', false) "
        "WHERE current_setting('synchronous_commit') IN ('off', 'local')"
    )


def _is_lost(failure: psycopg.Error) -> bool:
    """The connection is gone (no SQLSTATE, class 08, or a server going down)."""
    if not isinstance(failure, (psycopg.OperationalError, psycopg.InterfaceError)):
        return False
    state = failure.sqlstate
    return state is None or state.startswith(("08", "57P"))


def _is_repeatable(failure: psycopg.Error) -> bool:
    if isinstance(failure, (PoolTimeout, PoolClosed, TooManyRequests)):
        return False
    retried = (errors.SerializationFailure, errors.DeadlockDetected)
    return isinstance(failure, retried) or _is_lost(failure)


def _port_error(failure: psycopg.Error) -> Exception:
    """The port's error for a failure of psycopg; a bug is returned unchanged."""
    if isinstance(failure, errors.DiskFull):
        return StorageFull("no space left for the record store: free space on its server")
    refused = (errors.InsufficientPrivilege, errors.ReadOnlySqlTransaction)
    if isinstance(failure, (psycopg.OperationalError, psycopg.InterfaceError, *refused)):
        return _unavailable(failure)
    return failure


def _unavailable(failure: psycopg.Error, *, ambiguous: bool = False) -> DriverUnavailable:
    # Not the text of the failure: it may name the host and the user.
    text = f"PostgreSQL does not answer ({failure_kind(failure)})"
    return DriverUnavailable(text, ambiguous=ambiguous)
