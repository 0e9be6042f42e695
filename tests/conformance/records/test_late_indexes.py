"""Indexes of DynamoDB that show nothing of what was written lately: a process sees its own
writes in them all the same, and those of others once the change feed delivered them."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator

import pytest

from services.aws.clients import AwsClients
from services.aws.place import AwsPlace
from services.records.dynamodb import DynamoDriver
from services.records.dynamodb.ranges import key_range
from services.records.dynamodb.recent import RecentEntries
from services.records.port import ABSENT, Index, Key, Match, Put
from tests.conformance.records.dynamo_stores import DynamoStore, moto_clients
from tests.conformance.records.harness import Environment
from tests.servers import aws
from tests.servers.late_indexes import LateIndexes

_EVERYTHING = 1 << 30
_OF = "USER#ann"


@pytest.fixture
def late(aws_environment: None) -> Iterator[LateIndexes]:
    with LateIndexes(aws.moto().url.removesuffix("/moto-api/"), newest=_EVERYTHING) as proxy:
        yield proxy


@pytest.fixture
async def store(environment: Environment) -> DynamoStore:
    made = DynamoStore(environment, moto_clients)
    await made.make()
    return made


async def _opened(store: DynamoStore, late: LateIndexes) -> DynamoDriver:
    place = AwsPlace(aws.REGION, endpoint=late.url)
    return await DynamoDriver.open(AwsClients(place, workers=1), store.table)


@pytest.fixture
async def driver(store: DynamoStore, late: LateIndexes) -> AsyncIterator[DynamoDriver]:
    driver = await _opened(store, late)
    yield driver
    await driver.close()


def _put(number: int, sort: str, condition: Match | None = None) -> Put:
    key = Key(f"P#{number:03}", "row")
    return Put(key, condition or ABSENT, "test", "{}", indexes={Index.USER: (_OF, sort)})


async def _write(driver: DynamoDriver, put: Put) -> str:
    return (await driver.commit(put.key.pk, [put]))[0]


async def _numbers(driver: DynamoDriver, *, page: int, descending: bool = False) -> list[int]:
    found: list[int] = []
    after: str | None = None
    while True:
        answer = await driver.query(
            Index.USER, _OF, lower="A", upper="B", limit=page, after=after, descending=descending
        )
        assert len(answer.items) <= page
        found += [int(item.key.pk[2:]) for item in answer.items]
        after = answer.next
        if after is None:
            return found


@pytest.mark.parametrize("descending", [False, True])
@pytest.mark.parametrize("newest", [0, 1, 5, 8, 20])
async def test_a_process_lists_what_it_wrote_in_order_and_once(
    driver: DynamoDriver, late: LateIndexes, newest: int, descending: bool
) -> None:
    for number in (4, 1, 9, 2, 7, 5, 3, 8, 6, 0):
        await _write(driver, _put(number, f"A{number}"))
    await _write(driver, _put(20, "B"))  # behind the range
    late.newest = newest
    expected = sorted(range(10), reverse=descending)
    for page in (1, 3, 100):
        assert await _numbers(driver, page=page, descending=descending) == expected


async def test_a_row_that_moved_is_seen_where_it_is(
    driver: DynamoDriver, late: LateIndexes
) -> None:
    first = await _write(driver, _put(1, "A1"))
    await _write(driver, _put(2, "A2"))
    await _write(driver, _put(1, "A3", Match(first)))
    assert await _numbers(driver, page=100) == [2, 1]


async def test_others_see_it_once_the_feed_delivered_it(
    driver: DynamoDriver, store: DynamoStore, late: LateIndexes
) -> None:
    other = await _opened(store, late)
    try:
        cursor = await other.tail()
        await _write(driver, _put(1, "A1"))
        assert await _numbers(other, page=100) == []  # the proxy hides what it should
        while not await _numbers(other, page=100):
            cursor = (await other.changes(cursor, 100)).cursor
        assert await _numbers(other, page=100) == [1]
    finally:
        await other.close()


def test_entries_are_forgotten_by_time_and_by_number() -> None:
    now = [0.0]
    recent = RecentEntries(seconds=10, most=3, clock=lambda: now[0])
    everything = key_range(Index.USER, _OF, "", None, None, descending=False)

    def held() -> list[str]:
        return [entry["PK"]["S"] for entry in recent.within(everything)]

    recent.note([_put(1, "A1"), _put(2, "A2")])
    now[0] = 5.0
    recent.note([_put(3, "A3"), _put(1, "A1")])  # again: as young as its last write
    assert held() == ["P#001", "P#002", "P#003"]
    now[0] = 10.0
    assert held() == ["P#001", "P#003"]
    recent.note([_put(4, "A4"), _put(5, "A5")])
    assert held() == ["P#001", "P#004", "P#005"]
    now[0] = 30.0
    assert held() == []
    assert len(recent) == 0
