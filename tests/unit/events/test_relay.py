"""The relay: at least once, in order, parked when poisoned, one process at a time."""

from __future__ import annotations

import asyncio
import json
import time
from collections import defaultdict
from collections.abc import Sequence
from contextlib import asynccontextmanager
from typing import Any

from prometheus_client import CollectorRegistry

from services.events.feed import Feed
from services.events.outbox import OutboxEvent
from services.events.relay import NotNow, Relay, RelayMetrics
from services.records.port import Key, Match, Put
from services.records.store import RecordStore
from tests.unit.events.conftest import Commit
from tests.unit.events.test_lease import Shared


class Sink:
    """A consumer that keeps what it took. `refuse` says what it raises."""

    name = "sink"

    def __init__(self) -> None:
        self.taken: list[OutboxEvent] = []
        self.refusals: dict[str, Exception] = {}
        self.tries: defaultdict[str, int] = defaultdict(int)
        self.outages = 0
        self.changed = asyncio.Event()
        self.inside = 0

    async def deliver(self, events: Sequence[OutboxEvent]) -> None:
        self.inside += 1
        assert self.inside == 1, "never called twice at once"
        try:
            await asyncio.sleep(0)
            self.tries[events[0].pk] += 1
            if self.outages:
                self.outages -= 1
                raise NotNow
            for event in events:
                if event.pk in self.refusals:
                    raise self.refusals[event.pk]
            self.taken += events
        finally:
            self.inside -= 1
            self.changed.set()

    async def until(self, count: int) -> list[str]:
        """The partitions of what was taken, once there are `count`."""
        while len(self.taken) < count:
            self.changed.clear()
            await self.changed.wait()
        return [event.pk for event in self.taken]


def relay(records: Any, feed: Feed, sink: Sink, registry: CollectorRegistry | None = None) -> Relay:
    return Relay(
        sink, records=records, feed=feed, metrics=RelayMetrics(registry or CollectorRegistry()),
        now=time.time, lease_seconds=0.5, first_pause=0.001, linger=0.001,
    )  # fmt: skip


@asynccontextmanager
async def running(*relays: Relay) -> Any:
    tasks = [asyncio.ensure_future(each.run()) for each in relays]
    try:
        yield tasks
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def cursor_of(records: RecordStore) -> dict[str, Any]:
    item = await records.get_row(Key("RELAY#sink", "CURSOR"))
    assert item is not None
    return dict(json.loads(item.body))


async def test_events_from_the_registration_on_in_order(
    records: RecordStore, feed: Feed, commit: Commit
) -> None:
    await commit("p_before")
    sink = Sink()
    one = relay(records, feed, sink)
    await one.register()
    for number in range(30):
        await commit(f"p_{number % 3}", name=str(number))
    async with running(one):
        await sink.until(30)
    for pk in {event.pk for event in sink.taken}:
        numbers = [e.event.partition_sequence for e in sink.taken if e.pk == pk]
        assert numbers == list(range(1, 11))


async def test_a_restart_goes_on_and_a_graceful_one_repeats_nothing(
    records: RecordStore, feed: Feed, commit: Commit
) -> None:
    sink = Sink()
    await relay(records, feed, sink).register()
    for round_ in range(3):
        async with running(relay(records, feed, sink)):
            await commit(f"p_{round_}")
            await sink.until(round_ + 1)
        await commit(f"p_{round_}", name="while nobody looked")
        sink.taken = sink.taken[: round_ + 1]
        async with running(relay(records, feed, sink)):
            await sink.until(round_ + 2)
        sink.taken = sink.taken[: round_ + 1]
    assert [e.pk for e in sink.taken] == ["PROJECT#p_0", "PROJECT#p_1", "PROJECT#p_2"]


async def test_the_cursor_moves_only_after_delivery(
    records: RecordStore, feed: Feed, commit: Commit
) -> None:
    sink = Sink()
    sink.outages = 10**9
    one = relay(records, feed, sink)
    await one.register()
    before = await cursor_of(records)
    await commit("p_one")
    async with running(one):
        await sink.changed.wait()
    assert await cursor_of(records) == before
    sink.outages = 0
    async with running(relay(records, feed, sink)):
        assert await sink.until(1) == ["PROJECT#p_one"]
    assert await cursor_of(records) != before


async def test_an_outage_of_the_outside_parks_nothing(
    records: RecordStore, feed: Feed, commit: Commit
) -> None:
    sink = Sink()
    sink.outages = 40
    one = relay(records, feed, sink)
    one._pause = lambda _: 0.0  # type: ignore[method-assign]
    await one.register()
    await commit("p_one")
    async with running(one):
        assert await sink.until(1) == ["PROJECT#p_one"]
    assert await one.parked() == []


async def test_a_poison_event_is_parked_and_blocks_nobody_for_ever(
    records: RecordStore, feed: Feed, commit: Commit
) -> None:
    sink, registry = Sink(), CollectorRegistry()
    sink.refusals["PROJECT#p_bad"] = ValueError("a secret")
    one = relay(records, feed, sink, registry)
    await one.register()
    cursor_moved = asyncio.Event()
    records.on_commit(
        lambda pk, keys: cursor_moved.set() if keys[0].sk.startswith("PARKED#") else None
    )
    for name in ("p_good", "p_bad", "p_other", "p_good"):
        await commit(name, name=name)
    async with running(one):
        await sink.until(3)
        await cursor_moved.wait()
        parked = await one.parked()
        del sink.refusals["PROJECT#p_bad"]
        await commit("p_bad", name="better")
        await sink.until(4)
    assert [e.pk for e in sink.taken if e.pk == "PROJECT#p_good"] == ["PROJECT#p_good"] * 2
    assert [(p.pk, p.error) for p in parked] == [("PROJECT#p_bad", "ValueError")]
    value = registry.get_sample_value
    assert value("workspace_relay_parked_total", {"consumer": "sink"}) == 1
    assert value("workspace_relay_delivered_total", {"consumer": "sink"}) == 4
    assert sink.tries["PROJECT#p_bad"] == 8 + 1


async def test_events_of_other_instances_are_left_to_them(
    records: RecordStore, feed: Feed, commit: Commit
) -> None:
    sink = Sink()
    one = relay(records, feed, sink)
    await one.register()
    foreign = RecordStore(records.driver, actor="n_far.i_one", clock=records._clock)
    reborn = RecordStore(records.driver, actor="n_one.i_restored", clock=records._clock)
    await commit("p_far", of=foreign)
    await commit("p_reborn", of=reborn)
    await commit("p_own")
    async with running(one):
        assert sorted(await sink.until(2)) == ["PROJECT#p_own", "PROJECT#p_reborn"]


async def test_only_the_holder_publishes_and_another_takes_over(
    records: RecordStore, feed: Feed, commit: Commit
) -> None:
    shared, sink = Shared(records), Sink()
    first, second = relay(shared, feed, sink), relay(shared, feed, sink)
    await first.register()
    async with running(first, second) as tasks:
        for number in range(5):
            await commit(f"p_{number}")
        await sink.until(5)
        tasks[0].cancel()
        await asyncio.gather(tasks[0], return_exceptions=True)
        await commit("p_late")
        assert (await sink.until(6))[-1] == "PROJECT#p_late"
    assert len(sink.taken) == 6


async def test_a_holder_whose_cursor_was_moved_stops_and_begins_again(
    records: RecordStore, feed: Feed, commit: Commit
) -> None:
    """A late write of a former holder must fail, and so must ours."""
    sink = Sink()
    one = relay(records, feed, sink)
    await one.register()
    async with running(one):
        await commit("p_one")
        await sink.until(1)
        item = await records.get_row(Key("RELAY#sink", "CURSOR"))
        assert item is not None
        await records.put_row(Put(item.key, Match(item.token), "relay", item.body))
        await commit("p_two")
        taken = await sink.until(2)
        assert "PROJECT#p_two" in taken


async def test_a_lost_cursor_reads_again_and_passes_over_what_is_old(
    records: RecordStore, feed: Feed, commit: Commit
) -> None:
    sink = Sink()
    one = relay(records, feed, sink)
    await one.register()
    await commit("p_one")
    item = await records.get_row(Key("RELAY#sink", "CURSOR"))
    assert item is not None
    late = f"{int((time.time() + 3600) * 1000):013d}.00000"
    for hlc, expected in ((late, 0), (json.loads(item.body)["hlc"], 1)):
        body = json.dumps({"cursor": '["another store", 7, "", ""]', "hlc": hlc})
        now = await records.get_row(item.key)
        assert now is not None
        await records.put_row(Put(item.key, Match(now.token), "relay", body))
        again = Sink()
        async with running(relay(records, feed, again)):
            await again.until(expected)
            if not expected:
                await asyncio.sleep(0.05)
        assert len(again.taken) == expected


async def test_an_idle_relay_writes_no_cursor_again_and_again(
    records: RecordStore, feed: Feed, commit: Commit
) -> None:
    """Its own rows are changes too: it must not wake itself up for ever."""
    sink, writes = Sink(), []
    one = relay(records, feed, sink)
    await one.register()
    records.on_commit(lambda pk, keys: writes.extend(k for k in keys if k.sk == "CURSOR"))
    async with running(one):
        await commit("p_one")
        await sink.until(1)
        for _ in range(30):
            await asyncio.sleep(0.005)
    assert len(writes) <= 1
