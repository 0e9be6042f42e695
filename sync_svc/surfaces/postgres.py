"""A PostgreSQL database with a folder of objects as a surface.

The password comes from the environment of the server: `WM_CONNECTION_<ID>_PASSWORD`
(the id in capitals, `-` as `_`), else libpq's password file (PGPASSFILE), which
names the host it is for. PGPASSWORD is not used: it would be sent to any host.
"""

from __future__ import annotations

import os
from collections.abc import Mapping

from workspace.sync.v1.connection_pb2 import Connection

from services.model.errors import Reason, WorkspaceError
from services.records.port import DriverUnavailable, RecordDriver, StorageFull
from services.records.sql import PostgresDriver
from sync_svc.connections.providers import is_loopback
from sync_svc.surfaces.cloud import variable_of

__all__ = ["conninfo_of", "open_postgres_records", "password_variable"]

_CONNECT_SECONDS = 6.0
_REFUSED = ("28P01", "28000")
_SAID = ("authentication failed", "no password supplied", "pg_hba.conf", "does not exist")


def password_variable(connection_id: str) -> str:
    """The environment variable with the password of a connection."""
    return variable_of(connection_id, "PASSWORD")


def conninfo_of(connection: Connection, environment: Mapping[str, str] = os.environ) -> str:
    """The libpq connection string. Other machines are spoken to over TLS, with the
    certificate verified unless the manifest says less."""
    from psycopg.conninfo import make_conninfo

    settings = dict(connection.settings)
    near = is_loopback(settings["host"])
    given: dict[str, str] = {
        "host": settings["host"],
        "port": settings.get("port", "5432"),
        "dbname": settings["database"],
        "user": settings["user"],
        # Empty: libpq then looks into its password file, but not at PGPASSWORD.
        "password": environment.get(password_variable(connection.connection_id), ""),
        "sslmode": settings.get("sslmode", "prefer" if near else "verify-full"),
        "application_name": "workspace-sync",
    }
    if given["sslmode"] in ("verify-full", "verify-ca"):
        given["sslrootcert"] = settings.get("sslrootcert", "system")
    if "schema" in settings:
        given["options"] = f"-csearch_path={settings['schema']}"
    return make_conninfo(**given)


async def open_postgres_records(connection: Connection, *, read_only: bool) -> RecordDriver:
    """The database that the manifest names. Raises BACKEND_UNAVAILABLE, without the
    server's text: it may name people."""
    settings = connection.settings
    where = f"{settings['host']}:{settings.get('port', '5432')}"
    try:
        return await PostgresDriver.open(
            conninfo_of(connection), min_size=1, max_size=6,
            connect_timeout=_CONNECT_SECONDS, read_only=read_only,
        )  # fmt: skip
    except StorageFull as error:
        raise WorkspaceError(
            Reason.ERROR_REASON_STORAGE_FULL, f"the database server {where} has no space left"
        ) from error
    except DriverUnavailable as error:
        if _is_refused(error):
            text = (
                f"the database server {where} does not let user '{settings['user']}' in; set "
                f"{password_variable(connection.connection_id)} in the environment of this server"
            )
        else:
            text = f"the database server {where} does not answer: {error}"
        raise WorkspaceError(
            Reason.ERROR_REASON_BACKEND_UNAVAILABLE, text, metadata={"backend": "surface"}
        ) from error


def _is_refused(error: BaseException) -> bool:
    """Whether the server answered, and sent us away (SQLSTATE class 28; libpq does not
    always tell the state of a connection that was not made)."""
    cause, seen = error.__cause__, set[int]()
    while cause is not None and id(cause) not in seen:  # causes may go round
        seen.add(id(cause))
        text = str(cause)
        if getattr(cause, "sqlstate", None) in _REFUSED or any(each in text for each in _SAID):
            return True
        cause = cause.__cause__
    return False
