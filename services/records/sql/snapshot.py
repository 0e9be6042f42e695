"""Every row of one moment, read in one transaction beside the process that writes.

For backups. SQLite: a read transaction of the write-ahead log, from another
process than the one that owns the file (https://sqlite.org/isolation.html).
PostgreSQL: REPEATABLE READ (PostgreSQL 18 manual, 13.2.2).
"""

from __future__ import annotations

import asyncio
import math
import sqlite3
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

from services.records.port import DriverUnavailable, Item
from services.records.sql.rows import item_of_row
from services.records.sql.statements import PostgresStatements, SqliteStatements

__all__ = ["postgres_snapshot", "sqlite_snapshot"]

_PAGE = 1000


async def sqlite_snapshot(path: Path, *, page: int = _PAGE) -> AsyncIterator[list[Item]]:
    """Pages of unexpired items in key order. Raises DriverUnavailable."""
    statements = SqliteStatements()
    connection = await asyncio.to_thread(_open_sqlite, path)
    try:
        after: Item | None = None
        while True:
            text = statements.scan_after if after else statements.scan_first
            rows = await asyncio.to_thread(_fetch, connection, text, _bounds(after, page))
            if not rows:
                return
            items = [item_of_row(row) for row in rows]
            yield items
            after = items[-1]
    except sqlite3.Error as error:
        raise DriverUnavailable(f"{path} cannot be read: {error}") from error
    finally:
        connection.close()


async def postgres_snapshot(dsn: str, *, page: int = _PAGE) -> AsyncIterator[list[Item]]:
    """Pages of unexpired items in key order. Raises DriverUnavailable."""
    import psycopg  # an extra: SQLite alone needs none

    statements = PostgresStatements()
    try:
        async with await psycopg.AsyncConnection.connect(dsn) as connection:
            await connection.set_isolation_level(psycopg.IsolationLevel.REPEATABLE_READ)
            await connection.set_read_only(True)
            after: Item | None = None
            while True:
                text = statements.scan_after if after else statements.scan_first
                cursor = await connection.execute(text.encode(), _bounds(after, page))
                items = [item_of_row(row) for row in await cursor.fetchall()]
                if not items:
                    return
                yield items
                after = items[-1]
    except psycopg.Error as error:
        raise DriverUnavailable(f"PostgreSQL cannot be read: {error}") from error


def _bounds(after: Item | None, limit: int) -> dict[str, Any]:
    bounds: dict[str, Any] = {"now": math.floor(time.time()), "limit": limit}
    return bounds | {"pk": after.key.pk, "sk": after.key.sk} if after else bounds


def _open_sqlite(path: Path) -> sqlite3.Connection:
    try:
        connection = sqlite3.connect(
            f"file:{path}?mode=ro", uri=True, isolation_level=None, check_same_thread=False
        )
        connection.execute("BEGIN")
    except sqlite3.Error as error:
        raise DriverUnavailable(f"{path} cannot be opened: {error}") from error
    return connection


def _fetch(connection: sqlite3.Connection, text: str, bounds: dict[str, Any]) -> list[Any]:
    return connection.execute(text, bounds).fetchall()
