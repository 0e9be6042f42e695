"""Real surfaces in a folder, runs between them by the engine as it is wired."""

from __future__ import annotations

import hashlib
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from workspace.project.v1.document_pb2 import Document, DocumentStatus, FileInfo
from workspace.project.v1.project_pb2 import Project
from workspace.sync.v1.connection_pb2 import Connection, Trust
from workspace.sync.v1.plan_pb2 import PlannedOperation, PlanSummary
from workspace.sync.v1.run_pb2 import SyncDirection, SyncOptions

from services.model.clocks import HybridClock
from services.model.families import family_of
from services.model.versions import State
from services.objects.filesystem import FilesystemDriver
from services.objects.keyring import Keyring
from services.objects.store import ObjectStore
from services.objects.tokens import UrlSigner
from services.records.instance import open_instance
from services.records.port import Item, ItemPage, Key, Put, RecordDriver
from services.records.record import Activity, Record, Write
from services.records.sql import SqliteDriver
from services.records.store import RecordStore
from services.records.walking import all_rows
from sync_svc.engine.plan import Plan
from sync_svc.engine.pull import pull
from sync_svc.engine.push import push
from sync_svc.engine.reading import is_synced
from sync_svc.engine.task import Tally, Task
from sync_svc.engine.wiring import run_parts
from sync_svc.surfaces.surface import Surface
from tests.unordered_records import UnorderedRecords

PUSH = SyncDirection.SYNC_DIRECTION_PUSH
PULL = SyncDirection.SYNC_DIRECTION_PULL


class Clock:
    """Unix seconds that tests move."""

    def __init__(self, now: float = 1_800_000_000.0) -> None:
        self.now = now

    def __call__(self) -> float:
        return self.now

    def millis(self) -> int:
        return int(self.now * 1000)


class CountingDriver:
    """Passes every call on and counts those that ask the database; `before` is told
    of each and may raise."""

    def __init__(self, inner: RecordDriver) -> None:
        self.inner = inner
        self.calls: list[str] = []
        self.before: Callable[[str], object] = self.calls.count
        self.meanwhile: Callable[[str], Awaitable[object]] | None = None

    name = "counting"

    def _count(self, call: str) -> None:
        self.calls.append(call)
        self.before(call)

    @property
    def capabilities(self) -> Any:
        return self.inner.capabilities

    async def get(self, key: Key) -> Item | None:
        self._count("get")
        return await self.inner.get(key)

    async def batch_get(self, keys: Sequence[Key]) -> list[Item | None]:
        self._count("batch_get")
        return await self.inner.batch_get(keys)

    async def query(self, *args: Any, **more: Any) -> ItemPage:
        self._count("query")
        return await self.inner.query(*args, **more)

    async def commit(self, pk: str, puts: Sequence[Put]) -> list[str]:
        self._count(f"commit {pk}")
        if self.meanwhile:
            await self.meanwhile(pk)
        return await self.inner.commit(pk, puts)

    async def changes(self, cursor: str | None, limit: int) -> Any:
        self._count("changes")
        return await self.inner.changes(cursor, limit)

    async def tail(self) -> str:
        self._count("tail")
        return await self.inner.tail()

    async def scan(self, after: Key | None, limit: int) -> Sequence[Item]:
        self._count("scan")
        return await self.inner.scan(after, limit)

    async def identity(self) -> str:
        return await self.inner.identity()

    async def close(self) -> None:
        await self.inner.close()


def project_key(project_id: str) -> Key:
    return Key(f"PROJECT#{project_id}", f"PROJECT#{project_id}")


def document_key(document_id: str) -> Key:
    return Key(f"DOCUMENT#{document_id}", f"ARTIFACT#{document_id}")


def document(document_id: str, name: str = "", project_id: str = "p_1") -> Document:
    status = DocumentStatus.DOCUMENT_STATUS_AWAITING_FILE
    return Document(
        document_id=document_id, project_id=project_id, name=name or document_id, status=status
    )


def with_file(made: Document, data: bytes) -> Document:
    """The same document with bytes that must be there."""
    key = f"accounts/a_1/projects/{made.project_id}/documents/{made.document_id}/raw/f.bin"
    made.status = DocumentStatus.DOCUMENT_STATUS_AVAILABLE
    made.storage_key = key
    made.file.CopyFrom(
        FileInfo(
            filename="f.bin", size_bytes=len(data), sha256=hashlib.sha256(data).hexdigest(),
            storage_key=key, content_type="application/octet-stream",
        )
    )
    return made


@dataclass
class World:
    folder: Path
    clock: Clock
    surfaces: dict[str, Surface] = field(default_factory=dict)
    runs: int = 0
    unordered: bool = False

    async def open(self, *names: str) -> None:
        for name in names:
            self.surfaces[name] = await open_surface(
                self.folder, name, self.clock, unordered=self.unordered
            )

    async def reopen(self, name: str) -> None:
        await self.surfaces[name].records.close()
        await self.surfaces[name].objects.close()
        await self.open(name)

    async def close(self) -> None:
        for surface in self.surfaces.values():
            await surface.records.close()
            await surface.objects.close()

    def connection(self, name: str) -> Connection:
        return Connection(connection_id=f"c_{name}", trust=Trust.TRUST_FULL)

    def task(
        self,
        direction: SyncDirection.ValueType,
        local: str = "local",
        remote: str = "remote",
        *,
        connection: Connection | None = None,
        **options: Any,
    ) -> Task:
        self.runs += 1
        return Task(
            run_id=f"r_{self.runs}",
            direction=direction,
            connection=connection or self.connection(remote),
            options=SyncOptions(**options),
            local=replace(self.surfaces[local], name=""),
            remote=replace(self.surfaces[remote], name=remote),
            tally=Tally(),
            now_ms=self.clock.millis,
            monotonic=self.clock,
            stop=lambda: False,
        )

    async def push(self, local: str = "local", remote: str = "remote", **more: Any) -> Tally:
        task = self.task(PUSH, local, remote, **more)
        await push(task)
        return task.tally

    async def pull(self, local: str = "local", remote: str = "remote", **more: Any) -> Tally:
        task = self.task(PULL, local, remote, **more)
        await pull(task)
        return task.tally

    async def plan(
        self, direction: SyncDirection.ValueType, **more: Any
    ) -> tuple[list[PlannedOperation], PlanSummary]:
        task = self.task(direction, **more)
        plan = Plan(task, run_parts(task))
        lines = [line async for line in plan.operations()]
        return lines, await plan.summary()

    async def write(self, message: Any, *, on: str = "local", deleted: bool = False) -> None:
        records = self.surfaces[on].records
        family = family_of(message)
        key = Key(*family.key_of(message))
        base: Record[Any] | None = await records.get(family, key, deleted=True)
        await records.commit(
            key.pk, [Write(family, message, base=base, deleted=deleted)],
            activity=Activity("test.written", key.pk, project_id=_project(message)),
        )

    async def project(self, project_id: str = "p_1", *, on: str = "local", **more: Any) -> None:
        await self.write(Project(project_id=project_id, name=project_id, **more), on=on)

    async def documents(self, count: int, *, on: str = "local", name: str = "") -> None:
        for number in range(count):
            await self.write(document(f"d_{number}", name), on=on)

    async def put_object(self, key: str, data: bytes, *, on: str = "local") -> None:
        async def chunks() -> AsyncIterator[bytes]:
            yield data

        await self.surfaces[on].objects.write(
            key, chunks(), size=len(data), sha256=None, content_type="application/octet-stream"
        )

    async def state(self, key: Key, *, on: str) -> State | None:
        return (await self.surfaces[on].replica.states([key]))[0]

    async def states(self, on: str) -> Mapping[Key, State]:
        """All synced records of a surface."""
        found: dict[Key, State] = {}
        after: Key | None = None
        while items := await self.surfaces[on].records.scan(after, 500):
            keys = [item.key for item in items if is_synced(item)]
            read = await self.surfaces[on].replica.states(keys) if keys else []
            found |= {key: s for key, s in zip(keys, read, strict=True) if s is not None}
            after = items[-1].key
        return found

    async def rows(self, on: str, family: str) -> list[Item]:
        rows = all_rows(self.surfaces[on].records)
        return [item async for item in rows if item.family == family and not item.deleted]

    def count(self, name: str) -> CountingDriver:
        """Count the calls of a surface from here on."""
        surface = self.surfaces[name]
        driver = CountingDriver(surface.records.driver)
        self.surfaces[name] = surface.with_records(surface.records.through(driver))
        return driver


def _project(message: Any) -> str:
    return str(getattr(message, "project_id", ""))


async def open_surface(
    folder: Path, name: str, clock: Clock, *, unordered: bool = False
) -> Surface:
    (folder / name).mkdir(exist_ok=True)
    driver: Any = await SqliteDriver.open(folder / name / "workspace.sqlite", clock=clock)
    driver = UnorderedRecords(driver) if unordered else driver
    instance = await open_instance(driver)
    records = RecordStore(driver, actor=instance.actor, clock=HybridClock(clock.millis))
    signer = UrlSigner(Keyring.open(folder / name / "keys", create=True))
    files = FilesystemDriver(
        folder / name / "objects", signer=signer, public_url="http://localhost"
    )
    return Surface(name, instance, records, ObjectStore(files))


def same(one: Mapping[Key, State], other: Mapping[Key, State]) -> bool:
    """Whether two surfaces hold the same versions."""
    return one.keys() == other.keys() and all(one[key].same_as(other[key]) for key in one)


