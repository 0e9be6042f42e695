"""Two real surfaces in a folder, documents with files, and a run between them."""

from __future__ import annotations

import hashlib
import os
import random
from collections.abc import AsyncIterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from workspace.project.v1.document_pb2 import (
    DerivedArtifact,
    DerivedArtifactStatus,
    Document,
    DocumentStatus,
    FileInfo,
)
from workspace.project.v1.history_pb2 import MetadataRecord
from workspace.sync.v1.connection_pb2 import Connection
from workspace.sync.v1.run_pb2 import SyncDirection, SyncOptions

from services.model.clocks import HybridClock
from services.model.families import family_of
from services.model.versions import State
from services.objects.filesystem import FilesystemDriver, Syscalls
from services.objects.keyring import Keyring
from services.objects.port import ObjectDriver
from services.objects.store import ObjectStore
from services.objects.tokens import UrlSigner
from services.records.instance import open_instance
from services.records.port import Item, Key
from services.records.record import Activity, Record, Write
from services.records.replica import Incoming
from services.records.sql import SqliteDriver
from services.records.store import RecordStore
from services.records.walking import all_rows
from sync_svc.engine.objects import ObjectMover
from sync_svc.engine.task import Tally, Task
from sync_svc.surfaces.backoff import Backoff
from sync_svc.surfaces.surface import Surface
from tests.unordered_records import UnorderedRecords

AVAILABLE = DocumentStatus.DOCUMENT_STATUS_AVAILABLE
PUSH = SyncDirection.SYNC_DIRECTION_PUSH
PULL = SyncDirection.SYNC_DIRECTION_PULL


class Clock:
    """Unix seconds that tests move."""

    def __init__(self, now: float = 1_800_000_000.0) -> None:
        self.now = now
        self.slept: list[float] = []

    def __call__(self) -> float:
        return self.now

    def millis(self) -> int:
        return int(self.now * 1000)

    async def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.now += seconds


def storage_key(document_id: str, name: str = "plan.pdf") -> str:
    return f"accounts/a_1/projects/p_1/documents/{document_id}/raw/{name}"


def document_key(document_id: str) -> Key:
    return Key(f"DOCUMENT#{document_id}", f"ARTIFACT#{document_id}")


def file_info(document_id: str, data: bytes, name: str = "plan.pdf") -> FileInfo:
    return FileInfo(
        filename=name, size_bytes=len(data), content_type="application/pdf",
        sha256=hashlib.sha256(data).hexdigest(), storage_key=storage_key(document_id, name),
    )


async def put_object(store: ObjectStore, key: str, data: bytes) -> None:
    async def chunks() -> AsyncIterator[bytes]:
        yield data

    await store.write(key, chunks(), size=len(data), sha256=None, content_type="application/pdf")


async def bytes_of(store: ObjectStore, key: str) -> bytes:
    return b"".join([chunk async for chunk in store.open_read(key)])


async def keys_of(store: ObjectStore) -> list[str]:
    return [info.key for info in (await store.list("")).objects]


async def write(records: RecordStore, message: Any, *, deleted: bool = False) -> None:
    family = family_of(message)
    key = Key(*family.key_of(message))
    base: Record[Any] | None = await records.get(family, key, deleted=True)
    await records.commit(
        key.pk, [Write(family, message, base=base, deleted=deleted)],
        activity=Activity("test.written", key.pk),
    )


def document(document_id: str, data: bytes, *, name: str = "plan.pdf", **more: Any) -> Document:
    info = file_info(document_id, data, name)
    members: dict[str, Any] = {
        "document_id": document_id, "project_id": "p_1", "account_id": "a_1",
        "name": name, "status": AVAILABLE, "file": info, "storage_key": info.storage_key,
    }
    return Document(**(members | more))


def artifact(document_id: str, data: bytes, **more: Any) -> DerivedArtifact:
    info = file_info(document_id, data, "chunks.json")
    info.storage_key = (
        f"accounts/a_1/projects/p_1/documents/{document_id}/derived/f_1/chunks.json"
    )
    members: dict[str, Any] = {
        "artifact_id": "f_1", "document_id": document_id, "project_id": "p_1", "kind": "chunks",
        "status": DerivedArtifactStatus.DERIVED_ARTIFACT_STATUS_AVAILABLE, "file": info,
    }
    return DerivedArtifact(**(members | more))


def revision(document_id: str, file: FileInfo, *, record_id: str = "m_1") -> MetadataRecord:
    record = MetadataRecord(
        metadata_record_id=record_id, document_id=document_id, project_id="p_1",
        reason="file_attached", file=file,
    )
    record.timestamp.FromSeconds(1_790_000_000)
    record.record_type = 1  # type: ignore[assignment]
    return record


@dataclass
class World:
    folder: Path
    clock: Clock
    surfaces: dict[str, Surface]
    connection_id: str = "c_1"

    @property
    def local(self) -> Surface:
        return self.surfaces["local"]

    @property
    def remote(self) -> Surface:
        return self.surfaces["remote"]

    def wrap_objects(self, name: str, driver: ObjectDriver) -> None:
        self.surfaces[name] = replace(self.surfaces[name], objects=ObjectStore(driver))

    def task(
        self, direction: SyncDirection.ValueType = PUSH, run_id: str = "r_1", **more: Any
    ) -> Task:
        members: dict[str, Any] = {
            "run_id": run_id,
            "direction": direction,
            "connection": Connection(connection_id=self.connection_id),
            "options": SyncOptions(),
            "local": self.local,
            "remote": self.remote,
            "tally": Tally(),
            "now_ms": self.clock.millis,
            "monotonic": self.clock,
            "stop": lambda: False,
        }
        return Task(**(members | more))

    def mover(self, **more: Any) -> ObjectMover:
        backoff = Backoff(sleep=self.clock.sleep, rng=random.Random(1))
        return ObjectMover(**({"backoff": backoff} | more))

    async def incoming(self, name: str, *keys: Key) -> list[Incoming]:
        states = await self.surfaces[name].replica.states(keys)
        return [Incoming(key, state) for key, state in zip(keys, states, strict=True) if state]

    async def states(self, name: str, *keys: Key) -> dict[Key, State | None]:
        found = await self.surfaces[name].replica.states(keys)
        return dict(zip(keys, found, strict=True))

    async def rows(self, name: str, family: str) -> list[Item]:
        rows = all_rows(self.surfaces[name].records)
        return [item async for item in rows if item.family == family]

    def path(self, name: str, key: str) -> Path:
        return self.folder / name / "objects" / key

    def flip(self, name: str, key: str) -> None:
        """One bit of a stored file turns, as on a bad disk."""
        path = self.path(name, key)
        status = path.stat()
        with path.open("r+b") as file:
            first = file.read(1)
            file.seek(0)
            file.write(bytes([first[0] ^ 1]))
        os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))

    async def close(self) -> None:
        for surface in self.surfaces.values():
            await surface.records.close()
            await surface.objects.close()


async def open_surface(
    folder: Path,
    name: str,
    clock: Clock,
    *,
    calls: Syscalls | None = None,
    unordered: bool = False,
) -> Surface:
    (folder / name).mkdir()
    driver: Any = await SqliteDriver.open(folder / name / "workspace.sqlite", clock=clock)
    driver = UnorderedRecords(driver) if unordered else driver
    instance = await open_instance(driver)
    records = RecordStore(driver, actor=instance.actor, clock=HybridClock(clock.millis))
    signer = UrlSigner(Keyring.open(folder / name / "keys", create=True))
    files = FilesystemDriver(
        folder / name / "objects", signer=signer, public_url="http://localhost", calls=calls
    )
    return Surface("" if name == "local" else name, instance, records, ObjectStore(files))
