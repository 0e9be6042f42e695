"""A database and an S3 server of one deployment, which may go away and come back."""

from __future__ import annotations

import os
import tempfile
import uuid
from pathlib import Path

import psycopg
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from tests.conformance.records.harness import PostgresServer
from tests.servers import aws, tools
from tests.servers.aws import ACCESS_KEY, REGION, SECRET_KEY
from tests.servers.ports import free_port
from tests.servers.process import Server, remove_later

__all__ = ["ObjectServer", "Stores"]


class ObjectServer:
    """An S3 server at one port for as long as it lives; made without running."""

    def __init__(self) -> None:
        self._folder, self._port = Path(tempfile.mkdtemp(prefix="versitygw-")), free_port()
        self._server: Server | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._port}"

    def start(self, bucket: str = "") -> None:
        """Run, with this bucket if it is named."""
        if bucket:
            (self._folder / bucket).mkdir(exist_ok=True)
        command = [
            str(tools.versitygw()), "--port", f"127.0.0.1:{self._port}", "--region", REGION,
            "--access", ACCESS_KEY, "--secret", SECRET_KEY, "posix", str(self._folder),
        ]  # fmt: skip
        self._server = Server(command, url=self.url + "/")

    def stop(self) -> None:
        """What was written stays."""
        if self._server is not None:
            self._server.stop()

    def close(self) -> None:
        self.stop()
        remove_later(self._folder)


class Stores:
    """Both answer at the same place after they come back. Calls block."""

    def __init__(self) -> None:
        os.environ.update(aws.environment())
        self._postgres = PostgresServer()
        with psycopg.connect(self._postgres.uri, autocommit=True) as connection:
            for name in ("fsync", "full_page_writes"):  # no crash here: it is stopped
                connection.execute(f"ALTER SYSTEM SET {name} = off".encode())
        self.objects, self.bucket = ObjectServer(), f"wm-{uuid.uuid4().hex[:20]}"
        self.objects.start(self.bucket)

    def database(self) -> str:
        """The connection string of a new database."""
        return self._postgres.database()

    def guarded_database(self, password: str) -> str:
        """A new database of a user who needs a password, which is not in the answer."""
        user = f"guarded_{uuid.uuid4().hex[:8]}"
        dsn = conninfo_to_dict(self._postgres.database())
        self._postgres.require_password(user)
        with psycopg.connect(self._postgres.uri, autocommit=True) as connection:
            connection.execute(f"CREATE ROLE {user} LOGIN PASSWORD '{password}'".encode())
            connection.execute(f"ALTER DATABASE {dsn['dbname']} OWNER TO {user}".encode())
        return make_conninfo(**{**dsn, "user": user})

    def set_password(self, dsn: str, password: str) -> None:
        """Of the user of `dsn`."""
        user = conninfo_to_dict(dsn)["user"]
        with psycopg.connect(self._postgres.uri, autocommit=True) as connection:
            connection.execute(f"ALTER ROLE {user} PASSWORD '{password}'".encode())

    def stop_database(self) -> None:
        """`pg_ctl stop -m fast`: connections end, what was committed stays."""
        self._postgres.halt()

    def start_database(self) -> None:
        self._postgres.resume()

    def close(self) -> None:
        self.objects.close()
        self._postgres.stop()
