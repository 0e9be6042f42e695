"""Surfaces for the cases of sync: a workspace's store, a backup folder, runs between.

A record is a document or the event of its making, so a partition has two, and HEAD.
"""

from __future__ import annotations

import asyncio
import hashlib
import sqlite3
import time
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, closing
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from workspace.project.v1.document_pb2 import Document, DocumentStatus, FileInfo
from workspace.project.v1.project_pb2 import Project
from workspace.sync.v1.connection_pb2 import Connection, Trust
from workspace.sync.v1.run_pb2 import SyncDirection, SyncOptions

from services.backends import wall_millis
from services.model.families import FAMILIES, family_of
from services.objects.filesystem import FilesystemDriver
from services.objects.keyring import Keyring
from services.objects.store import ObjectStore
from services.objects.tokens import UrlSigner
from services.records.plan import CommitPlan
from services.records.port import Key, Put, RecordDriver
from services.records.record import Activity, Head, Write
from services.records.sql import SqliteDriver
from services.records.sql.rows import parameters
from services.records.sql.statements import SqliteStatements
from sync_svc.engine.pull import pull
from sync_svc.engine.push import push
from sync_svc.engine.task import Tally, Task
from sync_svc.surfaces.surface import Surface
from tests.bench.surfaces import surface_of

__all__ = [
    "FILE", "Counting", "Pair", "commit_of", "document", "edit", "fill", "opened", "pair",
    "puts_of", "with_file",
]  # fmt: skip

FILE = "workspace.sqlite"
_PUSH = SyncDirection.SYNC_DIRECTION_PUSH
_PULL = SyncDirection.SYNC_DIRECTION_PULL
_PROJECT = "p_bench"
_LONG_AGO_MS = 1_700_000_000_000


class Counting:
    """A record driver that counts the calls which ask the database."""

    _ASKING = frozenset({"get", "batch_get", "query", "commit", "changes", "tail", "scan"})

    def __init__(self, inner: RecordDriver) -> None:
        self._inner = inner
        self.calls = 0

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._inner, name)
        if name not in self._ASKING:
            return found

        async def counted(*args: Any, **more: Any) -> Any:
            self.calls += 1
            return await found(*args, **more)

        return counted


@dataclass
class Pair:
    """A workspace and its backup; `runs` so far."""

    local: Surface
    remote: Surface
    runs: int = 0

    async def push(self) -> Tally:
        return await self._run(_PUSH, self.remote)

    async def pull(self) -> Tally:
        return await self._run(_PULL, self.remote)

    async def requests(self, work: Callable[[], Any]) -> int:
        """How often the record store of the backup was asked during a run."""
        whole = self.remote
        driver: Any = Counting(whole.records.driver)
        self.remote = whole.with_records(whole.records.through(driver))
        try:
            await work()
        finally:
            self.remote = whole
        calls: int = driver.calls
        return calls

    async def _run(self, direction: SyncDirection.ValueType, remote: Surface) -> Tally:
        self.runs += 1
        task = Task(
            run_id=f"r_{self.runs}", direction=direction,
            connection=Connection(connection_id=remote.name, trust=Trust.TRUST_FULL),
            options=SyncOptions(), local=self.local, remote=remote, tally=Tally(),
            now_ms=wall_millis, monotonic=time.monotonic, stop=lambda: False,
        )
        await (push(task) if direction == _PUSH else pull(task))
        counts = task.tally.counts
        if counts.quarantined or counts.conflicts or counts.bytes_pending:
            raise RuntimeError(f"the run did not go through: {counts}")
        return task.tally


@asynccontextmanager
async def pair(folder: Path, *, backup: str = "backup") -> AsyncIterator[Pair]:
    """`local` and a backup in a folder, made when they are not there."""
    async with AsyncExitStack() as stack:
        local = await stack.enter_async_context(opened(folder / "local"))
        remote = await stack.enter_async_context(opened(folder / backup, portable=True))
        yield Pair(replace(local, name=""), replace(remote, name=backup))


@asynccontextmanager
async def opened(folder: Path, *, portable: bool = False) -> AsyncIterator[Surface]:
    """A surface; `portable` as backup folders are."""
    await asyncio.to_thread(folder.mkdir, exist_ok=True)
    driver = await SqliteDriver.open(folder / FILE, portable=portable)
    signer = UrlSigner(Keyring.open(folder / "keys", create=True))
    files = FilesystemDriver(folder / "objects", signer=signer, public_url="http://localhost")
    async with surface_of("", driver, ObjectStore(files)) as surface:
        yield surface


async def fill(folder: Path, records: int) -> None:
    """Documents with their events, about as many records as that, straight into the
    file of `local`."""
    async with opened(folder / "local") as surface:
        actor = surface.instance.actor
    with closing(sqlite3.connect(folder / "local" / FILE, isolation_level=None)) as connection:
        connection.execute("PRAGMA synchronous=OFF")
        seq = connection.execute("SELECT coalesce(max(seq), 0) FROM items").fetchone()[0]
        rows = _numbered(puts_of(actor, records), seq)
        put = SqliteStatements().put
        connection.execute("BEGIN IMMEDIATE")
        connection.executemany(put, rows)
        connection.execute("COMMIT")
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")


def puts_of(actor: str, records: int) -> Iterator[Sequence[Put]]:
    """The commits, as `RecordStore.commit` would have made them."""
    yield commit_of(Project(project_id=_PROJECT, name="bench"), actor)
    for number in range(1, records // 2):
        yield commit_of(document(number), actor, number)


def commit_of(message: Any, actor: str, number: int = 0) -> Sequence[Put]:
    """The rows of a commit that makes a record: HEAD, the record, its event."""
    family = family_of(message)
    pk, _ = family.key_of(message)
    plan = CommitPlan.of(
        pk, [Write(family, message)], activity=Activity("bench.made", pk, project_id=_PROJECT),
        once=None, answer=None, actor=actor, hlc=f"{_LONG_AGO_MS + number}.00000",
    )
    return plan.puts(Head(pk, 0, None))


def document(number: int, title: str = "") -> Document:
    """One that awaits its file."""
    return Document(
        document_id=f"d_{number:026d}", project_id=_PROJECT, name=f"document {number}",
        title=title, status=DocumentStatus.DOCUMENT_STATUS_AWAITING_FILE,
    )


def with_file(number: int, data: bytes) -> Document:
    """A document whose bytes must be there."""
    made = document(number)
    key = f"accounts/a_1/projects/{_PROJECT}/documents/{made.document_id}/raw/f.bin"
    made.status, made.storage_key = DocumentStatus.DOCUMENT_STATUS_AVAILABLE, key
    info = FileInfo(
        filename="f.bin", size_bytes=len(data), sha256=hashlib.sha256(data).hexdigest(),
        storage_key=key, content_type="application/octet-stream",
    )
    made.file.CopyFrom(info)
    return made


async def edit(surface: Surface, number: int, title: str) -> None:
    """Give a document another title."""
    family = FAMILIES["document"]
    message = document(number, title)
    base = await surface.records.get(family, Key(*family.key_of(message)))
    pk, _ = family.key_of(message)
    await surface.records.commit(
        pk, [Write(family, message, base=base)],
        activity=Activity("bench.edited", pk, project_id=_PROJECT),
    )


def _numbered(commits: Iterator[Sequence[Put]], seq: int) -> Iterator[dict[str, Any]]:
    for puts in commits:
        for put in puts:
            seq += 1
            yield parameters(put) | {"rev": seq, "seq": seq}
