"""Followers: what changed is looked at, what fails is due work, nothing is forgotten."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from contextlib import asynccontextmanager, suppress
from typing import Any, cast

from services.events.due import DueWork
from services.events.feed import Feed
from services.events.following import Follower, came_from_elsewhere
from services.kernel import Kernel
from services.model.clocks import HybridClock
from services.model.families import FAMILIES
from services.records.port import Item, Key, Match, Put
from services.records.store import RecordStore
from tests.unit.events.conftest import Commit

KIND = "test.project"
CURSOR = Key("FOLLOW#test", "CURSOR")
SECONDS = 20.0


class _Kernel:
    def __init__(self, records: RecordStore, feed: Feed) -> None:
        self.records, self.feed, self.now = records, feed, time.time
        self.due = DueWork(records, now=time.time)


class Looker:
    """A follower of projects, and what it was asked to look at."""

    def __init__(self, records: RecordStore, feed: Feed) -> None:
        self.kernel = _Kernel(records, feed)
        self.seen: list[str] = []
        self.failing: set[str] = set()
        self.again: float | None = None
        self.follower = Follower(
            cast("Kernel", self.kernel), name="test", subjects=self._subjects,
            handlers={KIND: self.look},
        )

    def _subjects(self, items: Sequence[Item]) -> Iterable[tuple[str, str]]:
        return [
            (KIND, item.key.pk.removeprefix("PROJECT#"))
            for item in items if item.family == "project"
        ]  # fmt: skip

    async def look(self, subject: str) -> float | None:
        if subject in self.failing:
            self.failing.discard(subject)
            raise RuntimeError("not now")
        self.seen.append(subject)
        return self.again

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        task = asyncio.ensure_future(self.follower.run())
        try:
            yield
        finally:
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task


async def until(check: Callable[[], Any]) -> None:
    async with asyncio.timeout(SECONDS):
        while not check():  # noqa: ASYNC110 - what a background task does
            await asyncio.sleep(0.01)


async def due_subjects(records: RecordStore) -> list[str]:
    items = await records.scan(None, 500)
    return [json.loads(i.body)["subject"] for i in items if i.family == "due" and "kind" in i.body]


async def test_what_was_there_before_and_what_comes_is_looked_at(
    records: RecordStore, feed: Feed, commit: Commit
) -> None:
    looker = Looker(records, feed)
    await commit("p_1")
    async with looker.running():
        await until(lambda: looker.seen == ["p_1"])
        await commit("p_2")
        await until(lambda: looker.seen == ["p_1", "p_2"])


async def test_what_fails_becomes_due_work_and_holds_nothing_up(
    records: RecordStore, feed: Feed, commit: Commit
) -> None:
    looker = Looker(records, feed)
    looker.failing.add("p_1")
    await commit("p_1")
    await commit("p_2")
    async with looker.running():
        await until(lambda: looker.seen == ["p_2"])
        await until(lambda: not looker.failing)
        await commit("p_3")
        await until(lambda: looker.seen == ["p_2", "p_3"])
    assert await due_subjects(records) == ["p_1"]


async def test_what_is_to_be_looked_at_again_becomes_due_work(
    records: RecordStore, feed: Feed, commit: Commit
) -> None:
    looker = Looker(records, feed)
    looker.again = time.time() + 60
    await commit("p_1")
    async with looker.running():
        await until(lambda: looker.seen)
        await commit("p_2")
        await until(lambda: len(looker.seen) > 1)
    assert "p_1" in await due_subjects(records)


async def test_after_a_crash_it_goes_on_from_its_cursor_and_repeats_what_it_did_not_note(
    records: RecordStore, feed: Feed, commit: Commit
) -> None:
    first = Looker(records, feed)
    await commit("p_1")
    async with first.running():
        await until(lambda: first.seen == ["p_1"])
        async with asyncio.timeout(SECONDS):
            while await records.get_row(CURSOR) is None:  # noqa: ASYNC110
                await asyncio.sleep(0.01)
    await commit("p_2")
    second = Looker(records, feed)
    async with second.running():
        await until(lambda: second.seen == ["p_2"])


async def test_a_lost_cursor_begins_again(
    records: RecordStore, feed: Feed, commit: Commit
) -> None:
    await commit("p_1")
    body = json.dumps({"cursor": "of another store"})
    looker = Looker(records, feed)
    async with looker.running():
        await until(lambda: looker.seen == ["p_1"])
        async with asyncio.timeout(SECONDS):
            while (row := await records.get_row(CURSOR)) is None:  # noqa: ASYNC110
                await asyncio.sleep(0.01)
    await records.put_row(Put(CURSOR, Match(row.token), "follower", body))
    again = Looker(records, feed)
    async with again.running():
        await until(lambda: again.seen == ["p_1"])


async def test_only_what_others_had_a_part_in_came_from_elsewhere(
    records: RecordStore, commit: Commit
) -> None:
    other = RecordStore(
        records.driver, actor="n_two.i_two", clock=HybridClock(lambda: int(time.time() * 1000))
    )
    family, key = FAMILIES["project"], Key("PROJECT#p_1", "PROJECT#p_1")

    async def row() -> Item:
        found = await records.get(family, key)
        assert found is not None
        return found.item

    await commit("p_1")
    assert not came_from_elsewhere(await row(), records.actor)
    assert came_from_elsewhere(await row(), other.actor)
    await commit("p_1", "theirs", of=other)
    assert came_from_elsewhere(await row(), records.actor)
    # What we write over it does not hide it: the feed may show the last write alone.
    await commit("p_1", "ours")
    assert came_from_elsewhere(await row(), records.actor)
    head = await records.get_row(Key("PROJECT#p_1", "#HEAD"))
    assert head is not None
    assert not came_from_elsewhere(head, records.actor)
