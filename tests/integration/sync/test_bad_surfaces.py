"""What is wrong with a surface, a manifest or a request is refused with its documented
reason, and both sides stay whole: afterwards everything arrives as if nothing had been."""

from __future__ import annotations

import asyncio
import json
import os
import sqlite3
import subprocess
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, closing
from pathlib import Path
from typing import Any

import grpc
import grpc.aio
import psycopg
import pytest
from psycopg.conninfo import conninfo_to_dict
from workspace.project.v1.document_pb2 import Document
from workspace.sync.v1.conflict_pb2 import Resolution
from workspace.sync.v1.connection_pb2 import Connection, Trust
from workspace.sync.v1.connection_service_pb2 import CreateConnectionRequest, GetConnectionRequest
from workspace.sync.v1.connection_service_pb2_grpc import ConnectionServiceStub
from workspace.sync.v1.quarantine_pb2 import QuarantineReason
from workspace.sync.v1.run_pb2 import RunStatus, SyncDirection
from workspace.sync.v1.status_pb2 import SyncHealth
from workspace.sync.v1.sync_service_pb2 import (
    CancelRunRequest,
    CompareSurfacesRequest,
    GetSyncStatusRequest,
    ListQuarantineRequest,
    PlanSyncRequest,
    StartSyncRequest,
    WatchRunRequest,
)

from services.model.clocks import HybridClock
from services.model.families import FAMILIES
from services.objects.port import ObjectMissing
from services.records.instance import read_instance
from services.records.port import DriverUnavailable, Key, RecordDriver, StorageFull
from services.records.record import Activity, Write
from services.records.sql import SqliteDriver
from services.records.store import RecordStore
from services.rpc.errors import error_info, peer_status
from tests.chosen_records import chosen_server, needs_sqlite
from tests.integration.sync.faults import between
from tests.integration.sync.nodes import Node

PUSH, PULL = SyncDirection.SYNC_DIRECTION_PUSH, SyncDirection.SYNC_DIRECTION_PULL
SECRET = "hunter2" + "hunter2"


@pytest.fixture
async def here(tmp_path: Path) -> AsyncIterator[Node]:
    async with Node.open(tmp_path / "here") as node:
        yield node


@asynccontextmanager
async def refused(reason: str, *, code: grpc.StatusCode | None = None) -> AsyncIterator[Any]:
    """The call is refused with this reason; what it says is in the yielded list."""
    said: list[Any] = []
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        yield said
    status = peer_status(caught.value)
    info = error_info(status) if status else None
    assert info is not None, caught.value
    assert info.reason == f"ERROR_REASON_{reason}", caught.value.details()
    assert code is None or caught.value.code() == code
    said += [caught.value.details(), dict(info.metadata)]


def reason_of(run: Any) -> str:
    info = error_info(run.error)
    return info.reason.removeprefix("ERROR_REASON_") if info else ""


async def equal(node: Node, name: str = "backup") -> None:
    """Both sides hold the same, to the last byte."""
    await node.push(name)
    await node.pull(name)
    await node.push(name)
    answer = await node.sync.CompareSurfaces(
        CompareSurfacesRequest(connection_id=name, include_objects=True, read_bytes=True)
    )
    assert answer.equal, answer.differences


async def health(node: Node, name: str = "backup") -> Any:
    answer = await node.sync.GetSyncStatus(GetSyncStatusRequest(connection_id=name))
    return answer.connections[0].health


Wrap = Callable[[RecordDriver], Any]


def wrapping(monkeypatch: pytest.MonkeyPatch, wrap: Wrap) -> None:
    """From now on every folder that is opened as a surface has its driver wrapped."""
    between(monkeypatch, wrap)


class Wrapped:
    """A driver with something done `before` each commit of records."""

    def __init__(self, inner: RecordDriver, before: Callable[[str], Awaitable[None]]) -> None:
        self._inner = inner
        self._before = before

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)

    async def commit(self, pk: str, puts: Any) -> Any:
        if pk.startswith(("PROJECT#", "DOCUMENT#")):
            await self._before(pk)
        return await self._inner.commit(pk, puts)


# Requests and manifests


async def test_a_connection_that_is_not_there(here: Node) -> None:
    """For a platform administrator, too, absent and forbidden are one answer."""
    calls = [
        lambda: here.push("nowhere"),
        lambda: here.pull("nowhere"),
        lambda: here.sync.StartSync(StartSyncRequest(connection_id="nowhere", direction=PUSH)),
        lambda: here.sync.PlanSync(PlanSyncRequest(connection_id="nowhere", direction=PULL)),
        lambda: here.sync.CompareSurfaces(CompareSurfacesRequest(connection_id="nowhere")),
        lambda: here.sync.GetSyncStatus(GetSyncStatusRequest(connection_id="nowhere")),
    ]
    for call in calls:
        async with refused("PERMISSION_DENIED") as said:
            await call()
        assert said[1]["resource"] == "connections/nowhere"


@needs_sqlite
async def test_a_secret_that_somebody_wrote_into_the_manifest(here: Node, tmp_path: Path) -> None:
    """By hand, past the calls that refuse it: the file is not used until it is mended, and
    what it says is never repeated."""
    await here.connect(tmp_path / "backup")
    await here.document(await here.project(), "plan")
    file = here.ws.process.settings.data_dir / "connections.json"
    good = file.read_text()
    manifest = json.loads(good)
    manifest["connections"][0]["note"] = f"password={SECRET}"
    file.write_text(json.dumps(manifest))
    async with refused("INVALID_STATE") as said:
        await here.push()
    assert SECRET not in str(said)
    assert not (tmp_path / "backup").exists()
    async with refused("INVALID_STATE") as said:
        await here.stub(ConnectionServiceStub).GetConnection(
            GetConnectionRequest(connection_id="backup")
        )
    assert SECRET not in str(said)
    file.write_text(good)
    await equal(here)


async def test_a_decision_on_versions_that_are_gone(here: Node, tmp_path: Path) -> None:
    project_id = await here.project()
    document_id = await here.document(project_id, "plan")
    await here.connect(tmp_path / "backup")
    await here.push()
    async with Node.open(tmp_path / "there") as there:
        await there.connect(tmp_path / "backup")
        await there.pull()
        await here.edit(document_id, title="Here")
        await there.edit(document_id, title="There")
        await there.push()
        await here.pull()
    [found] = await here.conflicts()
    conflict = await here.conflict(found.conflict_id)
    dots = [version.stamp.dot for version in conflict.versions]
    assert len(dots) == 2
    await here.edit(document_id, title="Again")  # supersedes the version that was shown
    ours = Resolution(ours=Resolution.Ours())
    async with refused("INVALID_STATE", code=grpc.StatusCode.FAILED_PRECONDITION) as said:
        await here.resolve(found.conflict_id, ours, resolves=dots)
    assert "list conflicts" in said[0]
    gone = type(dots[0])(actor="n0123456789abcdef.0123456789abcdef", counter=9)
    async with refused("INVALID_FIELD") as said:
        await here.resolve(found.conflict_id, ours, resolves=[gone])
    assert said[1]["field"] == "resolves"
    async with refused("PERMISSION_DENIED"):
        await here.resolve("0" * 64, ours)
    assert (await here.read(document_id)).title == "Again"
    [left] = await here.conflicts()
    await here.resolve(left.conflict_id, ours)
    assert await here.conflicts() == []
    await equal(here)


# What may not be used


@pytest.mark.parametrize("member", ["min_reader", "min_writer"])
async def test_a_surface_of_newer_software(here: Node, tmp_path: Path, member: str) -> None:
    """One that we may read, but not write, may still be pulled from."""
    document_id = await here.document(await here.project(), "plan")
    await here.connect(tmp_path / "backup")
    await here.push()
    before = await _format(tmp_path / "backup", format=99, **{member: 99})
    await here.edit(document_id, title="later")
    async with refused("INVALID_STATE", code=grpc.StatusCode.FAILED_PRECONDITION) as said:
        await here.push()
    assert said[1]["format"] == "99"
    if member == "min_reader":
        async with refused("INVALID_STATE"):
            await here.pull()
    assert await _format(tmp_path / "backup") == before | {"format": 99, member: 99}
    await _format(tmp_path / "backup", **before)
    await equal(here)


async def _format(folder: Path, **members: Any) -> dict[str, Any]:
    """Change the instance row by hand; what it was before."""
    with closing(sqlite3.connect(folder / "workspace.sqlite")) as connection, connection:
        [[body]] = connection.execute("SELECT body FROM items WHERE pk = 'INSTANCE'").fetchall()
        found: dict[str, Any] = json.loads(body)
        if members:
            text = json.dumps(found | members)
            connection.execute("UPDATE items SET body = ? WHERE pk = 'INSTANCE'", [text])
    return found


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """A tmpfs of 2 MiB; needs the capability to mount."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", str(folder)]
    if os.geteuid() != 0 or subprocess.run(mount, check=False, capture_output=True).returncode:
        pytest.skip("capability: mount (root)")
    yield folder
    subprocess.run(["umount", "-l", str(folder)], check=False, capture_output=True)


def remount(folder: Path, how: str) -> None:
    subprocess.run(["mount", "-o", f"remount,{how}", str(folder)], check=True)


def unmount(folder: Path) -> None:
    subprocess.run(["umount", str(folder)], check=True)


async def test_a_folder_that_is_mounted_for_reading(here: Node, disk: Path) -> None:
    document_id = await here.document(await here.project(), "plan", b"bytes")
    await here.connect(disk / "backup")
    await here.push()
    remount(disk, "ro")
    await here.edit(document_id, title="later")
    async with refused("INVALID_STATE", code=grpc.StatusCode.FAILED_PRECONDITION) as said:
        await here.push()
    assert "cannot be written" in said[0]
    remount(disk, "rw")
    await equal(here)


@pytest.fixture
def as_nobody() -> Iterator[None]:
    """Files are opened as a user whom folders' modes bind."""
    if os.geteuid() != 0:
        yield
        return
    pytest.skip("capability: modes bind this user (not root)")


@pytest.mark.usefixtures("as_nobody")
async def test_a_folder_that_may_not_be_written(here: Node, tmp_path: Path) -> None:
    await here.document(await here.project(), "plan")
    await here.connect(tmp_path / "backup")
    (tmp_path / "backup").mkdir(mode=0o500)
    async with refused("INVALID_STATE"):
        await here.push()
    (tmp_path / "backup").chmod(0o700)
    await equal(here)


@pytest.fixture
async def database(here: Node, tmp_path: Path) -> AsyncIterator[str]:
    """A connection `backup` to a database whose role may do everything; its DSN."""
    dsn = chosen_server().database()
    parts = conninfo_to_dict(dsn)
    settings = {
        "host": str(parts["host"]), "port": str(parts.get("port", "5432")),
        "database": str(parts["dbname"]), "user": f"role_{os.getpid()}",
        "folder": str(tmp_path / "objects"),
    }  # fmt: skip
    with psycopg.connect(dsn, autocommit=True) as connection:
        connection.execute(f"CREATE ROLE role_{os.getpid()} LOGIN".encode())
        connection.execute(f"GRANT ALL ON SCHEMA public TO role_{os.getpid()}".encode())
    await here.stub(ConnectionServiceStub).CreateConnection(
        CreateConnectionRequest(
            connection=Connection(
                connection_id="backup", provider="postgres", settings=settings,
                trust=Trust.TRUST_FULL,
            )
        )
    )
    yield dsn
    with psycopg.connect(dsn, autocommit=True) as connection:
        connection.execute(f"DROP OWNED BY role_{os.getpid()}".encode())
        connection.execute(f"DROP ROLE role_{os.getpid()}".encode())


async def test_a_database_role_that_may_not_insert(here: Node, database: str) -> None:
    document_id = await here.document(await here.project(), "plan")
    await here.push()
    role = f"role_{os.getpid()}"
    with psycopg.connect(database, autocommit=True) as connection:
        connection.execute(b"ALTER TABLE items OWNER TO CURRENT_USER")
        connection.execute(f"REVOKE ALL ON items FROM {role}".encode())
        connection.execute(f"GRANT SELECT ON items TO {role}".encode())
    await here.edit(document_id, title="later")
    async with refused("INVALID_STATE", code=grpc.StatusCode.FAILED_PRECONDITION) as said:
        await here.push()
    assert "INSERT" in said[0]
    assert f"role_{os.getpid()}" not in said[0]
    assert (await here.read(document_id)).title == "later"
    with psycopg.connect(database, autocommit=True) as connection:
        connection.execute(f"GRANT ALL ON items TO {role}".encode())
    await equal(here)


# What has no space, no speed, or no end


async def test_a_disk_that_is_full(here: Node, disk: Path) -> None:
    """The object does not fit: its record does not go either, and nothing is left of it."""
    project_id = await here.project()
    await here.document(project_id, "small", b"small")
    await here.connect(disk / "backup")
    await here.push()
    large = await here.document(project_id, "large", os.urandom(3 << 20))
    run = await here.push(ok=False)
    assert run.status == RunStatus.RUN_STATUS_FAILED
    assert reason_of(run) == "STORAGE_FULL"
    assert await here.bytes_of(large)
    assert await health(here) == SyncHealth.SYNC_HEALTH_RED
    remount(disk, "size=64m")
    await equal(here)


async def test_a_database_that_is_full(
    here: Node, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    project_id = await here.project()
    await here.document(project_id, "one")
    await here.connect(tmp_path / "backup")
    commits = iter(range(1))

    async def full(_: str) -> None:
        if next(commits, None) is None:
            raise StorageFull("no space")

    with monkeypatch.context() as patched:
        wrapping(patched, lambda inner: Wrapped(inner, full))
        run = await here.push(ok=False)
    assert run.status == RunStatus.RUN_STATUS_FAILED
    assert reason_of(run) == "STORAGE_FULL"
    await equal(here)


async def test_a_slow_surface_can_be_watched_cancelled_and_gone_on_with(
    here: Node, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nobody else waits for it: the workspace serves, and one run has the connection."""
    monkeypatch.setattr("sync_svc.engine.batches.BATCH_BYTES", 4000)
    project_id = await here.project()
    documents = [await here.document(project_id, f"plan {n}") for n in range(3)]
    await here.connect(tmp_path / "backup")
    go, reached = asyncio.Event(), asyncio.Event()

    async def slow(_: str) -> None:
        reached.set()
        await go.wait()

    with monkeypatch.context() as patched:
        wrapping(patched, lambda inner: Wrapped(inner, slow))
        started = await here.sync.StartSync(
            StartSyncRequest(connection_id="backup", direction=PUSH)
        )
        run_id = started.run.run_id
        await reached.wait()
        for direction in (PUSH, PULL):
            async with refused("RUN_ACTIVE", code=grpc.StatusCode.ABORTED) as said:
                await here.sync.StartSync(
                    StartSyncRequest(connection_id="backup", direction=direction)
                )
            assert said[1]["run_id"] == run_id
        for call in (here.push, here.pull):
            async with refused("RUN_ACTIVE"):
                await call()
        await here.edit(documents[0], title="edited meanwhile")
        await here.sync.CancelRun(CancelRunRequest(run_id=run_id))
        go.set()
        last = None
        async for message in here.sync.WatchRun(WatchRunRequest(run_id=run_id)):
            last = message.progress.run
    assert last is not None
    assert last.status == RunStatus.RUN_STATUS_CANCELLED
    await equal(here)


async def test_a_database_that_vanishes_in_the_middle(
    here: Node, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sync_svc.surfaces.backoff.Backoff.wait", _at_once)
    project_id = await here.project()
    for number in range(3):
        await here.document(project_id, f"plan {number}")
    await here.connect(tmp_path / "backup")
    commits = iter(range(3))

    class Vanishing(Wrapped):
        """The third commit has its effect; neither it nor anything later is answered."""

        is_gone = False

        async def commit(self, pk: str, puts: Any) -> Any:
            tokens = await super().commit(pk, puts)
            if self.is_gone:
                raise DriverUnavailable("no answer", ambiguous=True)
            return tokens

        async def batch_get(self, keys: Any) -> Any:
            if self.is_gone:
                raise DriverUnavailable("no answer")
            return await self._inner.batch_get(keys)

        async def count(self, _: str) -> None:
            self.is_gone = self.is_gone or next(commits, None) is None

    def vanishing(inner: RecordDriver) -> Vanishing:
        made = Vanishing(inner, lambda pk: made.count(pk))
        return made

    with monkeypatch.context() as patched:
        wrapping(patched, vanishing)
        run = await here.push(ok=False)
    assert run.status == RunStatus.RUN_STATUS_FAILED
    assert reason_of(run) == "BACKEND_UNAVAILABLE"
    assert await health(here) == SyncHealth.SYNC_HEALTH_RED
    await equal(here)
    assert await health(here) == SyncHealth.SYNC_HEALTH_GREEN


async def _at_once(self: Any, attempt: int) -> bool:
    return False


@pytest.mark.parametrize("direction", [PUSH, PULL])
async def test_a_folder_that_is_taken_away_in_the_middle(
    here: Node, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, direction: int
) -> None:
    """As a disk that is unplugged: the run fails, and goes on when it is back."""
    project_id = await here.project()
    await here.connect(tmp_path / "backup")
    await here.push()
    for number in range(3):
        await here.document(project_id, f"plan {number}", b"bytes" * 1000)
    commits = iter(range(2))

    async def taken(_: str) -> None:
        if next(commits, None) is None and (tmp_path / "backup").exists():
            (tmp_path / "backup").rename(tmp_path / "unplugged")

    with monkeypatch.context() as patched:
        wrapping(patched, lambda inner: Wrapped(inner, taken))
        run = await here.push(ok=False)
    assert run.status == RunStatus.RUN_STATUS_FAILED, run
    assert reason_of(run) == "BACKEND_UNAVAILABLE"
    async with refused("BACKEND_UNAVAILABLE"):
        await (here.push() if direction == PUSH else here.pull())
    assert not (tmp_path / "backup").exists(), "no new surface in place of the old one"
    (tmp_path / "unplugged").rename(tmp_path / "backup")
    await equal(here)


async def test_a_disk_that_is_unmounted_between_two_runs(here: Node, disk: Path) -> None:
    """The folder under the mount point is no new surface."""
    document_id = await here.document(await here.project(), "plan")
    await here.connect(disk)
    await here.push()
    unmount(disk)
    await here.edit(document_id, title="later")
    for call in (here.push, here.pull):
        async with refused("BACKEND_UNAVAILABLE") as said:
            await call()
        assert "mounted" in said[0]
    assert not (disk / "workspace.sqlite").exists()


# What a surface says that is not so


async def test_a_record_that_no_rule_allows(here: Node, tmp_path: Path) -> None:
    """It is stamped as it should be, so that only its content is wrong: it is kept aside
    with its reason, and the rest arrives."""
    project_id = await here.project()
    await here.connect(tmp_path / "backup")
    await here.push()
    bad = Document(document_id="d_bad", project_id=project_id, name="x" * 5000)
    good = Document(document_id="d_good", project_id=project_id, name="good")
    async with surface(tmp_path / "backup") as records:
        for made in (bad, good):
            await _write(records, made)
    run = await here.pull()
    assert run.status == RunStatus.RUN_STATUS_SUCCEEDED_WITH_ISSUES
    assert (await here.read("d_good")).name == "good"
    answer = await here.sync.ListQuarantine(ListQuarantineRequest(connection_id="backup"))
    [kept] = [each for each in answer.records if each.family == "document"]
    assert kept.pk == "DOCUMENT#d_bad"
    assert kept.reason == QuarantineReason.QUARANTINE_REASON_INVALID
    assert "xxx" not in str(kept)
    assert await health(here) == SyncHealth.SYNC_HEALTH_YELLOW


async def test_a_bit_that_turned_in_an_object(here: Node, tmp_path: Path) -> None:
    """It is found, named, and never taken for the file; another pull brings the file when
    the surface has it again."""
    project_id = await here.project()
    document_id = await here.document(project_id, "plan", b"bytes of a plan")
    await here.connect(tmp_path / "backup")
    await here.push()
    key = (await here.read(document_id)).storage_key
    path = tmp_path / "backup" / "objects" / key
    turn(path)
    answer = await here.sync.CompareSurfaces(
        CompareSurfacesRequest(connection_id="backup", include_objects=True, read_bytes=True)
    )
    assert {each.storage_key for each in answer.differences} == {key}
    async with Node.open(tmp_path / "there", who="bob@example.com") as there:
        await there.connect(tmp_path / "backup")
        run = await there.pull()
        assert run.status == RunStatus.RUN_STATUS_SUCCEEDED_WITH_ISSUES
        assert await health(there) == SyncHealth.SYNC_HEALTH_YELLOW
        objects = there.ws.process.kernel.objects.driver
        with pytest.raises(ObjectMissing):
            await objects.head(key)
        turn(path)
        run = await there.pull()
        assert run.status == RunStatus.RUN_STATUS_SUCCEEDED
        assert b"".join([each async for each in objects.open_read(key)]) == b"bytes of a plan"
    await equal(here)


def turn(path: Path) -> None:
    """One bit, as on a bad disk: neither size nor time tell."""
    status = path.stat()
    path.chmod(0o600)
    data = bytearray(path.read_bytes())
    data[0] ^= 1
    path.write_bytes(data)
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
    path.chmod(status.st_mode)


@asynccontextmanager
async def surface(folder: Path) -> AsyncIterator[RecordStore]:
    """The records of a surface, as another node would write them."""
    driver = await SqliteDriver.open(folder / "workspace.sqlite", portable=True)
    instance = await read_instance(driver)
    assert instance is not None
    yield RecordStore(driver, actor=instance.actor, clock=HybridClock(now_ms))
    await driver.close()


def now_ms() -> int:
    return int(time.time() * 1000)


async def _write(records: RecordStore, message: Document) -> None:
    family = FAMILIES["document"]
    key = Key(*family.key_of(message))
    base: Any = await records.get(family, key)
    await records.commit(
        key.pk, [Write(family, message, base=base)], activity=Activity("test.written", key.pk)
    )

