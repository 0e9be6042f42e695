"""Random schedules of the real engine over real drivers, against the clock of the world.

Nodes have SQLite and files, their surface is a cloud that goes wrong (real_clouds.py).
People edit while nodes push and pull
at the same time; runs die at a call of a port, and nodes start again on what they
left. What a seed decides is who does what and where runs die; how calls interleave is
up to the machine. After each round, and in the end, `Verdict` looks with calls of its own.
"""

from __future__ import annotations

import asyncio
import os
import random
import time
from contextlib import AsyncExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

from workspace.sync.v1.run_pb2 import SyncDirection

from services.model.clocks import HybridClock
from services.model.errors import Reason, WorkspaceError
from services.model.stamp import Dot
from services.objects.store import ObjectStore
from services.records.instance import create_instance
from services.records.port import Key
from services.records.record import Activity, Write
from services.records.store import RecordStore
from sync_svc.surfaces.surface import Surface
from tests.integration.sync.faults import Fault as Cut
from tests.integration.sync.faults import Line
from tests.simulation.cast import CAST, FIRST_MARK, Slot, bytes_of, marked
from tests.simulation.real_clouds import Lane, OpenLane
from tests.simulation.real_engine import RealEngine
from tests.simulation.real_verdict import Made, Verdict
from tests.unit.sync_svc.engine.world import PULL, PUSH, Clock, World

__all__ = ["FIRST", "SCHEDULES", "first_wrong", "schedule", "schedules"]

SCHEDULES = max(2, int(os.environ.get("WM_SIM_SEEDS", "500")) // 50)
"""How many there are on each cloud: a fiftieth of those in memory."""
FIRST = int(os.environ.get("WM_SIM_FIRST", "0"))
AT_ONCE = 6

_QUIET_ROUNDS = 8
_MOST_CALLS = 40


class _Now(Clock):
    """Unix seconds of this machine, some hours off."""

    def __init__(self, hours: float) -> None:
        super().__init__()
        self._off = hours * 3600

    def __call__(self) -> float:
        return time.time() + self._off

    def millis(self) -> int:
        return int(self() * 1000)


async def schedule(lane: Lane, folder: Path, seed: int) -> list[str]:
    """What went wrong in one schedule; empty when nothing did."""
    await asyncio.to_thread(folder.mkdir)
    made = Schedule(lane, folder, seed)
    try:
        wrong = await made.run()
    finally:
        lane.go_wrong(None)
        await made.close()
    return [f"schedule {seed}: {each}" for each in wrong]


async def schedules(
    folder: Path, first: int, count: int, *, open_lane: OpenLane
) -> tuple[list[str], dict[str, int]]:
    """What went wrong in `count` of them on one cloud, and how often what happened."""
    seeds, wrong, counted = iter(range(first, first + count)), list[str](), dict[str, int]()

    async def one(lane: Lane) -> None:
        for seed in seeds:
            wrong.extend(await schedule(lane, folder / f"s{seed}", seed))

    async with AsyncExitStack() as stack:
        lanes = [await stack.enter_async_context(open_lane()) for _ in range(AT_ONCE)]
        async with asyncio.TaskGroup() as group:
            for lane in lanes:
                group.create_task(one(lane))
    for lane in lanes:
        for what, times in lane.counted.items():
            counted[what] = counted.get(what, 0) + times
    return wrong, counted


async def first_wrong(folder: Path, open_lane: OpenLane) -> list[str]:
    """Of as many schedules as it takes, 60 at most: the first that sees a mistake is enough."""
    for first in range(0, 60, AT_ONCE):
        wrong, _ = await schedules(folder, first, AT_ONCE, open_lane=open_lane)
        if wrong:
            return wrong
    return []


class Schedule:
    """See the module."""

    def __init__(self, lane: Lane, folder: Path, seed: int) -> None:
        self._lane = lane
        self._rng = random.Random(seed)
        self._name = f"sim-{seed}-{time.time_ns():x}"
        # No owners: of several owners that go at once the engine calls one back.
        cast = [slot for slot in CAST if not slot.owner_bearing]
        self._hot = self._rng.sample(cast, self._rng.randint(3, 5))
        self._nodes = [f"n{number}" for number in range(self._rng.choice((2, 2, 2, 3)))]
        self._world = World(folder, _Now(0))
        self._engine = RealEngine()
        self._left: list[Surface] = []
        self._made: dict[tuple[Key, Dot], Made] = {}
        self._mark = FIRST_MARK
        self._verdict = Verdict(self._world, self._nodes, self._made)

    async def run(self) -> list[str]:
        await self._open()
        for number in range(self._rng.choice((1, 2, 2))):
            self._lane.go_wrong(random.Random(self._rng.random()))
            await asyncio.gather(*(self._live(node) for node in self._nodes))
            self._lane.go_wrong(None)
            if wrong := await self._verdict.after_a_round():
                return [f"round {number}: {each}" for each in wrong]
        return await self._quiet() or await self._verdict.at_last()

    async def close(self) -> None:
        for surface in [*self._world.surfaces.values(), *self._left]:
            await surface.records.close()
            await surface.objects.close()

    async def _open(self) -> None:
        await self._lane.make(self._name)
        await self._world.open(*self._nodes)
        for node in self._nodes:
            self._world.surfaces[f"of-{node}"] = await self._surface()
        self._world.surfaces["sure"] = await self._surface(sure=True)
        for slot in self._hot:
            await self._write(self._nodes[0], slot)

    async def _surface(self, *, sure: bool = False) -> Surface:
        driver = await self._lane.records(self._name, sure=sure)
        instance = await create_instance(driver)
        records = RecordStore(driver, actor=instance.actor, clock=HybridClock(_Now(0).millis))
        objects = await self._lane.objects(self._name, sure=sure)
        return Surface(self._name, instance, records, ObjectStore(objects))

    # What happens

    async def _live(self, node: str) -> None:
        """Edits and a run at the same time, then another."""
        rng = random.Random(self._rng.random())
        writing = [self._write(node, rng.choice(self._hot)) for _ in range(rng.randint(1, 3))]
        if rng.random() < 0.3:
            await asyncio.gather(*writing)
            writing = []
        await asyncio.gather(self._go(node, rng), *writing)
        if rng.random() < 0.5:
            await self._go(node, rng)

    async def _go(self, node: str, rng: random.Random) -> None:
        """A push or a pull, which may die."""
        direction = rng.choice((PUSH, PUSH, PULL))
        at = rng.randrange(_MOST_CALLS) if rng.random() < 0.5 else -1
        line = Line(rng.choice((Cut.KILL_BEFORE, Cut.KILL_AFTER)), at)
        try:
            await self._run(node, direction, line)
        except WorkspaceError as error:
            self._lane.count(Reason.Name(error.reason))
        except BaseException:
            if not line.dead:
                raise
            self._lane.count("crash")
            await self._restart(node)

    async def _run(
        self, node: str, direction: SyncDirection.ValueType, line: Line | None = None
    ) -> Any:
        task = self._world.task(direction, node, f"of-{node}", force=True)
        if line is not None:
            task = replace(task, local=line.around(task.local), remote=line.around(task.remote))
        self._lane.count("push" if direction == PUSH else "pull")
        await self._engine.run(task)
        return task.tally.counts

    async def _restart(self, node: str) -> None:
        """On what the run left; requests of the dead that are under way still arrive."""
        self._left.append(self._world.surfaces.pop(f"of-{node}"))
        while True:
            try:
                self._world.surfaces[f"of-{node}"] = await self._surface()
            except Exception:  # the proxy goes wrong for this, too
                continue
            return

    async def _write(self, node: str, slot: Slot) -> None:
        """What a person does: read, think, write; somebody else may have been quicker."""
        records = self._world.surfaces[node].records
        for _ in range(5):
            base = await records.get(slot.family, slot.key, deleted=True)
            deletes = base is not None and not base.deleted and self._rng.random() < 0.15
            self._mark += 1
            mark = marked(self._mark)
            message = slot.make(mark) if base is None or base.deleted else base.edit()
            if base is not None and not base.deleted and not deletes:
                slot.edit(message, mark, self._rng.randrange(3))
            await self._upload(node, message)
            try:
                done = await records.commit(
                    slot.pk, [Write(slot.family, message, base=base, deleted=deletes)],
                    activity=Activity("thing.changed", slot.pk),
                )
            except WorkspaceError:
                continue
            stamp = done.records[0].stamp
            replaced = frozenset(base.stamp.shown) if base is not None else frozenset()
            shown = "" if deletes else mark
            self._made[slot.key, stamp.dot] = Made(node, shown, replaced)
            self._lane.count("write")
            return

    async def _upload(self, node: str, message: Any) -> None:
        """The bytes of a new revision come before the record that names them."""
        file = getattr(message, "file", None)
        if file is not None and file.storage_key.endswith(f"-{self._mark:05d}.bin"):
            await self._world.put_object(file.storage_key, bytes_of(file.storage_key), on=node)

    async def _quiet(self) -> list[str]:
        """Everybody syncs until nothing moves; runs must succeed, and soon move nothing."""
        for _ in range(_QUIET_ROUNDS):
            moved = 0
            for node in self._nodes:
                for direction in (PUSH, PULL):
                    try:
                        counts = await self._run(node, direction)
                    except WorkspaceError as error:
                        return [f"{node} fails in peace: {error}"]
                    moved += counts.records_written + counts.objects_done
            if not moved:
                return []
        return [f"no fixpoint: {moved} still move"]
