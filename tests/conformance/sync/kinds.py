"""The kinds of surface under test, in one table, each opened as a run opens it.

A new kind of surface adds a row to `SURFACES`: how its manifest is made in an empty
place. A new record store for workspaces adds one to `LOCALS`.
"""

from __future__ import annotations

import os
import uuid
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest
from psycopg.conninfo import conninfo_to_dict
from workspace.project.v1.project_pb2 import Project
from workspace.sync.v1.connection_pb2 import Connection, Trust

from services.model.clocks import HybridClock
from services.model.families import FAMILIES
from services.objects.filesystem import FilesystemDriver
from services.objects.keyring import Keyring
from services.objects.store import ObjectStore
from services.objects.tokens import UrlSigner
from services.private_files import make_folder
from services.records.instance import open_instance
from services.records.port import RecordDriver
from services.records.record import Activity, Write
from services.records.sql import PostgresDriver, SqliteDriver
from services.records.store import RecordStore
from sync_svc.connections.providers import folder_of
from sync_svc.surfaces.aws import variable_of
from sync_svc.surfaces.opening import SurfaceOpener
from sync_svc.surfaces.surface import Surface
from tests.chosen_records import postgres_of
from tests.servers import aws, azure_stores, tools
from tests.unit.sync_svc.engine.world import Clock, World


def dsn_of(folder: Path) -> str:
    """The database that goes with a folder."""
    return str(postgres_of(folder)["records_dsn"])


async def sqlite_records(folder: Path) -> RecordDriver:
    return await SqliteDriver.open(folder / "workspace.sqlite")


async def postgres_records(folder: Path) -> RecordDriver:
    return await PostgresDriver.open(dsn_of(folder))


async def open_workspace(
    folder: Path, clock: Clock, records: Callable[[Path], Awaitable[RecordDriver]]
) -> Surface:
    """A workspace's own stores, as a process that starts opens them."""
    make_folder(folder)
    driver = await records(folder)
    instance = await open_instance(driver)
    store = RecordStore(driver, actor=instance.actor, clock=HybridClock(clock.millis))
    signer = UrlSigner(Keyring.open(folder / "keys", create=True))
    files = FilesystemDriver(folder / "objects", signer=signer, public_url="http://localhost")
    return Surface("", instance, store, ObjectStore(files))


async def backup_folder(folder: Path, _: Clock) -> dict[str, Any]:
    """An empty folder: SQLite with a rollback journal, and files."""
    return {"provider": "local", "settings": {"folder": str(folder)}}


async def data_folder(folder: Path, clock: Clock) -> dict[str, Any]:
    """The data folder of another node that is not being served, used before."""
    node = await open_workspace(folder, clock, sqlite_records)
    message = Project(project_id="p_before", name="before")
    family = FAMILIES["project"]
    await node.records.commit(
        "PROJECT#p_before", [Write(family, message, base=None)],
        activity=Activity("test.written", "p_before", project_id="p_before"),
    )
    await node.records.close()
    await node.objects.close()
    return {"provider": "local", "settings": {"folder": str(folder)}}


def _database(folder: Path) -> dict[str, str]:
    parts = conninfo_to_dict(dsn_of(folder))
    return {
        "host": str(parts["host"]), "port": str(parts.get("port", "5432")),
        "database": str(parts["dbname"]), "user": str(parts["user"]),
    }  # fmt: skip


def _bucket() -> dict[str, str]:
    """A new bucket on the S3 server that verifies signatures."""
    server, bucket = aws.versitygw(), f"surface-{uuid.uuid4().hex[:16]}"
    aws.make_bucket(server, bucket)
    endpoint = server.url.rstrip("/")
    return {
        "region": aws.REGION, "bucket": bucket, "s3_endpoint": endpoint, "path_style": "true"
    }  # fmt: skip


async def postgres(folder: Path, _: Clock) -> dict[str, Any]:
    """An empty database of a real server, and a folder of objects."""
    settings = {**_database(folder), "folder": str(folder)}
    return {"provider": "postgres", "settings": settings}


async def postgres_s3(folder: Path, _: Clock) -> dict[str, Any]:
    """An empty database of a real server, and an empty bucket."""
    return {"provider": "postgres", "settings": {**_database(folder), **_bucket()}}


async def aws_surface(_: Path, __: Clock) -> dict[str, Any]:
    """An empty table of DynamoDB Local, and an empty bucket."""
    server, table = aws.dynamodb_local(), f"surface-{uuid.uuid4().hex[:16]}"
    aws.make_table(server, table)
    settings = {"table": table, "dynamodb_endpoint": server.url.rstrip("/")}
    return {"provider": "aws", "settings": {**_bucket(), **settings}}


async def azure_surface(_: Path, __: Clock) -> dict[str, Any]:
    """Empty containers: the fake of Cosmos DB, and Azurite."""
    return {"provider": "azure", "settings": azure_stores.new_stores().settings}


SURFACES: dict[str, Callable[[Path, Clock], Awaitable[dict[str, Any]]]] = {
    "backup-folder": backup_folder,
    "data-folder": data_folder,
    "postgres": postgres,
    "postgres-s3": postgres_s3,
    "aws": aws_surface,
    "azure": azure_surface,
}

_NEEDED = {
    "postgres-s3": (tools.HAS_GO, "capability: an S3 server (versitygw needs Go)"),
    "aws": (
        tools.HAS_GO and tools.HAS_JAVA,
        "capability: DynamoDB Local (needs Java and Maven) and an S3 server (needs Go)",
    ),
    "azure": (tools.HAS_NPM, "capability: Azurite (needs npm)"),
}

LOCALS: dict[str, Callable[[Path], Awaitable[RecordDriver]]] = {
    "sqlite": sqlite_records,
    "postgresql": postgres_records,
}

def _case(local: str, surface: str) -> Any:
    has, reason = _NEEDED.get(surface, (True, ""))
    missing = pytest.mark.skipif(not has, reason=reason)
    return pytest.param((local, surface), marks=[missing], id=f"{local}-to-{surface}")


CASES = [*(_case("sqlite", surface) for surface in SURFACES), _case("postgresql", "postgres")]
"""Every surface, and every local store (it matters less: the port is the same).
The records of one node and of its surface may well be on one server."""


@dataclass
class Rig(World):
    """A world whose `remote` is a surface of one kind, opened from its manifest, and
    whose other names are workspaces of one kind of record store. Every name has a
    folder of its own."""

    local_kind: str = "sqlite"
    surface_kind: str = "backup-folder"
    setenv: Callable[[str, str], object] = os.environ.__setitem__
    manifests: dict[str, Connection] = field(default_factory=dict)
    stacks: dict[str, AsyncExitStack] = field(default_factory=dict)

    async def open(self, *names: str) -> None:
        for name in names:
            stack = self.stacks[name] = AsyncExitStack()
            if name.startswith("remote"):
                self.surfaces[name] = await stack.enter_async_context(await self._surface(name))
            else:
                self.surfaces[name] = await self._workspace(name, stack)

    async def shut(self, name: str) -> None:
        """Close it, as at the end of a run or of a process."""
        await self.stacks.pop(name).aclose()
        del self.surfaces[name]

    async def reopen(self, name: str) -> None:
        await self.shut(name)
        await self.open(name)

    async def close(self) -> None:
        for name in list(self.stacks):
            await self.shut(name)

    def connection(self, name: str) -> Connection:
        return self.manifests[name]

    async def _surface(self, name: str) -> Any:
        if name not in self.manifests:
            made = await SURFACES[self.surface_kind](self.folder / name, self.clock)
            self.manifests[name] = Connection(
                connection_id=f"c-{name}", trust=Trust.TRUST_FULL, **made
            )
            self._lend_keys(self.manifests[name])
        opener = SurfaceOpener(
            own_instance_id="", data_dir=self.folder / "elsewhere", wall_ms=self.clock.millis
        )
        return opener(self.manifests[name])

    async def _workspace(self, name: str, stack: AsyncExitStack) -> Surface:
        surface = await open_workspace(self.folder / name, self.clock, LOCALS[self.local_kind])
        stack.push_async_callback(surface.records.close)
        stack.push_async_callback(surface.objects.close)
        return replace(surface, name=name)

    def _lend_keys(self, connection: Connection) -> None:
        """The credentials of the test servers, as the connection's own."""
        if "bucket" in connection.settings:
            for part, value in (
                ("ACCESS_KEY_ID", aws.ACCESS_KEY), ("SECRET_ACCESS_KEY", aws.SECRET_KEY)
            ):  # fmt: skip
                self.setenv(variable_of(connection.connection_id, part), value)

    async def lose_object(self, name: str, key: str) -> None:
        """Take the bytes of an object away, behind the back of its store."""
        folder = folder_of(self.manifests[name])
        if folder is None:
            await self.surfaces[name].objects.driver.delete(key)
            return
        path = folder / "objects" / key
        path.chmod(0o600)
        path.unlink()
