"""Alembic environment: runs on the connection that `upgrade` was given."""

from __future__ import annotations

from alembic import context
from sqlalchemy import Connection

from services.records.sql.schema import metadata


def _run(connection: Connection) -> None:
    context.configure(connection=connection, target_metadata=metadata)
    with context.begin_transaction():
        context.run_migrations()


_run(context.config.attributes["connection"])
