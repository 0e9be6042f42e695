"""SQL drivers of the record store: SQLite (embedded) and PostgreSQL.

`SqliteDriver` needs the standard library only. `PostgresDriver` is loaded on
first use, since psycopg is an extra (`workspace-management[postgres]`).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from services.records.sql.sqlite import SqliteDriver

if TYPE_CHECKING:
    from services.records.sql.postgres import PostgresDriver

__all__ = ["PostgresDriver", "SqliteDriver"]


def __getattr__(name: str) -> Any:
    if name == "PostgresDriver":
        from services.records.sql.postgres import PostgresDriver

        return PostgresDriver
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
