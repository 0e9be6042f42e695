"""Nodes and surfaces on real SQLite files that can be rolled back, copied, killed.

`push` and `pull` are the smallest exchange that is right: everything is joined, after
the preflight and under the handshake that are tested here.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from itertools import groupby
from pathlib import Path
from typing import Any, cast

from workspace.project.v1.project_pb2 import Project
from workspace.sync.v1.connection_pb2 import Connection
from workspace.sync.v1.run_pb2 import SyncDirection, SyncOptions

from services.model.clocks import HybridClock
from services.model.families import FAMILIES
from services.model.versions import State
from services.objects.store import ObjectStore
from services.records.conflict_rows import Found
from services.records.instance import Instance, create_instance, open_instance, read_instance
from services.records.port import Item, Key, Put, RecordDriver
from services.records.record import Activity, Record, Write
from services.records.replica import Incoming
from services.records.sql import SqliteDriver
from services.records.store import RecordStore
from sync_svc.engine.sync_state import SyncState, SyncStates
from sync_svc.engine.task import Tally, Task
from sync_svc.nodes.checks import NodeChecks
from sync_svc.nodes.preflight import Preflight
from sync_svc.nodes.rows import NodeRow, node_key
from sync_svc.surfaces.surface import Surface
from tests.simulation.memory_objects import MemoryObjects

PUSH = SyncDirection.SYNC_DIRECTION_PUSH
PULL = SyncDirection.SYNC_DIRECTION_PULL
DAY_MS = 86_400_000


@dataclass
class Clock:
    """Unix milliseconds; each look is one later."""

    now: int = 1_800_000_000_000

    def __call__(self) -> int:
        self.now += 1
        return self.now


class Killed(Exception):
    """The process ended here."""


class Fragile:
    """A driver whose process is killed before its n-th commit from now (0: never);
    counts calls."""

    def __init__(self, inner: RecordDriver) -> None:
        self._inner = inner
        self.calls: list[str] = []
        self.kill_at = 0

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._inner, name)
        if name in {"get", "batch_get", "query", "changes", "tail", "scan", "identity"}:
            self.calls.append(name)
        return found

    async def commit(self, pk: str, puts: list[Put]) -> list[str]:
        self.calls.append("commit")
        if self.kill_at:
            self.kill_at -= 1
            if not self.kill_at:
                raise Killed
        return await self._inner.commit(pk, puts)


@dataclass
class Store:
    """A node or a passive surface in a file."""

    name: str
    file: Path
    clock: Clock
    passive: bool = False
    driver: Fragile = field(init=False)
    records: RecordStore = field(init=False)
    instance: Instance = field(init=False)
    objects: ObjectStore = field(init=False)

    def __post_init__(self) -> None:
        self.objects = ObjectStore(MemoryObjects(clock=lambda: self.clock.now / 1000))

    async def open(self) -> Store:
        inner = await SqliteDriver.open(self.file)
        self.driver = Fragile(inner)
        opened = create_instance if self.passive else open_instance
        self.instance = await opened(inner)
        hybrid = HybridClock(self.clock)
        if self.instance.floor:
            hybrid.observe(self.instance.floor)
        self.records = RecordStore(
            cast(RecordDriver, self.driver), actor=self.instance.actor, clock=hybrid
        )
        return self

    async def close(self) -> None:
        await self.records.close()

    async def snapshot(self, to: Path) -> Path:
        """A copy of the file as it is now."""
        await self.close()
        shutil.copyfile(self.file, to)
        await self.open()
        return to

    async def roll_back(self, to: Path) -> None:
        """The same file with earlier content: nothing about it looks new."""
        await self.close()
        for suffix in ("-wal", "-shm"):
            self.file.with_name(self.file.name + suffix).unlink(missing_ok=True)
        shutil.copyfile(to, self.file)
        await self.open()

    @property
    def surface(self) -> Surface:
        return Surface(
            "" if not self.passive else self.name, self.instance, self.records, self.objects
        )

    async def now(self) -> Instance:
        found = await read_instance(cast(RecordDriver, self.driver))
        assert found is not None
        return found

    async def edit(self, project: str, **values: Any) -> Record[Any]:
        """Write a project as a user of this store would."""
        family = FAMILIES["project"]
        base = await self.records.get(family, project_key(project), deleted=True)
        message = base.edit() if base and not base.deleted else Project(project_id=project)
        for name, value in values.items():
            setattr(message, name, value)
        done = await self.records.commit(
            project_key(project).pk, [Write(family, message, base)],
            activity=Activity("project.updated", f"projects/{project}", project_id=project),
        )
        return done.records[0]

    async def delete(self, project: str) -> None:
        family = FAMILIES["project"]
        base = await self.records.get(family, project_key(project))
        assert base is not None
        await self.records.commit(
            project_key(project).pk, [Write(family, base.message, base, deleted=True)],
            activity=Activity("project.deleted", f"projects/{project}", project_id=project),
        )

    async def state(self, project: str) -> State | None:
        return (await self.surface.replica.states([project_key(project)]))[0]

    async def values(self, project: str, name: str = "name") -> set[str]:
        """What the live versions say; '' of a tombstone."""
        state = await self.state(project)
        versions = state.versions.values() if state else ()
        return {json.loads(each.body).get(name, "") for each in versions}

    async def node(self, instance_id: str) -> NodeRow | None:
        item = await self.records.get_row(node_key(instance_id))
        return NodeRow.of(item) if item else None


def project_key(project: str) -> Key:
    return Key(f"PROJECT#{project}", f"PROJECT#{project}")


def task_of(
    node: Store, surface: Store, direction: SyncDirection.ValueType, *,
    connection: str = "", options: SyncOptions | None = None,
    now_ms: Callable[[], int] | None = None,
) -> Task:
    return Task(
        "r_1", direction, Connection(connection_id=connection or surface.name),
        options or SyncOptions(), node.surface, surface.surface, Tally(),
        now_ms or (lambda: node.clock.now), lambda: 0.0, lambda: False,
    )


async def load(task: Task) -> SyncState:
    return await SyncStates(task.local.records).load(task.connection.connection_id)


async def check(task: Task) -> tuple[NodeChecks, Preflight]:
    checks = NodeChecks()
    return checks, await checks.preflight(task, await load(task))


async def push(node: Store, surface: Store, **given: Any) -> Preflight:
    """Check, announce, join everything there."""
    task = task_of(node, surface, PUSH, **given)
    checks, found = await check(task)
    await checks.announce_export(task)
    await _join_all(node, surface)
    await _done(
        task, push_reconciled_ms=task.now_ms(), push_cursor="x", last_push_ms=task.now_ms()
    )
    return found


async def pull(node: Store, surface: Store, **given: Any) -> Preflight:
    """Check, join everything here, acknowledge."""
    task = task_of(node, surface, PULL, **given)
    checks, found = await check(task)
    tail = await surface.records.tail()
    await _join_all(surface, node)
    await _done(task, pull_reconciled_ms=task.now_ms(), pull_cursor=tail)
    await checks.acknowledge(task)
    return found


async def _done(task: Task, **changes: Any) -> None:
    await SyncStates(task.local.records).store(replace(await load(task), **changes))


async def _join_all(source: Store, target: Store) -> None:
    items: list[Item] = []
    after: Key | None = None
    while page := await source.records.scan(after, 500):
        items += [item for item in page if item.family == "project"]
        after = page[-1].key
    for pk, group in groupby(items, key=lambda item: item.key.pk):
        keys = [item.key for item in group]
        states = await source.surface.replica.states(keys)
        incoming = [Incoming(k, s) for k, s in zip(keys, states, strict=True) if s]
        await target.surface.replica.join(
            pk, incoming, origin=source.instance.instance_id, found=Found(target.clock.now)
        )
