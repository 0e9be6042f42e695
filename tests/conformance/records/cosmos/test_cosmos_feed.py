"""The change feed of Cosmos DB: nothing is missed, through splits and faults."""

from __future__ import annotations

import json

import pytest

from services.records.cosmos import CosmosDriver, feed
from services.records.cosmos.schema import container_definition
from services.records.port import CursorLost, Match
from tests.conformance.records.cosmos_stores import CONTAINER, DATABASE, CosmosStore, FakeContainer
from tests.conformance.records.harness import Clock, Environment, drain, everything, follow, put
from tests.fakes.cosmos.client import CosmosControl


async def written(driver: CosmosDriver, numbers: range) -> set[str]:
    """One row in a partition of its own each; their partition keys."""
    for n in numbers:
        await driver.commit(f"P#{n}", [put("a", pk=f"P#{n}")])
    return {f"P#{n}" for n in numbers}


async def test_a_poll_without_news_is_one_request_for_each_partition(
    driver: CosmosDriver, fake: CosmosControl
) -> None:
    await written(driver, range(10))
    _, cursor = await follow(driver, None)
    fake.reset()
    page = await driver.changes(cursor, 100)
    assert (page.items, page.complete) == ([], True)
    assert fake.counts() == {"read": 1, "feed": 2}  # whose store it is, and the news


@pytest.mark.parametrize("limit", [1, 2, 100])
async def test_a_walk_through_the_feed_goes_on_through_splits(
    driver: CosmosDriver, fake: CosmosControl, limit: int
) -> None:
    wanted = await written(driver, range(20))
    seen, cursor = list[str](), None
    for turn in range(200):
        page = await driver.changes(cursor, limit)
        cursor = page.cursor
        seen += [item.key.pk for item in page.items]
        if not page.items:
            break
        if turn in (0, 3, 5):
            fake.split(DATABASE, CONTAINER)
    assert set(seen) == wanted
    assert page.complete
    later = await written(driver, range(20, 30))
    assert {item.key.pk for item in await drain(driver, cursor, limit)} == later


async def test_an_old_cursor_goes_on_after_several_splits(
    driver: CosmosDriver, fake: CosmosControl
) -> None:
    await written(driver, range(10))
    _, cursor = await follow(driver, None)
    tail = await driver.tail()
    for _ in range(3):
        fake.split(DATABASE, CONTAINER)
    later = await written(driver, range(10, 30))
    for start in (cursor, tail):
        assert {item.key.pk for item in await drain(driver, start, 3)} == later


async def test_commits_of_one_partition_stay_in_order_through_a_split(
    driver: CosmosDriver, fake: CosmosControl
) -> None:
    start = await driver.tail()
    for n in range(30):
        await driver.commit("P#1", [put(f"{n:02}")])
        if n in (10, 20):
            fake.split(DATABASE, CONTAINER)
    found = [item.key.sk for item in await drain(driver, start, 7)]
    assert found == [f"{n:02}" for n in range(30)]


async def test_every_partition_has_its_turn(driver: CosmosDriver) -> None:
    """Also while one of them has news with every page."""
    await written(driver, range(20))
    cursor, seen = None, set[str]()
    [token] = await driver.commit("P#loud", [put("a", pk="P#loud")])
    for _ in range(100):
        page = await driver.changes(cursor, 1)
        cursor = page.cursor
        seen |= {item.key.pk for item in page.items}
        for _ in range(2):
            again = put("a", pk="P#loud", condition=Match(token))
            [token] = await driver.commit("P#loud", [again])
        if len(seen) == 21:
            break
    assert len(seen) == 21


async def test_a_commit_comes_as_a_whole(driver: CosmosDriver) -> None:
    await driver.commit("P#1", [put(f"{n:02}") for n in range(98)])
    page = await driver.changes(None, 10)
    assert [item.key.sk for item in page.items] == [f"{n:02}" for n in range(98)]
    assert (await driver.changes(page.cursor, 10)).complete


@pytest.mark.parametrize(
    "fault", ["THROTTLED", "UNAVAILABLE", "BROKEN", "CUT", "CUT_AFTER", "GONE", "TIMEOUT_AFTER"]
)
async def test_reading_changes_is_repeated(
    driver: CosmosDriver, fake: CosmosControl, fault: str
) -> None:
    wanted = await written(driver, range(6))
    fake.plan([{"fault": fault, "operation": "feed", "at": at} for at in (1, 3, 5)])
    assert {item.key.pk for item in await drain(driver, None, 2)} == wanted
    fake.fail(fault, "feed")
    assert await drain(driver, await driver.tail()) == []


async def test_a_page_without_rows_is_not_the_end(
    driver: CosmosDriver, fake: CosmosControl
) -> None:
    """Only a position that stays is: the service answers 200 with nothing, too."""
    wanted = await written(driver, range(6))
    fake.fail("EMPTY_PAGE", "feed", times=2)
    page = await driver.changes(None, 100)
    assert {item.key.pk for item in page.items} == wanted
    assert page.complete


async def test_a_long_stretch_that_nobody_sees_any_more_is_left_in_steps(
    driver: CosmosDriver, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Expired rows: a read ends before its time is over, further on."""
    monkeypatch.setattr(feed, "_ENOUGH_SECONDS", 0.0)
    for n in range(5):
        await driver.commit("P#1", [put(f"{n}", expires_at=int(clock.now) + 5)])
    await driver.commit("P#1", [put("seen")])
    clock.now += 10
    cursor, seen, complete = None, list[str](), False
    for _ in range(20):
        page = await driver.changes(cursor, 1)
        seen += [item.key.sk for item in page.items]
        cursor, complete = page.cursor, page.complete
        if complete:
            break
    assert seen == ["seen"]
    assert complete


async def test_the_row_of_the_driver_is_in_no_feed(driver: CosmosDriver) -> None:
    assert (await driver.changes(None, 10)).items == []
    assert await everything(driver) == []


async def test_a_container_made_again_is_another_store(
    driver: CosmosDriver, place: FakeContainer, store: CosmosStore
) -> None:
    await written(driver, range(3))
    _, cursor = await follow(driver, None)
    before = await driver.identity()
    place.fake.delete_container(DATABASE, CONTAINER)
    place.fake.make_container(DATABASE, container_definition(CONTAINER), partitions=2)
    other = await store.open()
    assert await other.identity() != before
    with pytest.raises(CursorLost):
        await other.changes(cursor, 10)


@pytest.mark.parametrize(("partitions", "most"), [(1, 180), (4, 360), (20, 1300)])
async def test_cursors_are_small(
    environment: Environment, azure_environment: None, partitions: int, most: int
) -> None:
    place = FakeContainer(partitions=partitions)
    driver = await CosmosStore(environment, lambda: place).open()
    await written(driver, range(5))
    items, cursor = await follow(driver, None)
    assert len(items) == 5
    assert len(cursor) < most
    assert len(json.loads(cursor)[3]) == 2 * partitions


@pytest.mark.parametrize(
    "change",
    [
        lambda parts: parts[3].pop(),
        lambda parts: parts[3].clear(),
        lambda parts: parts.__setitem__(2, 9),
        lambda parts: parts.__setitem__(2, "0"),
        lambda parts: parts[3].reverse(),
        lambda parts: parts[3].__setitem__(1, 5),
        lambda parts: parts[3].__setitem__(-1, "AA"),
        lambda parts: parts.append(1),
    ],
)
async def test_a_cursor_that_was_tampered_with_is_lost(
    driver: CosmosDriver, change: object
) -> None:
    await written(driver, range(2))
    _, cursor = await follow(driver, None)
    parts = json.loads(cursor)
    change(parts)  # type: ignore[operator]
    with pytest.raises(CursorLost):
        await driver.changes(json.dumps(parts), 10)
