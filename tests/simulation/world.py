"""One schedule: nodes, surfaces, people, faults, and in the end silence."""

from __future__ import annotations

import asyncio
import random
import secrets
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import Any, Protocol
from unittest import mock

from workspace.sync.v1.connection_pb2 import Connection, SyncScope, SyncScopeType, Trust
from workspace.sync.v1.run_pb2 import SyncDirection, SyncOptions

from services.model.errors import Reason, WorkspaceError
from services.records.instance import open_instance
from services.records.limits import MAX_ROWS
from services.records.port import DriverUnavailable
from sync_svc.collection.tombstones import purge_tombstones
from sync_svc.engine.task import Tally, Task
from tests.simulation import loop
from tests.simulation.cast import CAST, FIRST_MARK, Slot, marked, metadata_slot
from tests.simulation.memory_objects import MemoryObjects
from tests.simulation.memory_records import MemoryRecords
from tests.simulation.network import Network, Rates
from tests.simulation.node import Intent, Node, open_surface
from tests.simulation.oracle import Oracle, Place, Snapshot, Violation

__all__ = ["Engine", "Outcome", "Plan", "simulate"]

PUSH, PULL = SyncDirection.SYNC_DIRECTION_PUSH, SyncDirection.SYNC_DIRECTION_PULL
_HOUR = 3_600_000
_START_MS = 1_763_690_000_000
_ROUNDS = 14


class Engine(Protocol):
    """What is simulated: one run of sync."""

    async def run(self, task: Task) -> None:
        """Push or pull. Raises WorkspaceError."""
        ...


@dataclass(frozen=True)
class Plan:
    """What may happen in a schedule. `steps`: things that people and fate start.
    `content_only`: one more node trusts its surfaces with content alone. `reconcile`:
    the end begins with full reconciles, which heal much, and listings may have holes;
    without, cursors alone must do (None: half of the schedules each). `fate`: how many
    times as often stores are rewound and objects are away. `nodes`, `surfaces`,
    `records`: how many (0: by chance). `unordered`: surfaces scan their partitions in an
    order of their own, in short pages, and so do nodes (None: by the seed, half of the
    schedules each)."""

    steps: int = 20
    crashes: bool = True
    restores: bool = True
    clones: bool = True
    surface_restores: bool = True
    faults: bool = True
    skew: bool = True
    purges: bool = True
    content_only: bool = False
    reconcile: bool | None = None
    fate: float = 1.0
    nodes: int = 0
    surfaces: int = 0
    records: int = 0
    unordered: tuple[bool, bool] | None = None


@dataclass(frozen=True)
class Outcome:
    """What came of a schedule: the digest of all that happened, calls, and what went
    wrong ('' for nothing)."""

    seed: int
    trace: str
    calls: int
    violation: str
    log: tuple[str, ...] = ()
    counted: dict[str, int] = field(default_factory=dict)


def simulate(
    engine: Engine, seed: int, plan: Plan = Plan(), *, log: bool = False, raising: bool = False
) -> Outcome:
    """Run one schedule; equal arguments give equal outcomes. `log` keeps every step,
    `raising` lets unexpected exceptions of the engine through."""
    world = World(engine, seed, plan, log=log)
    violation = ""
    with _seeded(seed):
        try:
            loop.run(world.main(), world.idle)
        except Violation as found:
            violation = str(found)
        except loop.Deadlock:
            stuck = sorted(world.stuck())
            violation = f"waits for something that cannot come: {stuck}"
        except Exception as error:
            if raising:
                raise
            violation = f"raised {type(error).__name__}: {error}"
    network = world.network
    return Outcome(
        seed, network.trace, network.calls, violation, tuple(network.log or ()),
        dict(network.counted) | dict(world.done),
    )


@contextmanager
def _seeded(seed: int) -> Iterator[None]:
    """Everything random is drawn from the seed while a schedule runs."""
    rng = random.Random(f"secrets {seed}")
    state = random.getstate()
    random.seed(seed)

    def token_bytes(count: int | None = None) -> bytes:
        return rng.randbytes(32 if count is None else count)

    try:
        with mock.patch.object(secrets, "token_bytes", token_bytes), mock.patch(
            "os.urandom", token_bytes
        ):
            yield
    finally:
        random.setstate(state)


class World:
    """See the module."""

    def __init__(self, engine: Engine, seed: int, plan: Plan, *, log: bool) -> None:
        self.engine, self.plan = engine, plan
        self.rng = random.Random(f"world {seed}")
        drawn = self.rng.random() < 0.5
        self.reconciles = drawn if plan.reconcile is None else plan.reconcile
        self._unordered = plan.unordered or (bool(seed & 1), bool(seed & 2))
        rates = Rates(incomplete=0.15 if self.reconciles else 0) if plan.faults else Rates(0, 0, 0)
        self.network = Network(random.Random(f"network {seed}"), rates, calm=True)
        self.network.log = [] if log else None
        self.oracle = Oracle(cursors=not self.reconciles)
        self.surfaces: list[Place] = []
        self.nodes: list[Node] = []
        self.snapshots: dict[Place, list[Snapshot]] = {}
        self.done: dict[str, int] = {}
        self.ms = _START_MS
        self.hot = self.rng.sample(CAST, plan.records or self.rng.randint(3, 6))
        self.pace = self.rng.choice((0.04, 0.1, 0.3))
        self._mark = FIRST_MARK
        self._steps = plan.steps
        self._tasks: set[asyncio.Task[Any]] = set()
        self._dead: list[asyncio.Task[Any]] = []
        self._owner: dict[asyncio.Task[Any], Node] = {}
        self._chaos: asyncio.Event | None = None
        self._failed: BaseException | None = None
        self._made = 0

    async def main(self) -> None:
        """The whole schedule; raises Violation."""
        try:
            await self._set_up()
            self.network.calm, self._chaos = False, asyncio.Event()
            await self._chaos.wait()
            self.network.calm, self._chaos = True, None
            await self._quiesce()
            self.oracle.check_quiet()
            if self.rng.random() < 0.2:
                await self._second_act()
            self._check()
        finally:
            self.network.ended = True

    def idle(self) -> bool:
        """Called when nothing can go on by itself."""
        if self.network.ended:
            return False
        self._check()
        self.ms += 1
        if self._chaos is not None and self._next_of_chaos():
            return True
        return self.network.release()

    def _next_of_chaos(self) -> bool:
        assert self._chaos is not None
        waiting = self.network.waiting
        if self._steps and (not waiting or (waiting < 10 and self.rng.random() < self.pace)):
            self._steps -= 1
            self._something()
            return True
        if not self._steps and not waiting and not self._tasks:
            self._chaos.set()
            return True
        return False

    def stuck(self) -> list[str]:
        """Where tasks that did not end wait."""
        frames = [task.get_stack(limit=1) for task in self._tasks]
        return [f"{f[0].f_code.co_name}:{f[0].f_lineno}" for f in frames if f]

    def _check(self) -> None:
        if self.oracle.violation is not None:
            raise self.oracle.violation
        if self._failed is not None:
            raise self._failed

    # Setting up

    async def _set_up(self) -> None:
        for number in range(self.plan.surfaces or self.rng.choice((1, 1, 2, 2, 3))):
            place = self._place(f"S{number}", lenient=False)
            await open_instance(place.records)
            self.surfaces.append(place)
        for number in range(self.plan.nodes or self.rng.choice((2, 2, 2, 3, 3, 4))):
            self.nodes.append(self._node(f"N{number}", self._place(f"N{number}", lenient=True)))
        for surface in self.surfaces:  # a connected graph
            if not any(surface in node.surfaces for node in self.nodes):
                self.rng.choice(self.nodes).surfaces.append(surface)
        for node in self.nodes[1:]:
            if not self.nodes[0].surfaces or not _connected(self.nodes):
                node.surfaces.extend(s for s in self.surfaces if s not in node.surfaces)
        if not _connected(self.nodes):
            self.nodes[0].surfaces = list(self.surfaces)
        if self.plan.content_only:
            self._guarded_node()
        for node in self.nodes:
            await node.start()
        if self.rng.random() < 0.6:
            for slot in self.hot:
                await self._write(self.nodes[0], [Intent(slot, "", "edit", 0)])

    def _place(self, name: str, *, lenient: bool) -> Place:
        self._made += 1
        records = MemoryRecords(
            f"provider-{self._made}", clock=self._seconds, max_puts=MAX_ROWS + 1,
            unordered=self._unordered[lenient],
        )
        objects = MemoryObjects(clock=self._seconds)
        return self.oracle.add(Place(name, records, objects, lenient))

    def _seconds(self) -> float:
        return self.ms / 1000

    def _node(self, name: str, place: Place, surfaces: list[Place] | None = None) -> Node:
        hours = (0, 0, 0, 48, -48, 5, -20) if self.reconciles else (0, 0, 0, 11, -11, 5, -7)
        skew = self.rng.choice(hours) * _HOUR if self.plan.skew else 0
        if surfaces is None:
            most = self.rng.randint(1, len(self.surfaces))
            surfaces = self.rng.sample(self.surfaces, most)
        return Node(
            name, place, self.network, self.oracle, lambda: self.ms, skew, surfaces
        )

    def _guarded_node(self) -> None:
        place = self._place("G", lenient=True)
        place.guarded = True
        self.nodes.append(self._node("G", place))

    # Chaos

    def _something(self) -> None:
        up = [node for node in self.nodes if node.up]
        if not up:
            return
        node = self.rng.choice(up)
        fate = self.plan.fate
        weights = (48, 34, 3, 3 * fate, 3, 4 * fate, 3 * fate, 3)
        names = ("write", "sync", "purge", "hide", "crash", "snapshot", "rewind", "clone")
        what = self.rng.choices(names, weights)[0]
        if what == "write":
            self._go(node, self._write(node, self._intents(node)), "write")
        elif what == "sync":
            self._sync_somewhere(node)
        elif what == "purge" and self.plan.purges:
            place = self.rng.choice([node.place, *node.surfaces])
            self._go(node, self._purge(node, place), "purge")
        elif what == "hide" and self.plan.faults:
            self.rng.choice([node.place, *node.surfaces]).objects.hide(self.rng.random())
        elif what == "crash" and self.plan.crashes:
            self._crash(node)
        elif what == "snapshot":
            place = self.rng.choice([node.place, *self.surfaces])
            # A surface's backup of the middle of an export, restored in place, has the
            # handshake and not the data: only the weekly reconcile finds that.
            if not any(place.name in each.busy for each in self.nodes):
                self.snapshots.setdefault(place, []).append(place.snapshot())
        elif what == "rewind":
            self._rewind()
        elif what == "clone" and self.plan.clones and len(self.nodes) < 5:
            self._clone(node)

    def _sync_somewhere(self, node: Node) -> None:
        free = [surface for surface in node.surfaces if surface.name not in node.busy]
        if free:
            surface = self.rng.choice(free)
            direction = self.rng.choice((PUSH, PUSH, PULL, PULL))
            full = self.reconciles and self.rng.random() < 0.1
            self._go(node, self._sync(node, surface, direction, full=full), "sync")

    def _intents(self, node: Node) -> list[Intent]:
        if self.rng.random() < 0.1:
            mark = self.mark()
            return [Intent(metadata_slot(mark), mark, "edit", 0)]
        slot = self._slot(node)
        slots = [slot]
        if self.rng.random() < 0.15:
            slots = [each for each in CAST if each.pk == slot.pk][:2]
        return [self._intent(each) for each in slots]

    def _slot(self, node: Node) -> Slot:
        """One of the records that this schedule is about; rather a contested one."""
        contested = [slot for slot in self.hot if _is_contested(node.place, slot)]
        chosen = contested if contested and self.rng.random() < 0.6 else self.hot
        return self.rng.choice(chosen)

    def _intent(self, slot: Slot) -> Intent:
        act = self.rng.choices(("edit", "delete", "resolve"), (7, 2, 2))[0]
        if slot.owner_bearing and act == "delete":
            act = "edit"
        twin = act == "edit" and self.rng.random() < 0.1
        mark = marked(CAST.index(slot) + 1) if twin else ""
        return Intent(slot, mark, act, 0 if twin else self.rng.randrange(3))

    def _crash(self, node: Node) -> None:
        self._count("crash")
        self.network.note(f"crash {node.name}")
        self._dead += [task for task in self._tasks if self._owner[task] is node]
        self._tasks -= set(self._dead)
        node.crash()
        self._go(node, node.start(), "start")

    def _rewind(self) -> None:
        places = [place for place in self.snapshots if self.snapshots[place]]
        if not places:
            return
        place = self.rng.choice(sorted(places, key=lambda each: each.name))
        node = next((each for each in self.nodes if each.place is place), None)
        if not (self.plan.restores if node else self.plan.surface_restores):
            return
        # Of a run that goes on through it the objects would go and the records come:
        # nobody restores a surface while it is written to (`wm doctor` finds it).
        if node is None and any(place.name in each.busy for each in self.nodes):
            return
        self._count("restore")
        identity = f"moved-{self._made}" if self.rng.random() < 0.5 else ""
        self._made += 1
        self.network.note(f"restore {place.name} {identity}")
        if node is not None:
            self._dead += [task for task in self._tasks if self._owner[task] is node]
            self._tasks -= set(self._dead)
            node.crash()
        place.restore(self.rng.choice(self.snapshots[place]), identity=identity)
        if node is not None:
            self._go(node, node.start(), "start")

    def _clone(self, node: Node) -> None:
        self._count("clone")
        node.place.doubtful = True
        place = self._place(f"C{len(self.nodes)}", lenient=True)
        keep = self.rng.random() < 0.5
        identity = "" if keep else f"cloned-{self._made}"
        copied = node.place.snapshot()
        place.restore(copied, identity=identity or _identity(node.place))
        self.network.note(f"clone {node.name} {place.name} {identity}")
        made = self._node(place.name, place, list(node.surfaces))
        made.skew_ms = node.skew_ms + 7
        self.nodes.append(made)
        self._go(made, made.start(), "start")

    def _go(self, node: Node, work: Any, what: str) -> None:
        task = asyncio.get_event_loop().create_task(self._guarded(work, what))
        self._tasks.add(task)
        self._owner[task] = node
        task.add_done_callback(self._tasks.discard)

    async def _guarded(self, work: Any, what: str) -> None:
        try:
            await work
        except asyncio.CancelledError:
            raise
        except Violation as violation:
            self._failed = self._failed or violation
        except Exception as error:
            told = Violation(f"{what} raised {type(error).__name__}: {error}")
            told.__cause__ = error
            self._failed = self._failed or told

    # What people do

    def mark(self) -> str:
        """A new mark for the next write."""
        self._mark += 1
        return marked(self._mark)

    def subset(self, count: int) -> int:
        """As `Dice` says."""
        return self.rng.randrange(1, 2**count)

    async def _write(self, node: Node, intents: list[Intent]) -> None:
        self._count("write")
        names = " ".join(f"{each.act} {each.slot.key.sk} {each.mark}" for each in intents)
        self.network.note(f"{node.name} begins {names}")
        try:
            outcome = await node.write(intents, self)
        except WorkspaceError as error:
            outcome = f"failed {error.reason}"
        self.network.note(f"{node.name} {names}: {outcome}")

    async def _sync(
        self, node: Node, place: Place, direction: int, *, full: bool, reinitialise: bool = False
    ) -> WorkspaceError | None:
        """One run, as a person starts it; the error with which it ended."""
        self._count("push" if direction == PUSH else "pull")
        life, verb = node.life, "push" if direction == PUSH else "pull"
        name = f"{node.name} {verb} {place.name}"
        node.busy.add(place.name)
        self.network.note(f"{name} begins full={full}")
        error: WorkspaceError | None = None
        try:
            task = await self._task(node, place, direction, full=full, reinitialise=reinitialise)
            await self.engine.run(task)
        except WorkspaceError as raised:
            error = raised
        except DriverUnavailable:
            pass  # while the surface was opened
        finally:
            if life is node.life:
                node.busy.discard(place.name)
        self.network.note(f"{name} ends {Reason.Name(error.reason) if error else ''}")
        return error

    async def _task(
        self, node: Node, place: Place, direction: int, *, full: bool, reinitialise: bool
    ) -> Task:
        self._made += 1
        trust = Trust.TRUST_CONTENT_ONLY if node.place.guarded else Trust.TRUST_FULL
        connection = Connection(
            connection_id=f"c-{place.name}", name=place.name, provider="local",
            scope=SyncScope(type=SyncScopeType.SYNC_SCOPE_TYPE_ALL), trust=trust,
        )
        remote = await open_surface(node, place)
        node.place.rewinds_then[place.name] = (place.rewinds, node.place.rewinds)
        options = SyncOptions(force=True, full_reconcile=full, reinitialise=reinitialise)
        return Task(
            run_id=f"run-{self._made}", direction=direction, connection=connection,  # type: ignore[arg-type]
            options=options, local=node.surface, remote=remote, tally=Tally(),
            now_ms=node.wall_ms, monotonic=lambda: self.ms / 1000, stop=lambda: False,
        )

    # Silence

    async def _quiesce(self) -> None:
        """Clocks are set right, time passes, and everybody syncs until nothing moves."""
        self.ms += 100 * _HOUR
        for place in self.oracle.places.values():
            place.objects.hidden.clear()
        for node in self.nodes:
            node.skew_ms = 0
        full = self.reconciles
        for round_ in range(_ROUNDS):
            before = self._record_commits()
            errors = await self._round(full=full)
            if self._record_commits() == before:
                if errors:
                    raise Violation(f"runs fail for ever: {errors[0]}")
                if full or not self.reconciles or self.rng.random() < 0.7:
                    return
                full = True
            else:
                full = False
            if self.plan.purges and round_ < 3:
                await self._purge_all()
        raise Violation("no fixpoint")

    async def _second_act(self) -> None:
        """People decide about conflicts, some of them at once, and all is quiet again."""
        self.reconciles = False
        for node in self.nodes:
            for _ in range(2):
                await self._write(node, self._intents(node))
        await self._quiesce()
        self.oracle.check_quiet()

    async def _purge_all(self) -> None:
        """Tombstones become stubs, wherever they may."""
        for node in self.nodes:
            await self._purge(node, node.place)
            for surface in node.surfaces:
                await self._purge(node, surface)

    async def _purge(self, node: Node, place: Place) -> None:
        self.network.note(f"{node.name} purges {place.name}")
        mine = place is node.place
        connections = [f"c-{each.name}" for each in node.surfaces] if mine else []
        with suppress(WorkspaceError, DriverUnavailable):
            records = node.records if mine else (await open_surface(node, place)).records
            await purge_tombstones(
                records, now_ms=node.wall_ms(), connections=connections, retention_ms=0
            )

    async def _round(self, *, full: bool) -> list[str]:
        errors = []
        for node in self.nodes:
            for surface in node.surfaces:
                for direction in (PUSH, PULL):
                    error = await self._sync(node, surface, direction, full=full)
                    if error and error.reason == Reason.ERROR_REASON_SURFACE_CHANGED:
                        error = await self._sync(
                            node, surface, direction, full=full, reinitialise=True
                        )
                    self._check()
                    if error:
                        errors.append(f"{node.name} {surface.name}: {error}")
        return errors

    def _record_commits(self) -> int:
        return sum(place.record_commits for place in self.oracle.places.values())

    def _count(self, what: str) -> None:
        self.done[what] = self.done.get(what, 0) + 1


def _is_contested(place: Place, slot: Slot) -> bool:
    item = place.records.peek(slot.key)
    return item is not None and '"s":' in item.stamp


def _identity(place: Place) -> str:
    return place.records._identity


def _connected(nodes: list[Node]) -> bool:
    """Whether everything can reach everything."""
    reached: set[str] = {nodes[0].name}
    while True:
        places = {s.name for node in nodes if node.name in reached for s in node.surfaces}
        more = {n.name for n in nodes if any(s.name in places for s in n.surfaces)}
        if more <= reached:
            return len(reached) == len(nodes)
        reached |= more
