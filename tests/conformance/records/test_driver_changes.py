"""The change feed: complete, resumable, and of one store only."""

from __future__ import annotations

import asyncio
import json

import pytest

from services.records.port import CursorLost, Item, Key, Match, RecordDriver
from tests.conformance.records.harness import (
    Clock,
    CollectingDriver,
    DriverCase,
    Environment,
    Store,
    after,
    drain,
    everything,
    follow,
    put,
)


async def test_an_empty_store_has_an_empty_feed_with_a_cursor(driver: RecordDriver) -> None:
    page = await driver.changes(None, 10)
    assert list(page.items) == []
    await driver.commit("P#1", [put("a")])
    assert [item.key.sk for item in await drain(driver, page.cursor)] == ["a"]


@pytest.mark.parametrize("limit", [1, 3, 1000])
async def test_every_changed_key_comes_with_its_current_state(
    driver: RecordDriver, limit: int
) -> None:
    await driver.commit("P#1", [put(f"{n}", "old") for n in range(5)])
    _, cursor = await follow(driver, None, limit)
    first, second = await driver.batch_get([Key("P#1", "1"), Key("P#1", "3")])
    assert first is not None
    assert second is not None
    await driver.commit("P#1", [after(first, "new")])
    await driver.commit("P#1", [put("3", condition=Match(second.token), deleted=True)])
    changed, cursor = await follow(driver, cursor, limit)
    state = [(item.key.sk, item.body, item.deleted) for item in changed]
    assert state == [("1", "new", False), ("3", "{}", True)]
    assert (await driver.changes(cursor, limit)).items == []


async def test_the_feed_is_ordered_in_a_partition_as_declared(driver: RecordDriver) -> None:
    """From a cursor on; the beginning may be a walk over what is there."""
    start = await driver.tail()
    names = [f"{n * 7919 % 100:02}" for n in range(30)]
    for name in names:
        await driver.commit("P#1", [put(name)])
    assert sorted(item.key.sk for item in await drain(driver, limit=7)) == sorted(names)
    feed = [item.key.sk for item in await drain(driver, start, limit=7)]
    assert sorted(feed) == sorted(names)
    assert feed == names or not driver.capabilities.ordered_change_feed


async def test_a_page_says_whether_anything_older_is_still_to_come(driver: RecordDriver) -> None:
    assert (await driver.changes(None, 2)).complete
    await driver.commit("P#1", [put(f"{n}") for n in range(3)])
    first = await driver.changes(None, 2)
    assert not first.complete
    assert (await driver.changes(first.cursor, 2)).complete


async def test_the_tail_is_followed_by_every_later_commit(driver: RecordDriver) -> None:
    await driver.commit("P#1", [put(f"old{n}") for n in range(20)])
    await driver.commit("P#1", [put("last")])
    tail = await driver.tail()
    await driver.commit("P#0", [put("a", pk="P#0")])
    await driver.commit("P#1", [put("b")])
    seen = [item.key.sk for item in await drain(driver, tail)]
    assert sorted(seen[-2:]) == ["a", "b"]  # of two partitions: in no order together
    assert not any(sk.startswith("old") for sk in seen)


async def test_the_tail_of_an_empty_store_is_its_beginning(driver: RecordDriver) -> None:
    tail = await driver.tail()
    await driver.commit("P#1", [put("a")])
    assert [item.key.sk for item in await drain(driver, tail)] == ["a"]


async def test_a_cursor_survives_a_restart(store: Store) -> None:
    first = await store.open()
    await first.commit("P#1", [put("a")])
    _, cursor = await follow(first, None)
    await first.commit("P#1", [put("b")])
    await first.close()
    second = await store.open()
    assert [item.key.sk for item in await drain(second, cursor)] == ["b"]


async def test_a_reader_alongside_writers_misses_nothing(driver: RecordDriver) -> None:
    """What was read last of each key is what the store holds in the end."""
    writing = True
    seen: dict[Key, Item] = {}

    async def write(number: int) -> None:
        pk = f"P#{number % 4}"
        tokens = await driver.commit(pk, [put(f"{number}#{n}", pk=pk) for n in range(3)])
        for _ in range(8):
            changed = put(f"{number}#0", pk=pk, condition=Match(tokens[0]))
            tokens = await driver.commit(pk, [changed])

    async def read() -> None:
        cursor: str | None = None
        while True:
            last = not writing
            page = await driver.changes(cursor, 5)
            cursor = page.cursor
            seen.update({item.key: item for item in page.items})
            if last and not page.items:
                return

    reader = asyncio.create_task(read())
    await asyncio.gather(*(write(number) for number in range(16)))
    writing = False
    await reader
    assert seen == {item.key: item for item in await everything(driver)}


async def test_removed_rows_do_not_hide_later_changes(
    store: Store, clock: Clock
) -> None:
    """The newest row is collected; its position must not be given out again."""
    first = await store.open()
    await first.commit("P#1", [put("a"), put("b", expires_at=1_000_001)])
    _, cursor = await follow(first, None)
    clock.now += 1
    assert await first.collect_expired(10) == 1
    await first.close()
    second: CollectingDriver = await store.open()
    await second.commit("P#1", [put("c")])
    assert [item.key.sk for item in await drain(second, cursor)] == ["c"]


async def test_a_cursor_of_another_store_is_lost(
    case: DriverCase, environment: Environment
) -> None:
    one = await case.store(environment).open()
    two = await case.store(environment).open()
    await one.commit("P#1", [put("a")])
    _, cursor = await follow(one, None)
    with pytest.raises(CursorLost):
        await two.changes(cursor, 10)


@pytest.mark.parametrize("cursor", ["", "x", "[]", "{}", "null", '["a"]', '["a",1,"b","c"]'])
async def test_a_malformed_cursor_is_lost(driver: RecordDriver, cursor: str) -> None:
    with pytest.raises(CursorLost):
        await driver.changes(cursor, 10)


async def test_a_cursor_of_the_future_is_lost(driver: RecordDriver) -> None:
    await driver.commit("P#1", [put("a")])
    _, cursor = await follow(driver, None)
    parts = json.loads(cursor)
    parts[1] += 10**9
    with pytest.raises(CursorLost):
        await driver.changes(json.dumps(parts), 10)
