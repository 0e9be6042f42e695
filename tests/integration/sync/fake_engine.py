"""A run manager over a real store, with an engine and connections that a test directs."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Any

from prometheus_client import CollectorRegistry
from workspace.sync.v1.connection_pb2 import Connection
from workspace.sync.v1.run_pb2 import Run, RunPhase, SyncOptions

from services.kernel import Kernel
from services.model.errors import WorkspaceError, permission_denied
from services.records.instance import Instance
from services.rpc.context import Call, Caller, set_current_call
from services.telemetry.sync import SyncMetrics
from sync_svc.engine.task import Tally, Task
from sync_svc.runs.bells import Bells
from sync_svc.runs.history import History
from sync_svc.runs.manager import RunManager
from sync_svc.runs.ports import Engine
from sync_svc.runs.rows import RunRows
from sync_svc.runs.starting import Starting
from sync_svc.runs.watching import Watching
from sync_svc.runs.worker import Parts
from sync_svc.surfaces.surface import Surface

METHOD = "/workspace.sync.v1.SyncService/"


class Connected:
    """Connections of one admin. `notes` are what runs told of surfaces."""

    def __init__(self, *connection_ids: str) -> None:
        self.known = {each: Connection(connection_id=each, name=each) for each in connection_ids}
        self.notes: list[tuple[str, bool, bool]] = []
        self.admin = True

    async def read(self, connection_id: str) -> Connection | None:
        return self.known.get(connection_id)

    async def everything(self) -> Sequence[Connection]:
        return list(self.known.values())

    async def allowed(self, connection_id: str) -> Connection:
        if not self.admin or connection_id not in self.known:
            raise permission_denied("manage_sync", f"connections/{connection_id}")
        return self.known[connection_id]

    async def visible(self) -> Sequence[Connection]:
        return list(self.known.values()) if self.admin else []

    async def sees_all(self) -> bool:
        return self.admin

    async def note(
        self, connection: Connection, *, changed: bool, surface: Surface | None
    ) -> None:
        self.notes.append((connection.connection_id, changed, surface is not None))


class Directed:
    """An engine of batches: each waits for `go`, when there is one. `error` ends the
    run before its first batch, in `phase`."""

    def __init__(self, batches: int = 1) -> None:
        self.batches = batches
        self.begun = 0
        self.done: list[str] = []
        self.go: asyncio.Semaphore | None = None
        self.error: WorkspaceError | None = None
        self.conflicts = 0

    async def work(self, task: Task) -> None:
        self.begun += 1
        counts = task.tally.counts
        task.tally.phase = RunPhase.RUN_PHASE_PREFLIGHT
        task.tally.seconds[RunPhase.RUN_PHASE_PREFLIGHT] = 0.25
        if self.error is not None:
            raise self.error
        left = self.batches - len(self.done)
        counts.records_planned += 10 * left
        for _ in range(left):
            task.check()
            task.tally.phase = RunPhase.RUN_PHASE_RECORDS
            if self.go is not None:
                await self.go.acquire()
            self.done.append(task.run_id)
            counts.records_done += 10
            counts.records_written += 10
            counts.batches += 1
        counts.conflicts += self.conflicts

    def engine(self) -> Engine:
        return Engine(push=self.work, pull=self.work)


class Scene:
    """Everything about runs of one process. `crash` ends it without goodbye."""

    def __init__(self, kernel: Kernel, connected: Connected, directed: Directed) -> None:
        self.kernel = kernel
        self.connected = connected
        self.directed = directed
        self.left = False
        self.ended: list[Run] = []
        self.metrics = SyncMetrics(CollectorRegistry())
        self._made = 0
        self.restart()

    def restart(self) -> None:
        """Another process on the same store."""
        self._made += 1
        self.rows = RunRows(self.kernel.records, now=self.kernel.now)
        self.bells = Bells()
        self.parts = Parts(
            kernel=self.kernel, rows=self.rows, bells=self.bells, connections=self.connected,
            open_pair=self.open_pair, engine=self.directed.engine(), leftovers=self._left,
            ended=self.ended.append, holder=f"process-{self._made}",
        )
        self.manager = RunManager(self.parts, look_seconds=0.05)
        self.starting = Starting(
            kernel=self.kernel, rows=self.rows, manager=self.manager, connections=self.connected
        )
        self.watching = Watching(
            kernel=self.kernel, rows=self.rows, bells=self.bells, manager=self.manager,
            starting=self.starting,
        )
        self.history = History(
            kernel=self.kernel, manager=self.manager, starting=self.starting,
            connections=self.connected,
        )

    async def crash(self) -> None:
        """The workers vanish in the middle of what they do."""
        for task in list(self.manager._tasks):
            task.cancel()
        await asyncio.gather(*self.manager._tasks, return_exceptions=True)

    async def run_of(self, run_id: str) -> Run:
        record = await self.rows.get(run_id)
        assert record is not None
        return (await self.manager.shown(record)).run

    async def ended_run(self, run_id: str) -> Run:
        """The run, when its last commit is done and the connection is free."""
        while True:
            record = await self.rows.get(run_id)
            assert record is not None
            if record.message.HasField("finished_at") and run_id not in self.manager._workers:
                return (await self.manager.shown(record)).run
            await asyncio.sleep(0.01)

    async def _left(self, connection_id: str) -> bool:
        return self.left

    @asynccontextmanager
    async def open_pair(
        self, connection: Connection, *, tally: Tally, options: SyncOptions, read_only: bool = False
    ) -> AsyncIterator[tuple[Surface, Surface]]:
        yield tuple(self._surface(name) for name in ("", connection.connection_id))  # type: ignore[misc]

    def _surface(self, name: str) -> Surface:
        instance = Instance(f"instance-{name or 'here'}", "i", "p")
        return Surface(name, instance, self.kernel.records, self.kernel.objects)


async def eventually(holds: Callable[[], bool]) -> None:
    """Wait until it is so."""
    while True:
        if holds():
            return
        await asyncio.sleep(0.01)


def as_user(rpc: str, user_id: str = "u_ann") -> None:
    """What follows is served as a call of this person."""
    caller = Caller(user_id=user_id, issuer="i", subject="s")
    set_current_call(Call("request", METHOD + rpc, deadline=0.0, caller=caller))


async def collected(stream: Any) -> list[Any]:
    """All messages."""
    return [message async for message in stream]
