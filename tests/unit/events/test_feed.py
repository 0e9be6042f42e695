"""The feed: shared reads, wake-ups, heartbeats, nothing missed, CURSOR_LOST."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import replace
from typing import Any

import pytest

from services.events.feed import Batch, Feed
from services.events.outbox import BEGINNING, Position, follow_events
from services.model.errors import Reason, WorkspaceError
from services.model.stamp import Stamp
from services.records.port import Capabilities, ChangePage, Match, Put
from services.records.record import Activity
from services.records.store import RecordStore
from tests.unit.events.conftest import Commit

NEVER = 3600.0


class Counted:
    """A store whose reads of changes are counted, and can be held up."""

    def __init__(self, records: RecordStore) -> None:
        self._records = records
        self.reads = 0
        self.gate = asyncio.Event()
        self.gate.set()
        self.read = asyncio.Event()
        self.failing = 0

    def __getattr__(self, name: str) -> Any:
        return getattr(self._records, name)

    async def changes(self, cursor: str | None, limit: int = 1000) -> ChangePage:
        self.reads += 1
        if self.failing:
            self.failing -= 1
            raise WorkspaceError(Reason.ERROR_REASON_BACKEND_UNAVAILABLE, "no answer")
        page = await self._records.changes(cursor, limit)
        self.read.set()
        await self.gate.wait()
        return page


async def names(batches: AsyncGenerator[Batch, None], count: int) -> list[str]:
    """Partitions of the next `count` events."""
    found: list[str] = []
    async for batch in batches:
        found += [item.key.pk for item in batch.items if item.family == "activity_event"]
        if len(found) >= count:
            return found
    raise AssertionError("a feed never ends")


async def test_followers_at_one_place_share_one_read(records: RecordStore, commit: Commit) -> None:
    counted = Counted(records)
    feed = Feed(counted, now=time.time)  # type: ignore[arg-type]
    cursor = await feed.tail()
    for number in range(3):
        await commit(f"p_{number}")
    followers = [feed.follow(cursor) for _ in range(20)]
    seen = await asyncio.gather(*(names(each, 3) for each in followers))
    assert sorted(seen[0]) == ["PROJECT#p_0", "PROJECT#p_1", "PROJECT#p_2"]
    assert seen == [seen[0]] * 20
    assert counted.reads == 1
    late = feed.follow(cursor)
    assert await names(late, 3) == seen[0]
    assert counted.reads == 1, "a page with rows is right for ever"
    for each in (*followers, late):
        await each.aclose()


async def test_a_commit_wakes_a_follower_that_would_sleep(
    records: RecordStore, commit: Commit
) -> None:
    feed = Feed(records, now=time.time, poll=NEVER)
    async with aclosing(feed.follow(await feed.tail())) as batches:
        assert not (await anext(batches)).items
        waiting = asyncio.ensure_future(names(batches, 1))
        await asyncio.sleep(0)
        await commit("p_one")
        assert await waiting == ["PROJECT#p_one"]


async def test_a_quiet_feed_beats_and_finds_commits_of_others(records: RecordStore) -> None:
    other = RecordStore(records.driver, actor="n_one.i_two", clock=records._clock)
    feed = Feed(records, now=time.time, poll=0.01)
    async with aclosing(feed.follow(await feed.tail())) as batches:
        beats = [await anext(batches) for _ in range(3)]
        assert not any(beat.items for beat in beats)
        assert all(beat.cursor == beats[0].cursor for beat in beats)
        assert beats[0].started_at < beats[1].started_at < beats[2].started_at
        await other.commit("P#1", [], activity=Activity("a.b", "x"))
        assert await names(batches, 1) == ["P#1"]


async def test_commits_during_a_read_are_not_missed(records: RecordStore, commit: Commit) -> None:
    counted = Counted(records)
    feed = Feed(counted, now=time.time, poll=NEVER)  # type: ignore[arg-type]
    async with aclosing(feed.follow(await feed.tail())) as batches:
        counted.gate.clear()
        waiting = asyncio.ensure_future(names(batches, 1))
        await counted.read.wait()  # the store was read, its empty answer is on the way
        await commit("p_late")
        counted.gate.set()
        assert await waiting == ["PROJECT#p_late"]


async def test_a_follower_that_comes_after_a_commit_does_not_share_an_older_read(
    records: RecordStore, commit: Commit
) -> None:
    counted = Counted(records)
    feed = Feed(counted, now=time.time, poll=NEVER)  # type: ignore[arg-type]
    cursor = await feed.tail()
    counted.gate.clear()
    early = asyncio.ensure_future(anext(feed.follow(cursor)))
    await counted.read.wait()
    await commit("p_one")
    counted.read.clear()
    late = asyncio.ensure_future(anext(feed.follow(cursor)))
    await counted.read.wait()
    counted.gate.set()
    assert not (await early).items
    assert (await late).items


async def test_a_follower_that_leaves_does_not_take_the_read_from_the_others(
    records: RecordStore, commit: Commit
) -> None:
    counted = Counted(records)
    feed = Feed(counted, now=time.time, poll=NEVER)  # type: ignore[arg-type]
    cursor = await feed.tail()
    await commit("p_one")
    counted.gate.clear()
    leaving = asyncio.ensure_future(anext(feed.follow(cursor)))
    staying = asyncio.ensure_future(anext(feed.follow(cursor)))
    await counted.read.wait()
    leaving.cancel()
    with pytest.raises(asyncio.CancelledError):
        await leaving
    counted.gate.set()
    assert (await staying).items


async def test_a_store_that_fails_is_told_and_the_next_follower_reads_anew(
    records: RecordStore, commit: Commit
) -> None:
    counted = Counted(records)
    feed = Feed(counted, now=time.time)  # type: ignore[arg-type]
    cursor = await feed.tail()
    await commit("p_one")
    counted.failing = 1
    with pytest.raises(WorkspaceError) as caught:
        await anext(feed.follow(cursor))
    assert caught.value.reason == Reason.ERROR_REASON_BACKEND_UNAVAILABLE
    assert (await anext(feed.follow(cursor))).items


async def test_a_cursor_of_another_store_is_lost(feed: Feed) -> None:
    with pytest.raises(WorkspaceError) as caught:
        await anext(feed.follow('["another", 1, "", ""]'))
    assert caught.value.reason == Reason.ERROR_REASON_CURSOR_LOST


async def test_what_is_shared_is_bounded(
    records: RecordStore, commit: Commit, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("services.events.feed._SHARED_CHARS", 5_000)
    feed = Feed(records, now=time.time)
    cursors = []
    for number in range(12):
        cursors.append(await feed.tail())
        await commit(f"p_{number}", name="n" * 800)
    for cursor in cursors:
        assert (await anext(feed.follow(cursor))).items
    kept = sum(read.chars for read in feed._reads.values())
    assert kept <= 5_000


async def test_tail_is_never_ahead_of_a_commit_that_is_acknowledged_later(
    records: RecordStore, commit: Commit
) -> None:
    """Commits run while tails are taken: each is in the changes after a tail
    that was answered before it was acknowledged. Where a commit is seen before its
    acknowledgement arrives (PostgreSQL): that was answered before it began."""
    feed = Feed(records, now=time.time)
    at_begin = records.driver.capabilities.multi_process
    told: list[str] = []
    tails: list[tuple[str, int]] = []

    async def write(worker: int) -> None:
        for number in range(25):
            pk = f"PROJECT#p_{worker}_{number}"
            if at_begin:
                told.append(pk)
            await commit(f"p_{worker}_{number}")
            if not at_begin:
                told.append(pk)

    async def look(writers: asyncio.Future[Any]) -> None:
        while not writers.done():
            cursor = await feed.tail()
            for _ in range(20):  # an acknowledgement reaches its caller some turns later
                await asyncio.sleep(0)
            tails.append((cursor, len(told)))

    writers = asyncio.gather(*(write(worker) for worker in range(8)))
    await look(writers)
    for cursor, before in tails[:: max(1, len(tails) // 50)]:
        page = await records.changes(cursor, 10_000)
        behind = {item.key.pk for item in page.items}
        assert behind.issuperset(told[before:])


async def test_a_position_inside_of_a_page_resumes_behind_its_event(
    records: RecordStore, feed: Feed, commit: Commit
) -> None:
    start = Position(await feed.tail())
    for number in range(5):
        await commit(f"p_{number}")
    async with aclosing(follow_events(feed, start)) as batches:
        events = (await anext(batches)).events
    pks = [event.pk for event, _ in events]
    assert sorted(pks) == [f"PROJECT#p_{n}" for n in range(5)]
    for at, (_, place) in enumerate(events):
        again = Position.load(place.dump())
        async with aclosing(follow_events(Feed(records, now=time.time), again)) as batches:
            rest = (await anext(batches)).events
        assert [e.pk for e, _ in rest] == pks[at + 1 :]


class Parted(Counted):
    """A store whose feed is made of several, one for each partition: a page has the rows of
    one after those of another."""

    async def changes(self, cursor: str | None, limit: int = 1000) -> ChangePage:
        page = await super().changes(cursor, limit)
        return replace(page, items=sorted(page.items, key=lambda item: item.key.pk))


async def test_an_event_that_comes_before_a_position_inside_of_a_page_is_not_lost(
    records: RecordStore, commit: Commit
) -> None:
    start = Position(await records.tail())
    for number in range(3):
        await commit(f"p_{number}")
    feed = Feed(Parted(records), now=time.time)  # type: ignore[arg-type]
    async with aclosing(follow_events(feed, start)) as batches:
        events = (await anext(batches)).events
    for number in range(3):
        await commit(f"p_{number}", name="later")
    every = sorted((f"PROJECT#p_{n}", sequence) for n in range(3) for sequence in (1, 2))
    for at, (_, place) in enumerate(events):
        unread = Feed(Parted(records), now=time.time)  # type: ignore[arg-type]
        async with aclosing(follow_events(unread, place)) as batches:
            rest = (await anext(batches)).events
        had = [event for event, _ in (*events[: at + 1], *rest)]
        assert sorted({(e.pk, e.event.partition_sequence) for e in had}) == every


async def test_an_event_says_who_made_it_and_when(
    records: RecordStore, feed: Feed, commit: Commit
) -> None:
    await commit("p_one")
    async with aclosing(follow_events(feed, BEGINNING)) as batches:
        event = (await anext(batches)).events[0][0]
    assert event.actor == "n_one.i_one"
    assert event.event.event_id == event.event_id
    assert event.event.partition_sequence == 1
    assert event.item.key.sk == f"EVENT#{event.hlc}#{event.actor}#{event.event_id}"


async def test_an_event_that_was_erased_is_no_news_to_who_had_it(
    records: RecordStore, feed: Feed, commit: Commit
) -> None:
    """Erasing personal data writes the row anew; who had not come so far gets it."""
    start = Position(await feed.tail())
    await commit("p_one")
    async with aclosing(follow_events(feed, start)) as batches:
        event, place = (await anext(batches)).events[0]
        stamp = replace(Stamp.load(event.item.stamp), erased=True).dump()
        item = event.item
        await records.put_row(
            Put(item.key, Match(item.token), item.family, item.body, stamp, indexes=item.indexes)
        )
        await commit("p_two")
        again = (await anext(batches)).events
    assert [each.pk for each, _ in again] == ["PROJECT#p_two"]
    both = ["PROJECT#p_one", "PROJECT#p_two"]
    unread = Feed(records, now=time.time)  # shares no page of before the erasure
    for position, expected in ((start, both), (place, both[1:])):
        async with aclosing(follow_events(unread, position)) as batches:
            assert [each.pk for each, _ in (await anext(batches)).events] == expected


class Lagging(Counted):
    """A store whose indexes follow some time later."""

    @property
    def capabilities(self) -> Capabilities:
        return replace(self._records.capabilities, consistent_index_reads=False)


async def test_who_decides_by_an_index_that_lags_waits_for_a_read_that_began_later(
    records: RecordStore,
) -> None:
    lagging = Lagging(records)
    feed = Feed(lagging, now=time.time, poll=NEVER)  # type: ignore[arg-type]

    async def follow() -> None:
        async for _ in feed.follow(await feed.tail()):
            pass

    follower = asyncio.create_task(follow())
    await lagging.read.wait()
    lagging.gate.clear()
    lagging.read.clear()
    waiting = asyncio.create_task(feed.indexes_settled())
    await lagging.read.wait()  # the follower, which would have slept
    assert not waiting.done()
    reads = lagging.reads
    lagging.gate.set()
    await waiting
    assert reads >= 2
    follower.cancel()
    await asyncio.gather(follower, return_exceptions=True)


async def test_a_process_in_which_nothing_follows_may_keep_up_by_itself(
    records: RecordStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Or it would wait in vain, and decide by what the index had."""
    monkeypatch.setattr("services.events.feed._SETTLE_SECONDS", NEVER)
    lagging = Lagging(records)
    lagging.failing = 1
    feed = Feed(lagging, now=time.time, poll=0.01)  # type: ignore[arg-type]
    keeping = asyncio.create_task(feed.keep_up())
    async with asyncio.timeout(20):
        await feed.indexes_settled()
    assert not keeping.done(), "a failure does not end it"
    keeping.cancel()
    await asyncio.gather(keeping, return_exceptions=True)


async def test_nothing_is_read_to_keep_up_where_indexes_do_not_lag(records: RecordStore) -> None:
    counted = Counted(records)
    await Feed(counted, now=time.time).keep_up()  # type: ignore[arg-type]
    assert counted.reads == 0


async def test_indexes_that_do_not_lag_are_not_waited_for(records: RecordStore) -> None:
    counted = Counted(records)
    await Feed(counted, now=time.time).indexes_settled()  # type: ignore[arg-type]
    assert counted.reads == 0


async def test_without_a_follower_the_wait_for_indexes_ends(
    records: RecordStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("services.events.feed._SETTLE_SECONDS", 0.01)
    await Feed(Lagging(records), now=time.time).indexes_settled()  # type: ignore[arg-type]
