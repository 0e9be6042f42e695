"""The event feed keeps the nine watch invariants (D14), the relay at-least-once (D15).

Many writers; watchers that are cut off and resume at random, slow ones among
them; a relay that is killed at random. `WM_SOAK=1` runs a million events.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
import signal
import sys
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from prometheus_client import CollectorRegistry
from workspace.project.v1.grant_pb2 import Grant
from workspace.project.v1.project_pb2 import Project

from services.events.feed import Feed
from services.events.outbox import BEGINNING, OutboxEvent, Position, follow_events
from services.events.relay import Relay, RelayMetrics
from services.model.clocks import HybridClock
from services.model.families import FAMILIES
from services.records.port import Index
from services.records.record import Activity, Record, Write
from services.records.sql import SqliteDriver
from services.records.store import RecordStore
from tests.durability.watch_checks import Checker, Ledger, keys_of

SOAK = bool(os.environ.get("WM_SOAK"))
EVENTS = 1_000_000 if SOAK else 20_000
WRITERS = 48
KILLS = 60 if SOAK else 4
PROJECT, GRANT = FAMILIES["project"], FAMILIES["project_grant"]
ROOT = Path(__file__).parents[2]
pytestmark = [pytest.mark.durability, pytest.mark.timeout(7200 if SOAK else 180)]


@pytest.fixture
async def records(tmp_path: Path) -> AsyncIterator[RecordStore]:
    driver = await SqliteDriver.open(tmp_path / "store.sqlite")
    clock = HybridClock(lambda: int(time.time() * 1000))
    store = RecordStore(driver, actor="n_one.i_one", clock=clock)
    yield store
    await store.close()


@dataclass
class Writer:
    """Owns a partition: creates, changes and deletes up to three of its records
    in one commit."""

    records: RecordStore
    ledger: Ledger
    number: int
    chance: random.Random
    known: dict[str, Record[Any] | None] = field(default_factory=dict)

    @property
    def project_id(self) -> str:
        return f"p_{self.number}"

    async def commit(self) -> None:
        names = self.chance.sample(["", "g_a", "g_b", "g_c"], self.chance.randint(1, 3))
        writes = [self._write(name) for name in names]
        pk = f"PROJECT#{self.project_id}"
        done = await self.records.commit(
            pk, writes, activity=Activity("project.written", f"projects/{self.project_id}")
        )
        keys = keys_of([(w.family.name, w.family.key_of(w.message)[1]) for w in writes])
        self.ledger.acknowledge(time.time(), pk, done.pseq, keys)
        for name, record in zip(names, done.records, strict=True):
            self.known[name] = record

    def _write(self, name: str) -> Write[Any]:
        base = self.known.get(name)
        value = str(self.chance.random())
        if not name:
            message: Any = Project(project_id=self.project_id, name=value)
            return Write(PROJECT, message, base=base)
        message = Grant(project_id=self.project_id, grant_id=name, target_id=value)
        live = base is not None and not base.deleted
        return Write(GRANT, message, base=base, deleted=live and self.chance.random() < 0.3)


@dataclass
class Watcher:
    """Follows the feed, is cut off with chance `cut` after each event, resumes
    from the position it had. `places` are some of its positions."""

    feed: Feed
    checker: Checker
    start: Position
    chance: random.Random
    cut: float = 0.0
    slow: float = 0.0
    only: Any = None
    places: list[tuple[Position, int]] = field(default_factory=list)
    cuts: int = 0

    async def run(self) -> None:
        place = self.start
        while True:
            place = await self._until_cut(Position.load(place.dump()))
            self.cuts += 1

    async def _until_cut(self, place: Position) -> Position:
        async with aclosing(follow_events(self.feed, place)) as batches:
            async for batch in batches:
                for each, after in batch.events:
                    if self.only is None or self.only(each.pk):
                        self.checker.event(each)
                    if self.chance.random() < 0.001:
                        self.places.append((after, self.checker.count))
                    if self.chance.random() < self.cut:
                        return after
                if batch.complete:
                    self.checker.checkpoint(batch.started_at)
                if self.chance.random() < self.slow:
                    await asyncio.sleep(self.chance.random() * 0.2)
        raise AssertionError("a feed never ends")


async def test_the_nine_invariants(records: RecordStore) -> None:
    feed, ledger = Feed(records, now=time.time, poll=0.05), Ledger()
    start = Position(await feed.tail())
    watchers = _watchers(feed, ledger, start)
    tasks = [asyncio.ensure_future(watcher.run()) for watcher in watchers]
    began = time.monotonic()
    await _write(records, ledger, EVENTS)
    written = time.monotonic() - began
    end = await feed.tail()
    await _caught_up(watchers, tasks)
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    problems = [problem for watcher in watchers for problem in watcher.checker.finish()]
    assert problems == []
    assert sum(watcher.cuts for watcher in watchers) > 20
    await _check_resuming(feed, ledger, watchers[0], end)
    print(
        f"{len(ledger.acks)} events, {sum(w.checker.count for w in watchers)} delivered, "
        f"{sum(w.cuts for w in watchers)} cuts, written in {written:.0f} s, "
        f"all in {time.monotonic() - began:.0f} s, 0 violations"
    )


def _watchers(feed: Feed, ledger: Ledger, start: Position) -> list[Watcher]:
    def even(pk: str) -> bool:
        return int(pk.rpartition("_")[2]) % 2 == 0

    return [
        Watcher(feed, Checker(ledger), start, random.Random(1)),
        Watcher(feed, Checker(ledger), start, random.Random(2), cut=0.005),
        Watcher(feed, Checker(ledger), start, random.Random(3), cut=0.001, slow=0.2),
        Watcher(feed, Checker(ledger, even), start, random.Random(4), cut=0.002, only=even),
    ]


async def _write(records: RecordStore, ledger: Ledger, count: int) -> None:
    """Writers in step with each other now and then, so that the feed runs dry."""
    writers = [Writer(records, ledger, n, random.Random(100 + n)) for n in range(WRITERS)]
    rounds = 10
    for _ in range(rounds):
        each = count // rounds // WRITERS

        async def commits(writer: Writer, each: int = each) -> None:
            for _ in range(each):
                await writer.commit()

        await asyncio.gather(*map(commits, writers))
        await asyncio.sleep(0.1)


async def _caught_up(watchers: Sequence[Watcher], tasks: Sequence[asyncio.Future[None]]) -> None:
    """Until every watcher has what it is owed; a violation is found afterwards."""
    async with asyncio.timeout(600 if SOAK else 60):
        while any(_owed(watcher) > watcher.checker.count for watcher in watchers):
            done, _ = await asyncio.wait(tasks, timeout=0.1)
            for task in done:
                task.result()


def _owed(watcher: Watcher) -> int:
    ledger: Ledger = watcher.checker._ledger
    wanted = watcher.only or (lambda _: True)
    return sum(len(commits) for pk, commits in ledger.commits.items() if wanted(pk))


async def _check_resuming(feed: Feed, ledger: Ledger, watcher: Watcher, end: str) -> None:
    """Resumable: after any position come exactly the events that came after it."""
    total = watcher.checker.count
    places = random.Random(5).sample(watcher.places, min(10, len(watcher.places)))
    assert places
    for place, before in places:
        seen = 0
        async with aclosing(follow_events(feed, Position.load(place.dump()))) as batches:
            async for batch in batches:
                seen += len(batch.events)
                # A page that is shared may be older than the last events.
                if batch.complete and (not batch.events or seen >= total - before):
                    break
        assert seen == total - before
    assert end


async def test_the_checker_finds_each_violation(records: RecordStore) -> None:
    """The control: a stream with one fault each is caught."""
    feed, ledger = Feed(records, now=time.time), Ledger()
    writer = Writer(records, ledger, 0, random.Random(9))
    for _ in range(30):
        await writer.commit()
    async with aclosing(follow_events(feed, BEGINNING)) as batches:
        events = [event for event, _ in (await anext(batches)).events]

    def judged(stream: Sequence[OutboxEvent], **more: Any) -> set[str]:
        checker = Checker(ledger, **more)
        for each in stream:
            checker.event(each)
        checker.checkpoint(time.time())
        return {problem.split(":")[0] for problem in checker.finish()}

    assert judged(events) == set()
    assert "unique" in judged([*events[:5], events[4], *events[5:]])
    assert "ordered" in judged([*events[:5], events[3], *events[5:]])
    assert {"reliable", "previous value"} <= judged([*events[:5], *events[6:]])
    assert {"reliable", "bookmarkable"} <= judged(events[:-1])
    assert "creation mark" in judged(events[10:])
    assert "filter" in judged(events, wanted=lambda pk: False)
    ledger.commits["PROJECT#p_0"][7] ^= 1
    assert judged(events) == {"atomic"}


class Sink:
    """A consumer whose effect is keyed by event id."""

    name = "sink"

    def __init__(self) -> None:
        self.effects: dict[str, OutboxEvent] = {}
        self.calls = 0
        self.chance = random.Random(6)

    async def deliver(self, events: Sequence[OutboxEvent]) -> None:
        for each in events:
            self.calls += 1
            self.effects.setdefault(each.event_id, each)
            if self.chance.random() < 0.002:
                await asyncio.sleep(0.001)
            if self.chance.random() < 0.0005:
                raise RuntimeError("now and then")


async def test_a_relay_that_is_cut_off_again_and_again(records: RecordStore) -> None:
    feed, ledger, sink = Feed(records, now=time.time, poll=0.05), Ledger(), Sink()
    metrics, chance = RelayMetrics(CollectorRegistry()), random.Random(8)

    def relay() -> Relay:
        return Relay(
            sink, records=records, feed=feed, metrics=metrics, now=time.time,
            first_pause=0.001, linger=0.001,
        )  # fmt: skip

    await relay().register()
    count = EVENTS // 5
    writing = asyncio.ensure_future(_write(records, ledger, count))
    while not writing.done() or len(sink.effects) < len(ledger.acks):
        task = asyncio.ensure_future(relay().run())
        await asyncio.sleep(chance.random() * 0.4)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
    await writing
    checker = Checker(ledger)
    for each in sink.effects.values():
        checker.event(each)
    checker.checkpoint(time.time())
    assert checker.finish() == []
    assert await relay().parked() == []


async def _process(folder: Path, commits: int) -> asyncio.subprocess.Process:
    path = os.pathsep.join([str(ROOT), str(ROOT / "protos/gen/python")])
    process = await asyncio.create_subprocess_exec(
        sys.executable, str(Path(__file__).with_name("relay_process.py")), str(folder),
        str(commits), stdout=asyncio.subprocess.PIPE, env={**os.environ, "PYTHONPATH": path},
    )  # fmt: skip
    assert process.stdout is not None
    assert await process.stdout.readline() == b"started\n"
    return process


async def _kill(process: asyncio.subprocess.Process) -> None:
    with contextlib.suppress(ProcessLookupError):
        process.send_signal(signal.SIGKILL)
    await process.wait()


async def test_kill_9_between_commit_publish_and_mark(tmp_path: Path) -> None:
    chance, delivered = random.Random(10), tmp_path / "delivered"
    for _ in range(KILLS):
        process = await _process(tmp_path, 10_000)
        await asyncio.sleep(0.2 + chance.random() * 0.8)
        await _kill(process)
    process = await _process(tmp_path, 0)
    try:
        last = await _settled(delivered)
    finally:
        await _kill(process)
    driver = await SqliteDriver.open(tmp_path / "store.sqlite")
    expected = set()
    for partition in range(8):
        page = await driver.query(Index.BASE, f"P#{partition}", lower="EVENT#", upper="EVENT$",
                                  limit=1_000_000)  # fmt: skip
        expected |= {item.key.sk.rpartition("#")[2] for item in page.items}
    await driver.close()
    assert {event_id for _, _, event_id in last} == expected
    highest: dict[str, int] = {}
    effects: set[str] = set()
    for pk, sequence, event_id in last:
        if event_id not in effects:
            assert int(sequence) == highest.get(pk, 0) + 1, "first deliveries are in order"
            highest[pk] = int(sequence)
            effects.add(event_id)
    assert len(effects) > 100


async def _settled(path: Path) -> list[list[str]]:
    """The lines, once nothing was added for two heartbeats."""
    size = -1
    while True:
        before, size = size, _size(path)
        if size == before:
            return _lines(path)
        await asyncio.sleep(2.5)


def _size(path: Path) -> int:
    return path.stat().st_size


def _lines(path: Path) -> list[list[str]]:
    return [line.split() for line in path.read_text().splitlines()]
