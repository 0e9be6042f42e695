"""One schedule of the change feed: processes, a table, readers, and what must hold.

The table does what DynamoDB does and no more: a transaction holds its rows, then writes
them one after the other; reads see what was written so far; writes to held rows are
refused for now. Calls take their time, answers get lost, requests arrive late,
processes die in any place, clocks differ.
"""

from __future__ import annotations

import asyncio
import json
import math
import random
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from services.records.dynamodb.feed import Feed
from services.records.dynamodb.feed_rows import Row
from services.records.dynamodb.lanes import Lanes
from services.records.port import ABSENT, DriverUnavailable, Item, Key, Match, Put

PARTITIONS = ("P#0", "P#1")
_HEAD = "#HEAD"


class Broken(AssertionError):
    """The schedule shows a fault."""


@dataclass(frozen=True)
class Commit:
    """One that happened; `whole_at`: when the last of its rows could be read."""

    pk: str
    sk: str
    number: int
    token: str
    whole_at: float = math.inf


@dataclass
class World:
    """All that is stored, and the truth about it."""

    rng: random.Random
    trouble: float
    slow: float
    slots: dict[tuple[str, int], Row] = field(default_factory=dict)
    listed: dict[str, int] = field(default_factory=dict)
    items: dict[Key, Item] = field(default_factory=dict)
    held: set[object] = field(default_factory=set)
    happened: dict[str, Commit] = field(default_factory=dict)
    told: list[tuple[str, bool]] = field(default_factory=list)
    acknowledged: list[Commit] = field(default_factory=list)
    late: set[asyncio.Task[Any]] = field(default_factory=set)
    void_is_unconditional: bool = False

    @property
    def now(self) -> float:
        return asyncio.get_running_loop().time()

    async def pause(self) -> None:
        """A call's way in one direction."""
        delay = self.rng.random() * 0.05
        if self.rng.random() < self.slow:
            delay += self.rng.random() * 3
        await asyncio.sleep(delay)

    def spawn(self, work: Coroutine[Any, Any, Any]) -> asyncio.Task[Any]:
        """What goes on when the process that asked for it is dead."""
        task = asyncio.create_task(work)
        self.late.add(task)
        task.add_done_callback(self.late.discard)
        return task

    async def called(self, act: Callable[[], Any]) -> Any:
        """One call; its answer may get lost, or the call itself."""
        await self.pause()
        lost = self.rng.random()
        if lost < self.trouble / 8:
            raise DriverUnavailable("lost")
        result = act()
        if lost < self.trouble / 4:
            raise DriverUnavailable("lost")
        await self.pause()
        return result

    async def transact(self, row: Row, puts: Sequence[Put]) -> str:
        """`landed`, `condition`, `conflict`, `fenced`, or `unclear` while it goes on."""
        unclear = self.rng.random() < self.trouble
        done = self.spawn(self._transact(row, puts))
        if unclear:
            await asyncio.wait({done}, timeout=self.rng.random() * 2)
            return "unclear"
        return str(await asyncio.shield(done))

    async def _transact(self, row: Row, puts: Sequence[Put]) -> str:
        await self.pause()
        slot = (row.lane, row.seq)
        wanted: set[object] = {slot, *(put.key for put in puts)}
        if wanted & self.held:
            return "conflict"
        if slot in self.slots:
            return "fenced"
        if not all(self._holds(put) for put in puts):
            return "condition"
        self.held |= wanted
        await self._apply(row, puts)
        self.held -= wanted
        await self.pause()
        return "landed"

    def _holds(self, put: Put) -> bool:
        found = self.items.get(put.key)
        token = put.condition.token if isinstance(put.condition, Match) else None
        return (found.token if found else None) == token

    async def _apply(self, row: Row, puts: Sequence[Put]) -> None:
        number = json.loads(puts[0].body)
        event = puts[1].key
        commit = Commit(row.pk, event.sk, number, row.token)
        self.happened[row.mark] = commit
        parts: list[Row | Put] = [row, *puts]
        self.rng.shuffle(parts)
        for part in parts:
            if part is not parts[0] and self.rng.random() < 0.3:
                await self.pause()
            if isinstance(part, Row):
                self.slots[(row.lane, row.seq)] = part
            else:
                self.items[part.key] = Item(part.key, row.token, part.family, part.body)
        self.happened[row.mark] = replace(commit, whole_at=self.now)


@dataclass
class Table:
    """`LaneTable` of a world."""

    world: World

    async def lanes(self) -> dict[str, int]:
        found: dict[str, int] = await self.world.called(lambda: dict(self.world.listed))
        return found

    async def register(self, lane: str, at: int) -> None:
        await self.world.called(lambda: self.world.listed.__setitem__(lane, at))

    async def add(self, row: Row) -> Row | None:
        slot, world = (row.lane, row.seq), self.world

        def act() -> Row | None:
            found = world.slots.get(slot)
            if found is None or (world.void_is_unconditional and found.pk != row.pk):
                world.slots[slot] = row
                return None
            return None if found.mark == row.mark else found

        while True:
            refused, found = await world.called(
                lambda: (True, None) if slot in world.held else (False, act())
            )
            if not refused:
                made: Row | None = found
                return made

    async def rows(self, lane: str, start: int, limit: int) -> list[Row]:
        found: list[Row] = await self.world.called(lambda: self._lane(lane, start)[:limit])
        return found

    async def last(self, lane: str) -> Row | None:
        found: Row | None = await self.world.called(
            lambda: next(iter(self._lane(lane, 0)[-1:]), None)
        )
        return found

    def _lane(self, lane: str, start: int) -> list[Row]:
        slots = self.world.slots
        return [slots[each] for each in sorted(slots) if each[0] == lane and each[1] >= start]


class Process:
    """A process that commits: what the driver does, in short."""

    def __init__(self, world: World, name: int) -> None:
        self.world = world
        self.name = name
        skew = world.rng.uniform(-5, 5)
        self.lanes = Lanes(Table(world), clock=lambda: 1000.0 + skew + world.now)

    async def run(self, commits: int, at_once: int) -> None:
        work = [self._work(number, commits) for number in range(at_once)]
        await asyncio.gather(*work)
        if self.world.rng.random() < 0.7:
            await self.lanes.close()

    def die(self) -> None:
        for task in self.lanes._tasks:
            task.cancel()

    async def _work(self, worker: int, commits: int) -> None:
        for number in range(commits):
            await asyncio.sleep(self.world.rng.random() * self.world.rng.choice((0.1, 1.0, 6.0)))
            pk = self.world.rng.choice(PARTITIONS)
            await self._commit(pk, f"E{self.name}.{worker}.{number}")

    async def _commit(self, pk: str, sk: str) -> None:
        for attempt in range(6):
            try:
                if await self._attempt(pk, f"{sk}.{attempt}"):
                    return
            except DriverUnavailable:
                return
            await asyncio.sleep(self.world.rng.random() * 0.1)

    async def _attempt(self, pk: str, sk: str) -> bool:
        world, lanes = self.world, self.lanes
        head = await world.called(lambda: world.items.get(Key(pk, _HEAD)))
        number = json.loads(head.body) + 1 if head else 1
        condition = Match(head.token) if head else ABSENT
        puts = [
            Put(Key(pk, _HEAD), condition, "head", json.dumps(number)),
            Put(Key(pk, sk), ABSENT, "event", json.dumps(number)),
        ]
        slot, mark = await lanes.reserve(), f"{world.rng.getrandbits(64):x}"
        done = False
        try:
            outcome = await world.transact(lanes.row(slot, pk, puts, mark), puts)
            if outcome == "unclear":
                done = True
                outcome = "landed" if await lanes.settle(slot, mark) else "no"
            elif outcome == "landed":
                lanes.landed(slot)
            elif outcome == "fenced":
                await lanes.fenced(slot)
            else:
                lanes.release(slot)
            done = True
        finally:
            if not done:
                lanes.abandon(slot)
        world.told.append((mark, outcome == "landed"))
        if outcome == "landed" and mark in world.happened:
            world.acknowledged.append(world.happened[mark])
        return outcome == "landed"


class Reader:
    """Follows the feed, and holds it to its word. `whole`: from the beginning."""

    def __init__(self, world: World, *, whole: bool, read_only: bool) -> None:
        self.world = world
        self.whole = whole
        self.read_only = read_only
        self.cursor: str | None = None
        self.since = 0.0
        self.seen: dict[Key, str] = {}
        self.highest: dict[str, int] = {}
        self.began = False
        self._open()

    def _open(self) -> None:
        world = self.world

        async def identity() -> str:
            return "simulated"

        self.feed = Feed(
            Table(world), identity=identity, read=self._read, settled=self._settled,
            scan=self._scan, clock=lambda: 1000.0 + world.now, read_only=self.read_only,
            monotonic=lambda: world.now,
        )  # fmt: skip

    async def run(self) -> None:
        """Until cancelled."""
        while True:
            await self.step()
            if self.world.rng.random() < 0.1:
                self._open()  # a reader that starts again with its cursor
            await asyncio.sleep(self.world.rng.random() * self.world.rng.choice((0.3, 3.0)))

    async def step(self) -> bool:
        """One page; whether it is empty and complete."""
        try:
            if not self.began and not self.whole:
                self.cursor = await self.feed.tail()
                self.since = self.world.now
            self.began = True
            before = list(self.world.acknowledged)
            walks = self.cursor is None or json.loads(self.cursor)[4] is not None
            page = await self.feed.changes(self.cursor, self.world.rng.choice((1, 2, 5, 50)))
        except DriverUnavailable:
            return False
        for item in page.items:
            self._take(item, ordered=not walks)
        self.cursor = page.cursor
        if page.complete:
            self.check(before, "complete, and it is not")
        return page.complete and not page.items

    def check(self, commits: Sequence[Commit], message: str) -> None:
        """Every one of `commits` that this reader has to see was delivered."""
        for commit in commits:
            if self._concerned(commit) and Key(commit.pk, commit.sk) not in self.seen:
                raise Broken(f"{message}: {commit}")

    def last_words(self) -> None:
        """It was delivered everything, and of each HEAD the last version."""
        commits = list(self.world.happened.values())
        self.check(commits, "missed")
        for commit in commits:
            head = Key(commit.pk, _HEAD)
            current = self.world.items[head].token
            newest = commit.token == current and self._concerned(commit)
            if newest and self.seen.get(head) != current:
                raise Broken(f"an old version of {head} was the last")

    def _concerned(self, commit: Commit) -> bool:
        return self.whole or commit.whole_at > self.since

    def _take(self, item: Item, *, ordered: bool) -> None:
        self.seen[item.key] = item.token
        if item.key.sk == _HEAD:
            return
        number = json.loads(item.body)
        if ordered:
            if number <= self.highest.get(item.key.pk, 0):
                raise Broken(f"{item.key} is delivered after what was built upon it")
            self.highest[item.key.pk] = number

    async def _read(self, keys: Sequence[Key]) -> list[Item | None]:
        await self.world.pause()
        found = []
        for key in keys:
            found.append(self.world.items.get(key))
            if self.world.rng.random() < 0.1:
                await self.world.pause()
        return found

    async def _settled(self, keys: Sequence[Key]) -> dict[Key, Item | None]:
        if not keys:
            return {}
        await self.world.pause()
        world = self.world
        found = {key: world.items.get(key) for key in keys if key not in world.held}
        await self.world.pause()
        return found

    async def _scan(self, after: Key | None, limit: int) -> list[Item]:
        items = self.world.items
        found: list[Item] = await self.world.called(
            lambda: [items[key] for key in sorted(items) if after is None or key > after][:limit]
        )
        return found


@dataclass(frozen=True)
class Plan:
    """How a schedule goes, all of it from its seed."""

    processes: int
    commits: int
    at_once: int
    trouble: float
    slow: float
    crash: float

    @classmethod
    def of(cls, rng: random.Random) -> Plan:
        return cls(
            rng.choice((2, 3)), rng.choice((1, 2, 3)), rng.choice((1, 2)),
            rng.choice((0.0, 0.1, 0.4)), rng.choice((0.0, 0.05, 0.3)), rng.choice((0.0, 0.5)),
        )  # fmt: skip


async def schedule(seed: int, *, void_is_unconditional: bool = False) -> World:
    """Play a schedule. Raises Broken."""
    rng = random.Random(seed)
    plan = Plan.of(rng)
    world = World(rng, plan.trouble, plan.slow, void_is_unconditional=void_is_unconditional)
    readers = [
        Reader(world, whole=whole, read_only=read_only)
        for whole, read_only in ((True, False), (False, False), (False, rng.random() < 0.5))
    ]
    following = [asyncio.create_task(_follow(rng, reader)) for reader in readers]
    await asyncio.gather(*(_live(world, plan, name) for name in range(plan.processes)))
    while world.late:
        await asyncio.wait(set(world.late))
    for task in following:
        if task.done():
            task.result()
        task.cancel()
    await asyncio.gather(*following, return_exceptions=True)
    await _judge(world, readers)
    return world


async def _follow(rng: random.Random, reader: Reader) -> None:
    await asyncio.sleep(rng.random() * rng.choice((0.0, 3.0)))
    await reader.run()


async def _live(world: World, plan: Plan, name: int) -> None:
    """A process, and after it perhaps another; it may be killed."""
    rng = world.rng
    for life in range(rng.choice((1, 2))):
        await asyncio.sleep(rng.random() * rng.choice((0.1, 4.0)))
        process = Process(world, 10 * name + life)
        task = asyncio.create_task(process.run(plan.commits, plan.at_once))
        if rng.random() < plan.crash:
            await asyncio.wait({task}, timeout=rng.random() * 4)
            task.cancel()
            await asyncio.wait({task})
            process.die()
        else:
            await task


async def _judge(world: World, readers: Sequence[Reader]) -> None:
    """With a table that answers, every reader gets to the end."""
    world.trouble = 0.0
    for reader in sorted(readers, key=lambda each: each.read_only):
        for _ in range(300):
            if await reader.step():
                break
        else:
            raise Broken("the feed does not come to its end")
        reader.last_words()
    for mark, landed in world.told:
        if landed != (mark in world.happened):
            raise Broken("the writer was told wrong")
    tokens = [commit.token for commit in world.happened.values()]
    if len(set(tokens)) != len(tokens):
        raise Broken("two commits in one slot")
