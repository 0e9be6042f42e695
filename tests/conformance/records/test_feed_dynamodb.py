"""The change feed of DynamoDB with several drivers on one table, each as a process."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest

from services.records.port import ConditionFailed, Item, Key, Match, RecordDriver
from tests.conformance.records.harness import (
    DRIVERS,
    Clock,
    Environment,
    Store,
    drain,
    follow,
    put,
)

_HOUR = 3600.0


@pytest.fixture
def shared(environment: Environment) -> Store:
    case = DRIVERS["dynamodb-local"]
    if case.missing:
        pytest.skip(f"capability: {case.missing}")
    return case.store(environment)


async def test_what_one_process_builds_on_another_s_commit_comes_after_it(shared: Store) -> None:
    one, two = await shared.open(), await shared.open()
    start = await one.tail()
    token = (await one.commit("P#1", [put("#HEAD"), put("0")]))[0]
    for number in range(1, 12):
        writer = (one, two)[number % 2]
        head = put("#HEAD", condition=Match(token))
        token = (await writer.commit("P#1", [head, put(f"{number}")]))[0]
    for limit in (1, 3, 100):
        seen = [item.key.sk for item in await drain(two, start, limit)]
        assert seen[-1] == "11"
        assert [sk for sk in seen if sk != "#HEAD"] == [f"{number}" for number in range(12)]


async def test_processes_that_write_side_by_side_miss_nothing(shared: Store) -> None:
    drivers = [await shared.open() for _ in range(3)]
    start = await drivers[0].tail()

    async def write(driver: RecordDriver, name: int) -> None:
        for number in range(4):
            await driver.commit(f"P#{number % 2}", [put(f"{name}.{number}", pk=f"P#{number % 2}")])

    await asyncio.gather(*(write(driver, name) for name, driver in enumerate(drivers)))
    for driver in drivers:
        assert len({item.key for item in await drain(driver, start, 5)}) == 12


async def test_a_lane_is_used_again(shared: Store) -> None:
    """Restarts do not make the cursor longer."""
    cursors = []
    for number in range(4):
        driver = await shared.open()
        await driver.commit("P#1", [put(f"{number}")])
        cursors.append(await driver.tail())
        await driver.close()
    assert {len(json.loads(cursor)[2]) for cursor in cursors} == {1}
    last = await shared.open()
    assert [item.key.sk for item in await drain(last, cursors[0])] == ["1", "2", "3"]


async def test_a_living_process_whose_lane_was_ended_goes_on_in_another(
    shared: Store, clock: Clock
) -> None:
    quiet, other = await shared.open(), await shared.open()
    await quiet.commit("P#1", [put("a")])
    start = await other.tail()
    clock.now += 2 * _HOUR
    await other.commit("P#1", [put("b")])
    await quiet.commit("P#1", [put("c")])
    assert sorted(item.key.sk for item in await drain(other, start)) == ["b", "c"]


async def test_a_slot_that_stays_empty_is_filled_by_a_reader(shared: Store) -> None:
    """A process has died between taking a slot and its transaction."""
    dying, other = await shared.open(), await shared.open()
    await dying.commit("P#1", [put("a")])
    start = await other.tail()
    lanes: Any = dying._lanes  # type: ignore[attr-defined]
    await lanes.reserve()
    await dying.commit("P#1", [put("b")])
    seen: list[Item] = []
    while not seen:
        found, start = await follow(other, start)
        seen += found
    assert [item.key.sk for item in seen] == ["b"]
    assert (await other.changes(start, 10)).complete


async def test_commits_that_fail_leave_no_gap(shared: Store) -> None:
    driver = await shared.open()
    start = await driver.tail()
    await driver.commit("P#1", [put("a")])
    with pytest.raises(ConditionFailed):
        await driver.commit("P#1", [put("a")])
    await driver.commit("P#1", [put("b")])
    page = await driver.changes(start, 10)
    assert [item.key for item in page.items] == [Key("P#1", "a"), Key("P#1", "b")]
    assert page.complete


async def test_an_idle_feed_keeps_its_cursor(shared: Store, clock: Clock) -> None:
    driver = await shared.open()
    await driver.commit("P#1", [put("a")])
    _, cursor = await follow(driver, None)
    clock.now += 60
    assert (await driver.changes(cursor, 10)).cursor == cursor
