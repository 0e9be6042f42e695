"""Tables and identity of a PostgreSQL record store, made when it is opened; and what a
database has, before anything is changed."""

from __future__ import annotations

import secrets
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from urllib.parse import quote

from sqlalchemy import Connection, create_engine, text
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.exc import DBAPIError
from sqlalchemy.pool import NullPool

from services.model.errors import Reason, WorkspaceError
from services.records.sql.migrations import (
    THIS,
    Release,
    formats_of,
    require_format,
    require_migrated,
    upgrade,
)
from services.records.sql.schema import meta

__all__ = ["check_postgres", "postgres_formats", "provision_postgres", "sqlite_formats"]

_LOCK = 0x776D7265636F7264  # "wmrecord": one process at a time provisions
_PROVIDER = """
SELECT (SELECT system_identifier FROM pg_control_system()) || ':' ||
       (SELECT oid FROM pg_database WHERE datname = current_database())
"""

_MAY_WRITE = """
SELECT has_table_privilege('items', 'SELECT') AND has_table_privilege('items', 'INSERT')
   AND has_table_privilege('items', 'UPDATE') AND has_table_privilege('items', 'DELETE')
   AND has_sequence_privilege('items_rev', 'USAGE')
"""

_GRANTS = (
    "the database cannot be written by its user: let it create tables in its schema (GRANT "
    "CREATE), or run `wm migrate` as another user and grant this one SELECT, INSERT, UPDATE and "
    "DELETE on the tables items and meta and USAGE on the sequence items_rev; see "
    "docs/operations/upgrades.md"
)
_OWNER = (
    "the tables of the database are at {found}, this release needs {needed}, and the database's "
    "user may not make or change them: run `wm migrate` with the WM_RECORDS_DSN of a user who "
    "owns them, or may create them (GRANT CREATE ON SCHEMA); see docs/operations/upgrades.md"
)


def provision_postgres(
    dsn: str, connect_timeout: int, *, migrate: bool = True, release: Release = THIS
) -> int:
    """Create or migrate the tables in one transaction; with `migrate` False they must be
    there, and rights on their rows are enough. Blocks. Returns the format they had.

    Raises psycopg.Error, or WorkspaceError INVALID_STATE when the database needs newer
    code or `wm migrate`, or its user may not do what is needed.
    """
    with _allowed(_GRANTS), _connected(dsn, connect_timeout) as connection:
        if not migrate:  # before the lock: not to wait for somebody who migrates
            require_migrated(*formats_of(connection), release=release)
        connection.execute(text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": _LOCK})
        found, _ = formats_of(connection)
        if migrate:
            with _allowed(_OWNER.format(found=found, needed=release.format)):
                upgrade(connection, release=release)
        _identify(connection)
        if not connection.execute(text(_MAY_WRITE)).scalar_one():
            raise _refused(_GRANTS)
    return found


def check_postgres(dsn: str, connect_timeout: int) -> None:
    """The refusals of `provision_postgres` for what may only be read. Blocks."""
    found, oldest = postgres_formats(dsn, connect_timeout)
    require_format(found, oldest, read_only=True)


def postgres_formats(dsn: str, connect_timeout: int) -> tuple[int, int]:
    """The format of a database (0: empty) and the oldest code it admits; nothing is
    changed. Blocks. Raises psycopg.Error."""
    with _connected(dsn, connect_timeout) as connection:
        return formats_of(connection)


def sqlite_formats(path: Path) -> tuple[int, int] | None:
    """The same of an SQLite file, also while a process has it open; None: there is no
    file. Blocks. Raises sqlite3.Error."""
    if not path.exists():
        return None
    address = f"file:{quote(str(path))}?mode=ro"
    engine = create_engine(
        "sqlite://", creator=lambda: sqlite3.connect(address, uri=True), poolclass=NullPool
    )
    try:
        with closing(engine.connect()) as connection:
            return formats_of(connection)
    except DBAPIError as error:
        raise error.orig or error from error


@contextmanager
def _connected(dsn: str, connect_timeout: int) -> Iterator[Connection]:
    """One transaction; errors are psycopg's own."""
    import psycopg

    engine = create_engine(
        "postgresql+psycopg://",
        creator=lambda: psycopg.connect(dsn, connect_timeout=max(2, connect_timeout)),
        poolclass=NullPool,
    )
    try:
        with engine.begin() as connection:
            yield connection
    except DBAPIError as error:
        raise error.orig or error from error


@contextmanager
def _allowed(remedy: str) -> Iterator[None]:
    """What the server does not let its user do, as a reason."""
    from psycopg import errors

    refusals = (errors.InsufficientPrivilege, errors.ReadOnlySqlTransaction)
    try:
        yield
    except refusals as error:
        raise _refused(remedy) from error
    except DBAPIError as error:
        if isinstance(error.orig, refusals):
            raise _refused(remedy) from error
        raise


def _refused(remedy: str) -> WorkspaceError:
    return WorkspaceError(Reason.ERROR_REASON_INVALID_STATE, remedy)


def _identify(connection: Connection) -> None:
    """Name the store, and notice rows that came from another server.

    Transaction ids of a dump mean nothing here: they may lie in the future,
    where the feed would not show them. Such rows are stamped anew; cursors of
    the old server are lost anyway, by the identity.
    """
    _keep(connection, "store_id", secrets.token_hex(8))
    provider = str(connection.execute(text(_PROVIDER)).scalar_one())
    if _keep(connection, "provider", provider) != provider:
        connection.execute(text("UPDATE items SET seq = pg_current_xact_id()"))
        connection.execute(meta.update().where(meta.c.name == "provider").values(value=provider))


def _keep(connection: Connection, name: str, value: str) -> str:
    """Set a fact unless it is set; returns what holds now."""
    connection.execute(insert(meta).values(name=name, value=value).on_conflict_do_nothing())
    row = connection.execute(meta.select().where(meta.c.name == name)).one()
    return str(row.value)
