"""Tables and identity of a PostgreSQL record store, made when it is opened."""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from contextlib import contextmanager

from sqlalchemy import Connection, create_engine, text
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.exc import DBAPIError
from sqlalchemy.pool import NullPool

from services.model.errors import Reason, WorkspaceError
from services.records.sql.migrations import formats_of, require_format, upgrade
from services.records.sql.schema import meta

__all__ = ["check_postgres", "provision_postgres"]

_LOCK = 0x776D7265636F7264  # "wmrecord": one process at a time provisions
_PROVIDER = """
SELECT (SELECT system_identifier FROM pg_control_system()) || ':' ||
       (SELECT oid FROM pg_database WHERE datname = current_database())
"""

_MAY_WRITE = """
SELECT has_table_privilege('items', 'INSERT') AND has_table_privilege('items', 'UPDATE')
"""


def provision_postgres(dsn: str, connect_timeout: int) -> None:
    """Create or migrate the tables in one transaction. Blocks.

    Raises psycopg.Error, or WorkspaceError when the database needs newer code or its
    user may not write.
    """
    with _writing(), _connected(dsn, connect_timeout) as connection:
        connection.execute(text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": _LOCK})
        upgrade(connection)
        _identify(connection)
        if not connection.execute(text(_MAY_WRITE)).scalar_one():
            raise _read_only()


def check_postgres(dsn: str, connect_timeout: int) -> None:
    """The refusals of `provision_postgres` for what may only be read. Blocks."""
    with _connected(dsn, connect_timeout) as connection:
        require_format(*formats_of(connection), read_only=True)


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
def _writing() -> Iterator[None]:
    """What the server does not let its user write, as a reason."""
    from psycopg import errors

    try:
        yield
    except (errors.InsufficientPrivilege, errors.ReadOnlySqlTransaction) as error:
        raise _read_only() from error


def _read_only() -> WorkspaceError:
    return WorkspaceError(
        Reason.ERROR_REASON_INVALID_STATE,
        "the database cannot be written by its user; let it create tables in its schema "
        "(GRANT CREATE), or grant INSERT, UPDATE and DELETE on the tables items and meta",
    )


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
