"""SQLite driver: one file, one process, one writer thread.

Reads by key are answered from an exact LRU, or on the loop by a `query_only`
connection (about 14 us a row); queries, scans and the change feed run on a few
threads with a connection each. Settings follow https://sqlite.org/pragma.html:
`synchronous=FULL` is what makes an acknowledged commit survive power loss.
"""

from __future__ import annotations

import asyncio
import math
import os
import secrets
import sqlite3
import sys
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from queue import SimpleQueue
from typing import Any, TypeVar
from urllib.parse import quote

from sqlalchemy import create_engine
from sqlalchemy.exc import DBAPIError
from sqlalchemy.pool import StaticPool

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
)
from services.records.sql.cache import Miss, PointCache
from services.records.sql.files import (
    FileLock,
    create_file,
    file_identity,
    refuse_network_filesystem,
)
from services.records.sql.migrations import require_format, upgrade
from services.records.sql.rows import (
    SEQ,
    check_puts,
    feed_cursor,
    item_of_put,
    item_of_row,
    page_position,
    parameters,
    query_bounds,
    read_cursor,
)
from services.records.sql.statements import SqliteStatements
from services.records.sql.writer import Session, Writer, storage_error

__all__ = ["SqliteDriver"]

_T = TypeVar("_T")
_INLINE = 16  # keys of one batch read that the loop reads itself
_BUSY_SECONDS = 5.0
_BUSY_SECONDS_PORTABLE = 60.0  # a rollback journal has readers wait for the fsyncs of a writer
_PRAGMAS = (
    "PRAGMA foreign_keys=ON",
    "PRAGMA mmap_size=0",
    "PRAGMA trusted_schema=OFF",
    "PRAGMA cell_size_check=ON",
    "PRAGMA temp_store=MEMORY",
)
_MACOS_PRAGMAS = ("PRAGMA fullfsync=ON", "PRAGMA checkpoint_fullfsync=ON")
_CAPABILITIES = Capabilities(
    consistent_index_reads=True,
    ordered_change_feed=True,
    expiry_precision_seconds=math.inf,  # until `collect_expired` is called
    multi_process=False,
)


@dataclass(frozen=True, slots=True)
class _File:
    """A database file and how it is opened."""

    path: Path
    portable: bool = False
    read_only: bool = False
    immutable: bool = False

    @property
    def folder_is_writable(self) -> bool:
        return os.access(self.path.parent, os.W_OK)

    @property
    def address(self) -> str:
        """The file as SQLite takes it (https://sqlite.org/uri.html)."""
        mode = ("mode=ro&immutable=1" if self.immutable else "mode=ro") if self.read_only else ""
        return f"file:{quote(str(self.path))}?{mode}"


@dataclass(frozen=True, slots=True)
class _Opened:
    """A database file made ready: locked, migrated, with its writing connection."""

    file: _File
    lock: FileLock
    connection: sqlite3.Connection
    identity: str
    seq: int


class SqliteDriver:
    """The embedded record driver. Make one with `open`; it belongs to that loop."""

    name = "sqlite"
    capabilities = _CAPABILITIES

    def __init__(
        self,
        opened: _Opened,
        *,
        readers: int,
        cache_items: int,
        cache_bytes: int,
        clock: Callable[[], float],
    ) -> None:
        self._lock = opened.lock
        self._identity = opened.identity
        self._clock = clock
        self._statements = SqliteStatements()
        self._cache = PointCache(max_items=cache_items, max_bytes=cache_bytes)
        self._portable = opened.file.portable
        self._point = _connect(opened.file, reader=True)
        self._pool = ThreadPoolExecutor(readers, thread_name_prefix="records-reader")
        self._connections: SimpleQueue[sqlite3.Connection] = SimpleQueue()
        for _ in range(readers):
            self._connections.put(_connect(opened.file, reader=True))
        self._readers = readers
        path = opened.file.path
        if self._portable:  # without a write-ahead log none is ever too long
            self._writer = Writer(
                opened.connection, path, self._cache, seq=opened.seq, wal_limit=sys.maxsize
            )
        else:
            wal = path.with_name(path.name + "-wal")
            self._writer = Writer(opened.connection, wal, self._cache, seq=opened.seq)
        self._closing: asyncio.Future[None] | None = None

    @classmethod
    async def open(
        cls,
        path: Path,
        *,
        readers: int = 3,
        cache_items: int = 50_000,
        cache_bytes: int = 64 << 20,
        clock: Callable[[], float] = time.time,
        portable: bool = False,
        read_only: bool = False,
    ) -> SqliteDriver:
        """Open or create the database at `path`; its folder must exist.

        `portable` is for surfaces that are carried away and come back: with a
        rollback journal and synchronous=EXTRA the file alone is the database
        whenever no commit is under way, whatever happens to the medium. `read_only`
        writes nothing and needs a database that is there; commits then fail.
        `clock` tells unix seconds (expiry is judged by it). Raises
        WorkspaceError INVALID_STATE when another process holds the file, it is
        on a network file system, or it needs newer software; DriverUnavailable
        when it cannot be read.
        """
        file = _File(path, portable or read_only, read_only)
        opened = await asyncio.to_thread(_open_file, file)
        try:
            return cls(
                opened,
                readers=readers,
                cache_items=cache_items,
                cache_bytes=cache_bytes,
                clock=clock,
            )
        except BaseException:
            opened.connection.close()
            opened.lock.release()
            raise

    async def get(self, key: Key) -> Item | None:
        self._check_open()
        now = self._now()
        item = self._cache.get(key, now)
        if not isinstance(item, Miss):
            return item
        if self._portable:  # a reader may have to wait for a writer, on a thread
            return (await self._fetch_aside([key], now))[key]
        try:
            item = self._read_point(self._point, key, now)
        except sqlite3.Error as error:
            raise storage_error(error) from error
        self._cache.store(key, item)
        return item

    async def batch_get(self, keys: Sequence[Key]) -> list[Item | None]:
        now = self._now()
        found: dict[Key, Item | None] = {}
        missing: list[Key] = []
        for key in dict.fromkeys(keys):
            item = self._cache.get(key, now)
            if isinstance(item, Miss):
                missing.append(key)
            else:
                found[key] = item
        found |= await self._fetch(missing, now)
        return [found[key] for key in keys]

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
        return await self._writer.submit(lambda session: self._write(session, puts))

    async def changes(self, cursor: str | None, limit: int) -> ChangePage:
        seq, pk, sk = read_cursor(self._identity, cursor)
        if seq > self._writer.seq:
            raise CursorLost("the change cursor is newer than the store: it was rolled back")
        found = {"seq": seq, "now": self._now(), "limit": limit}
        rows = await self._rows(self._statements.changes, found)
        if rows:
            seq, pk, sk = rows[-1][SEQ], rows[-1][0], rows[-1][1]
        return ChangePage(
            [item_of_row(row) for row in rows],
            feed_cursor(self._identity, seq, pk, sk),
            complete=len(rows) < limit,
        )

    async def tail(self) -> str:
        return feed_cursor(self._identity, self._writer.committed, "", "")

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
        return await self._writer.submit(lambda session: self._collect(session, limit))

    async def identity(self) -> str:
        return self._identity

    async def close(self) -> None:
        """Finish the commits under way and give the file free. May be repeated."""
        if self._closing is None:
            self._closing = asyncio.get_running_loop().run_in_executor(None, self._shut)
        await asyncio.shield(self._closing)

    def _shut(self) -> None:
        self._pool.shutdown(wait=True)
        for _ in range(self._readers):
            self._connections.get().close()
        self._point.close()
        self._writer.close()  # last: the last connection to close checkpoints
        self._lock.release()

    def _now(self) -> int:
        return math.floor(self._clock())

    def _check_open(self) -> None:
        if self._closing is not None:
            raise DriverUnavailable("the record store is closed")

    async def _fetch(self, keys: Sequence[Key], now: int) -> dict[Key, Item | None]:
        """Read keys that the cache does not know: a few here, many in a thread."""
        if len(keys) <= _INLINE and not self._portable:
            return {key: await self.get(key) for key in keys}
        return await self._fetch_aside(keys, now) if keys else {}

    async def _fetch_aside(self, keys: Sequence[Key], now: int) -> dict[Key, Item | None]:
        before = self._cache.settled
        read = await self._read(lambda connection: self._read_points(connection, keys, now))
        if self._cache.settled == before:  # else a commit may have overtaken the read
            for key, item in read.items():
                self._cache.store(key, item)
        return read

    def _read_point(self, connection: sqlite3.Connection, key: Key, now: int) -> Item | None:
        bounds = {"pk": key.pk, "sk": key.sk, "now": now}
        row = connection.execute(self._statements.point, bounds).fetchone()
        return None if row is None else item_of_row(row)

    def _read_points(
        self, connection: sqlite3.Connection, keys: Sequence[Key], now: int
    ) -> dict[Key, Item | None]:
        connection.execute("BEGIN")  # one read lock for all, not one for each
        try:
            return {key: self._read_point(connection, key, now) for key in keys}
        finally:
            connection.execute("COMMIT")

    async def _rows(self, text: str, bounds: dict[str, Any]) -> list[tuple[Any, ...]]:
        return await self._read(lambda connection: connection.execute(text, bounds).fetchall())

    async def _read(self, work: Callable[[sqlite3.Connection], _T]) -> _T:
        """Run `work` on a reader thread, with a connection of its own."""
        self._check_open()
        loop = asyncio.get_running_loop()
        try:
            return await loop.run_in_executor(self._pool, self._borrow, work)
        except sqlite3.Error as error:
            raise storage_error(error) from error

    def _borrow(self, work: Callable[[sqlite3.Connection], _T]) -> _T:
        connection = self._connections.get()
        try:
            return work(connection)
        finally:
            self._connections.put(connection)

    def _write(self, session: Session, puts: Sequence[Put]) -> list[str]:
        now = self._now()
        for position, put in enumerate(puts):
            self._check(session, position, put, now)
        tokens = []
        for put in puts:
            seq = session.next_seq()
            values = parameters(put) | {"rev": seq, "seq": seq}
            session.connection.execute(self._statements.put, values)
            session.written[put.key] = item_of_put(put, seq)
            tokens.append(str(seq))
        return tokens

    def _check(self, session: Session, position: int, put: Put, now: int) -> None:
        key = {"pk": put.key.pk, "sk": put.key.sk}
        row = session.connection.execute(self._statements.check, key).fetchone()
        found = None
        if row is not None and (row[1] is None or row[1] > now):
            found = str(row[0])
        expected = None if isinstance(put.condition, Absent) else put.condition.token
        if found != expected:
            raise ConditionFailed(position, self._read_point(session.connection, put.key, now))

    def _collect(self, session: Session, limit: int) -> int:
        bounds = {"now": self._now(), "limit": limit}
        gone = session.connection.execute(self._statements.collect, bounds).fetchall()
        session.written.update(dict.fromkeys(Key(pk, sk) for pk, sk in gone))
        if gone:  # or the numbers of removed rows would be given out again
            _set_meta(session.connection, "seq_floor", str(session.seq))
        return len(gone)


def _open_file(file: _File) -> _Opened:
    """Lock, create, migrate and identify the file. Blocks; call it in a thread."""
    path = file.path
    refuse_network_filesystem(path)
    lock = FileLock(path, create=not file.read_only or file.folder_is_writable)
    connection = None
    try:
        file = replace(file, immutable=_is_clean_wal(file)) if file.read_only else file
        connection = _connect_first(file)
        identity = file_identity(path, _store_id(connection, make=not file.read_only))
        return _Opened(file, lock, connection, identity, _last_seq(connection))
    except BaseException as error:
        if connection is not None:
            connection.close()
        lock.release()
        if isinstance(error, sqlite3.Error):
            raise storage_error(error) from error
        raise


def _connect_first(file: _File) -> sqlite3.Connection:
    """The connection that writes, to a database of our format."""
    if not file.read_only:
        create_file(file.path)
    connection = _connect(file)
    try:
        _refuse_code(connection)
        if file.read_only:
            _check_format(connection)
        else:
            _use_journal(connection, "DELETE" if file.portable else "WAL")
            _migrate(connection)
    except BaseException:
        connection.close()
        raise
    return connection


def _connect(file: _File, *, reader: bool = False) -> sqlite3.Connection:
    """A connection with our settings. A reader neither writes nor checkpoints."""
    connection = sqlite3.connect(
        file.address, uri=True, isolation_level=None, check_same_thread=False,
        timeout=_BUSY_SECONDS_PORTABLE if file.portable else _BUSY_SECONDS,
    )  # fmt: skip
    try:
        connection.execute(f"PRAGMA synchronous={'EXTRA' if file.portable else 'FULL'}")
        for pragma in _PRAGMAS + (_MACOS_PRAGMAS if sys.platform == "darwin" else ()):
            connection.execute(pragma)
        if reader or file.read_only:
            connection.execute("PRAGMA wal_autocheckpoint=0")
            connection.execute("PRAGMA query_only=ON")
    except BaseException:
        connection.close()
        raise
    return connection


def _refuse_code(connection: sqlite3.Connection) -> None:
    """We make tables and indexes only. A file that somebody else made may have
    triggers, which run when we write, and views, which may have rows without end."""
    found = connection.execute(
        "SELECT 1 FROM sqlite_master WHERE type NOT IN ('table', 'index') LIMIT 1"
    ).fetchone()
    if found is not None:
        raise WorkspaceError(
            Reason.ERROR_REASON_INVALID_STATE,
            "the database has triggers or views, which this program never makes: take one that "
            "nobody else changed",
        )


def _use_journal(connection: sqlite3.Connection, wanted: str) -> None:
    mode = connection.execute(f"PRAGMA journal_mode={wanted}").fetchone()[0]
    if mode != wanted.lower():
        raise WorkspaceError(
            Reason.ERROR_REASON_INVALID_STATE,
            f"the file system of the record store cannot hold a {wanted} journal (it gave {mode}): "
            "move the data folder to a local disk",
        )


def _is_clean_wal(file: _File) -> bool:
    """A database in WAL mode that was closed in order: it can be read as it is, and
    only so without writing beside it (bytes 18 and 19 of
    https://sqlite.org/fileformat2.html). Raises INVALID_STATE when its log is there."""
    try:
        with file.path.open("rb") as opened:
            head = opened.read(20)
    except OSError as error:
        raise DriverUnavailable(f"there is no readable {file.path.name}") from error
    if head[18:20] != b"\x02\x02":
        return False
    wal = file.path.with_name(file.path.name + "-wal")
    if wal.exists() and wal.stat().st_size:
        raise WorkspaceError(
            Reason.ERROR_REASON_INVALID_STATE,
            f"{file.path} was not closed in order and cannot be read without writing: start "
            "`wm serve` on that folder once and stop it, or open it for writing",
            metadata={"file": file.path.name},
        )
    return True


def _migrate(connection: sqlite3.Connection) -> None:
    engine = create_engine("sqlite://", creator=lambda: connection, poolclass=StaticPool)
    # Not disposed of: that would close the connection, which is ours.
    try:
        with engine.connect() as wrapped:
            wrapped.exec_driver_sql("BEGIN IMMEDIATE")
            upgrade(wrapped)
            wrapped.commit()
    except DBAPIError as error:
        raise error.orig or error from error


def _check_format(connection: sqlite3.Connection) -> None:
    """The same refusals as `upgrade`, for what may not be changed."""
    found = connection.execute("SELECT 1 FROM sqlite_schema WHERE name = 'meta'").fetchone()
    rows = dict(connection.execute("SELECT name, value FROM meta").fetchall()) if found else {}
    require_format(int(rows.get("format", 0)), int(rows.get("min_format", 0)), read_only=True)


def _store_id(connection: sqlite3.Connection, *, make: bool) -> str:
    text = "INSERT INTO meta (name, value) VALUES (?, ?) ON CONFLICT DO NOTHING"
    if make:
        connection.execute(text, ("store_id", secrets.token_hex(8)))
    row = connection.execute("SELECT value FROM meta WHERE name = 'store_id'").fetchone()
    return str(row[0])


def _last_seq(connection: sqlite3.Connection) -> int:
    newest = connection.execute("SELECT coalesce(max(seq), 0) FROM items").fetchone()[0]
    row = connection.execute("SELECT value FROM meta WHERE name = 'seq_floor'").fetchone()
    return max(int(newest), int(row[0]) if row else 0)


def _set_meta(connection: sqlite3.Connection, name: str, value: str) -> None:
    connection.execute(
        "INSERT INTO meta (name, value) VALUES (?, ?) "
        "ON CONFLICT (name) DO UPDATE SET value = excluded.value",
        (name, value),
    )
