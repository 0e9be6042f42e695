"""The stores that in-process tests run on, chosen for a whole run of pytest.

WM_TEST_RECORDS=postgresql gives every data folder a database of its own on one
server of this pytest process; =dynamodb a table of its own on DynamoDB Local and a
bucket on an S3 server; =cosmos a container of its own on the fake of Cosmos DB and one of
Azurite; unset (or sqlite) it is the file in that folder. A test that
names its records itself is not touched. With WM_TEST_LATE_INDEXES=n indexes of DynamoDB
do not show the newest n entries (0: all are shown at once).
"""

from __future__ import annotations

import os
import ssl
import time
import uuid
from collections.abc import Callable
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import Any

import httpx
import psycopg
import pytest

from services.records.port import RecordDriver
from services.records.sql import PostgresDriver, SqliteDriver
from services.rpc.channels import PeerChannel
from services.rpc.deadline import DeadlineLimits
from tests.conformance.records.harness import PostgresServer
from tests.servers import aws, azure
from tests.servers.late_indexes import LateIndexes

__all__ = [
    "aws_of", "azure_of", "be_patient", "chosen", "chosen_server", "environment_of",
    "give_time", "in_cloud",
    "needs_data_plane", "needs_files", "needs_sqlite", "open_chosen",
    "plain_client", "postgres_of", "provider", "recycle_databases", "settings_of", "stop_server",
]  # fmt: skip


def chosen() -> str:
    """`sqlite`, `postgresql`, `dynamodb` or `cosmos`."""
    name = os.environ.get("WM_TEST_RECORDS", "sqlite")
    if name not in {"sqlite", "postgresql", "dynamodb", "cosmos"}:
        raise pytest.UsageError(f"WM_TEST_RECORDS={name}: sqlite, postgresql, dynamodb or cosmos")
    return name


def provider() -> str:
    """`local`, `aws` or `azure`, as a process says it."""
    return {"dynamodb": "aws", "cosmos": "azure"}.get(chosen(), "local")


def in_cloud() -> bool:
    """Whether records and objects are in a cloud."""
    return provider() != "local"


_PATIENT, _PATIENT_TEST = 90.0, 600

needs_sqlite = pytest.mark.skipif(
    chosen() != "sqlite", reason="capability: the records are a file (SQLite)"
)

needs_data_plane = pytest.mark.skipif(
    in_cloud(), reason="capability: URLs of transfers are those of our data plane, which "
    "checks each request (those of S3 and of Blob Storage end with their time)"
)  # fmt: skip

needs_files = pytest.mark.skipif(
    in_cloud(), reason="capability: the objects are files in the data folder"
)


@cache
def chosen_server() -> PostgresServer:
    """The one server of this process; `stop_server` ends it. Its answers are not
    made durable: what survives a crash is the matter of tests/durability."""
    server = PostgresServer()
    with psycopg.connect(server.uri, autocommit=True) as connection:
        for name, value in (("fsync", "off"), ("full_page_writes", "off")):
            connection.execute(f"ALTER SYSTEM SET {name} = {value}".encode())
        connection.execute("SELECT pg_reload_conf()")
    return server


class _Databases:
    """Databases by data folder: who opens a folder again finds its rows. What is
    not needed any more is emptied for the next folder, for making one is slow."""

    def __init__(self) -> None:
        self._taken: dict[Path, str] = {}
        self._empty: list[str] = []

    def of(self, folder: Path) -> str:
        """The connection string of a folder's database."""
        if folder not in self._taken:
            self._taken[folder] = self._empty.pop() if self._empty else chosen_server().database()
        return self._taken[folder]

    def recycle(self) -> None:
        """Empty those that nobody has open."""
        for folder, dsn in tuple(self._taken.items()):
            with psycopg.connect(dsn, autocommit=True) as connection:
                [(others,)] = connection.execute(_OTHERS).fetchall()
                if others:
                    continue
                with suppress(psycopg.errors.UndefinedTable):  # never opened
                    connection.execute(_EMPTY)
            self._empty.append(dsn)
            del self._taken[folder]


_OTHERS = """SELECT count(*) FROM pg_stat_activity
WHERE datname = current_database() AND pid <> pg_backend_pid()"""
# Without `meta` it is another store to those who kept a cursor.
_EMPTY = "TRUNCATE items, meta"


@cache
def _databases() -> _Databases:
    return _Databases()


def be_patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the store is an emulator beside the test, calls may take longer: those that are
    served, and those that the test and the services make."""
    if in_cloud():
        limits = DeadlineLimits(default_unary=_PATIENT, max_unary=_PATIENT)
        monkeypatch.setattr("services.rpc.stack.DeadlineLimits", lambda: limits)
        monkeypatch.setattr("services.rpc.local.channel.UNARY_TIMEOUT", _PATIENT)
        monkeypatch.setitem(PeerChannel.__init__.__kwdefaults__ or {}, "unary_timeout", _PATIENT)


def give_time(items: list[pytest.Item]) -> None:
    """Where the store is an emulator a call takes ten times as long: so does a test that is
    bounded by nothing but the limit of pyproject.toml."""
    for item in items if in_cloud() else ():
        if item.get_closest_marker("timeout") is None:
            item.add_marker(pytest.mark.timeout(_PATIENT_TEST))


def settings_of(folder: Path) -> dict[str, Any]:
    """The settings that choose the record store of a data folder."""
    match chosen():
        case "sqlite":
            return {}
        case "postgresql":
            return postgres_of(folder)
        case "dynamodb":
            return aws_of(folder)
        case _:
            return azure_of(folder)


def environment_of(folder: Path) -> dict[str, str]:
    """`settings_of` as environment variables, for what loads its settings itself."""
    return {f"WM_{name.upper()}": str(value) for name, value in settings_of(folder).items()}


def postgres_of(folder: Path) -> dict[str, Any]:
    """Settings for PostgreSQL, whatever was chosen: for tests of several processes."""
    return {"records": "postgresql", "records_dsn": _databases().of(folder)}


@cache
def aws_of(folder: Path) -> dict[str, Any]:
    """Settings for a table and a bucket that belong to a folder."""
    name = f"wm-{uuid.uuid4().hex[:20]}"
    os.environ.update(aws.environment())
    aws.make_table(aws.dynamodb_local(), name)
    aws.make_bucket(aws.versitygw(), name)
    return {
        "records": "dynamodb", "objects": "s3",
        "aws_region": aws.REGION,
        "aws_dynamodb_table": name,
        "aws_dynamodb_endpoint": _dynamodb_endpoint(),
        "aws_s3_bucket": name,
        "aws_s3_endpoint": aws.versitygw().url.rstrip("/"),
        "aws_s3_path_style": True,
    }  # fmt: skip


@cache
def _dynamodb_endpoint() -> str:
    server = aws.dynamodb_local().url.rstrip("/")
    newest = int(os.environ.get("WM_TEST_LATE_INDEXES", "0"))
    # It serves until the process ends, as the server behind it does.
    return LateIndexes(server, newest=newest).start().url if newest else server


@cache
def azure_of(folder: Path) -> dict[str, Any]:
    """Settings for two containers that belong to a folder, of records and of objects."""
    from tests.servers.azure_stores import new_stores

    os.environ.update(azure.environment())
    return new_stores("wm").selection


def plain_client() -> httpx.AsyncClient:
    """A client without rights, for the URLs of transfers: it trusts Azurite when objects are
    there, and elsewhere, where nothing has TLS, no authority: to load them takes long."""
    trusted = azure.trusted() if chosen() == "cosmos" else _nobody()
    return httpx.AsyncClient(timeout=60, verify=trusted)


@cache
def _nobody() -> ssl.SSLContext:
    return ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)


async def open_chosen(folder: Path, *, clock: Callable[[], float] = time.time) -> RecordDriver:
    """The record driver of a folder (SQLite: `workspace.sqlite` in it)."""
    if chosen() == "sqlite":
        return await SqliteDriver.open(folder / "workspace.sqlite", clock=clock)
    if chosen() == "dynamodb":
        from services.records.dynamodb import DynamoDriver

        table = aws_of(folder)["aws_dynamodb_table"]
        return await DynamoDriver.open(aws.clients_of(aws.dynamodb_local()), table, clock=clock)
    if chosen() == "cosmos":
        return await _open_cosmos(azure_of(folder), clock)
    return await PostgresDriver.open(_databases().of(folder), clock=clock)


async def _open_cosmos(settings: dict[str, Any], clock: Callable[[], float]) -> RecordDriver:
    from services.azure.clients import AzureClients
    from services.records.cosmos import CosmosDriver

    clients = AzureClients(azure.place({"cosmos": settings["azure_cosmos_endpoint"]}))
    names = [settings[f"azure_cosmos_{name}"] for name in ("account", "database", "container")]
    return await CosmosDriver.open(clients, *names, clock=clock)


def recycle_databases() -> None:
    """Empty the databases that nobody has open any more."""
    if chosen_server.cache_info().currsize:
        _databases().recycle()


def stop_server() -> None:
    """End the server, if there is one."""
    if chosen_server.cache_info().currsize:
        chosen_server().stop()
        chosen_server.cache_clear()
