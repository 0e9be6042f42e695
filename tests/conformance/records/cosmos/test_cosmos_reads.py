"""Reads of Cosmos DB: what they ask, and that partitions may be split under them."""

from __future__ import annotations

from typing import Any

import pytest
from azure.cosmos import PartitionKey
from azure.cosmos.exceptions import CosmosResourceNotFoundError

from services.model.errors import WorkspaceError
from services.records.cosmos import CosmosDriver, gathering
from services.records.port import DriverUnavailable, Index, Item, Key, Match
from tests.conformance.records.cosmos_stores import (
    CONTAINER,
    DATABASE,
    CosmosStore,
    FakeContainer,
    SweptContainer,
)
from tests.conformance.records.harness import Clock, Environment, put
from tests.fakes.cosmos.client import CosmosControl

FAULTS = [
    "THROTTLED", "RETRY_WITH", "UNAVAILABLE", "TIMEOUT", "BROKEN", "CUT", "CUT_AFTER", "GONE",
]  # fmt: skip


async def filled(driver: CosmosDriver, partitions: int = 12, rows: int = 3) -> list[Key]:
    """Keys in order; all rows are in one index partition, too."""
    keys = [Key(f"P#{p:02}", f"S#{s}") for p in range(partitions) for s in range(rows)]
    for p in range(partitions):
        pk = f"P#{p:02}"
        puts = [
            put(f"S#{s}", pk=pk, indexes={Index.TEAM: ("T", f"{s}#{p:02}")}) for s in range(rows)
        ]
        await driver.commit(pk, puts)
    return keys


def keys_of(items: Any) -> list[Key]:
    return [item.key for item in items]


async def test_each_page_is_one_request_for_each_physical_partition(
    driver: CosmosDriver, fake: CosmosControl
) -> None:
    """And never a query plan."""
    await filled(driver)
    fake.reset()
    await driver.query(Index.BASE, "P#01", limit=2)
    assert fake.counts() == {"query": 1}
    fake.reset()
    page = await driver.query(Index.TEAM, "T", limit=20)
    assert fake.counts() == {"query": 2}
    fake.reset()
    await driver.query(Index.TEAM, "T", limit=20, after=page.next, descending=True)
    await driver.scan(Key("P#03", "S#1"), 5)
    assert fake.counts() == {"query": 4}


async def test_one_physical_partition_is_one_request(
    environment: Environment, azure_environment: None
) -> None:
    place = FakeContainer(partitions=1)
    driver = await CosmosStore(environment, lambda: place).open()
    await filled(driver, 3)
    await driver.scan(None, 5)
    place.fake.reset()
    assert len((await driver.query(Index.TEAM, "T", limit=5)).items) == 5
    assert len(await driver.scan(None, 5)) == 5
    assert place.fake.counts() == {"query": 2}


async def test_few_keys_are_point_reads_and_many_of_one_partition_a_query(
    driver: CosmosDriver, fake: CosmosControl
) -> None:
    keys = await filled(driver, 3, 40)
    fake.reset()
    assert keys_of(await driver.batch_get(keys[:2])) == keys[:2]
    assert fake.counts() == {"read": 2}
    fake.reset()
    assert keys_of(await driver.batch_get([*keys, keys[0]])) == [*keys, keys[0]]
    assert fake.counts() == {"query": 3}
    fake.reset()
    absent = [Key(f"Q#{n}", "x") for n in range(3)]
    assert await driver.batch_get(absent) == [None] * 3
    assert fake.counts() == {"read": 3}


async def test_keys_of_many_partitions_are_a_query_for_each_physical_one(
    driver: CosmosDriver, fake: CosmosControl
) -> None:
    keys = await filled(driver)
    wanted = [*reversed(keys), Key("Q#1", "x"), keys[0]]
    fake.reset()
    found = await driver.batch_get(wanted)
    assert [item and item.key for item in found] == [*reversed(keys), None, keys[0]]
    assert fake.counts() == {"query": 2}
    for kind in ("EMPTY_PAGE", *FAULTS):
        fake.fail(kind, "query")
        assert keys_of(await driver.batch_get(keys)) == keys


async def test_keys_of_many_partitions_are_found_after_splits(
    driver: CosmosDriver, fake: CosmosControl
) -> None:
    """No row is missing because another physical partition has it now."""
    keys = await filled(driver)
    for _ in range(4):
        fake.split(DATABASE, CONTAINER)
        assert keys_of(await driver.batch_get(keys)) == keys


def other_side(text: str) -> str:
    """A hash that lies in the other of two equal ranges."""
    return f"{int(text, 16) ^ (1 << 125):032X}"


@pytest.fixture(params=["published", "own row", "gone", "of another type"])
def strange_hash(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """The private part of the SDK is another: in its values, in all values but those that are
    published (so it is the service that differs), or in its form."""
    real, kind = PartitionKey._get_effective_partition_key_string, request.param

    def strange(this: PartitionKey, values: Any) -> Any:
        hashed = str(real(this, values))
        if kind == "of another type":
            return bytes.fromhex(hashed)
        keeps = kind == "own row" and values[0] in gathering._PUBLISHED
        return hashed if keeps else other_side(hashed)

    if kind == "gone":
        monkeypatch.delattr(PartitionKey, "_get_effective_partition_key_string")
    else:
        monkeypatch.setattr(PartitionKey, "_get_effective_partition_key_string", strange)


async def test_no_row_is_missing_though_the_sdk_hashes_in_another_way(
    store: CosmosStore, fake: CosmosControl, strange_hash: None, caplog: pytest.LogCaptureFixture
) -> None:
    driver = await store.open()
    keys = await filled(driver)
    assert keys_of(await driver.batch_get(keys)) == keys
    fake.split(DATABASE, CONTAINER)
    assert keys_of(await driver.batch_get(keys)) == keys
    assert "does not tell where keys lie" in caplog.text


async def test_where_keys_lie_is_looked_at_once_for_each_set_of_partitions(
    driver: CosmosDriver, fake: CosmosControl
) -> None:
    keys = await filled(driver)
    fake.split(DATABASE, CONTAINER)
    for _ in range(2):
        await driver.batch_get(keys)
    fake.reset()
    await driver.batch_get(keys)
    assert fake.counts() == {"query": 3}


async def test_of_one_partition_nothing_is_looked_at(
    environment: Environment, azure_environment: None, strange_hash: None
) -> None:
    """Until it is split."""
    place = FakeContainer(partitions=1)
    driver = await CosmosStore(environment, lambda: place).open()
    keys = await filled(driver)
    place.fake.reset()
    assert keys_of(await driver.batch_get(keys)) == keys
    assert place.fake.counts() == {"query": 1}
    place.fake.split(DATABASE, CONTAINER)
    assert keys_of(await driver.batch_get(keys)) == keys


async def test_a_walk_goes_on_through_splits(driver: CosmosDriver, fake: CosmosControl) -> None:
    """Each page is right as a whole, though the ranges that are known are gone."""
    keys = await filled(driver)
    found: list[Item] = []
    for turn in range(100):
        page = await driver.scan(found[-1].key if found else None, 5)
        if not page:
            break
        found.extend(page)
        if turn in (0, 2, 3):
            fake.split(DATABASE, CONTAINER)
    assert keys_of(found) == keys


@pytest.mark.parametrize("descending", [False, True])
async def test_pages_of_an_index_go_on_through_splits(
    driver: CosmosDriver, fake: CosmosControl, descending: bool
) -> None:
    keys = await filled(driver)
    ordered = sorted(keys, key=lambda key: (key.sk, key.pk), reverse=descending)
    found, after = [], None
    while True:
        page = await driver.query(Index.TEAM, "T", limit=7, after=after, descending=descending)
        found += keys_of(page.items)
        after = page.next
        if after is None:
            break
        fake.split(DATABASE, CONTAINER)
    assert found == ordered


async def test_a_partition_that_splits_within_a_page_is_read_again(
    driver: SweptContainer, fake: CosmosControl, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between the requests of one page."""
    keys = await filled(driver)
    real, turns = driver._calls.page, []

    async def page(*given: Any, **more: Any) -> Any:
        turns.append(more)
        if len(turns) == 3:  # the first of each partition are over
            fake.split(DATABASE, CONTAINER)
        return await real(given[0], 2, *given[2:], **more)

    monkeypatch.setattr(driver._calls, "page", page)
    assert keys_of(await driver.scan(None, 30)) == keys[:30]


async def test_partitions_that_keep_moving_end_a_read(
    driver: CosmosDriver, fake: CosmosControl
) -> None:
    fake.fail("GONE", "query", times=10_000)
    with pytest.raises(DriverUnavailable):
        await driver.scan(None, 5)


@pytest.mark.parametrize("fault", FAULTS)
async def test_reads_are_repeated_by_us_alone(
    driver: CosmosDriver, fake: CosmosControl, fault: str
) -> None:
    await driver.commit("P#1", [put(sk, indexes={Index.TEAM: ("T", sk)}) for sk in "abcde"])
    fake.reset()
    fake.plan([{"fault": fault, "operation": kind} for kind in ("read", "query")])
    assert await driver.get(Key("P#1", "a")) is not None
    assert fake.counts()["read"] == 2
    assert len((await driver.query(Index.BASE, "P#1")).items) == 5
    assert fake.counts()["query"] == 2
    fake.plan([{"fault": fault, "operation": "query"}])
    assert len((await driver.query(Index.TEAM, "T")).items) == 5
    fake.plan([{"fault": fault, "operation": "query"}])
    assert None not in await driver.batch_get([Key("P#1", sk) for sk in "abcde"])


async def test_pages_that_are_empty_are_gone_through(
    driver: CosmosDriver, fake: CosmosControl
) -> None:
    """The service may answer with a continuation alone."""
    keys = await filled(driver, 4)
    fake.fail("EMPTY_PAGE", "query", times=3)
    assert keys_of(await driver.scan(None, 100)) == keys
    fake.fail("EMPTY_PAGE", "query", times=2)
    assert keys_of((await driver.query(Index.BASE, "P#00")).items) == keys[:3]
    fake.fail("EMPTY_PAGE", "query", times=1)
    wanted = [Key("P#00", f"S#{n}") for n in range(5)]
    assert (await driver.batch_get(wanted))[:3] == list(await driver.scan(None, 3))


async def test_many_expired_rows_do_not_end_a_page(
    driver: CosmosDriver, clock: Clock
) -> None:
    index = {Index.TEAM: ("T", "x")}
    for at in range(3):
        await driver.commit(f"P#{at}", [
            put(f"{n:02}", pk=f"P#{at}", expires_at=1_000_001 if n < 20 else None, indexes=index)
            for n in range(22)
        ])  # fmt: skip
    clock.now += 1
    left = [Key(f"P#{at}", f"{n}") for at in range(3) for n in (20, 21)]
    assert keys_of(await driver.scan(None, 4)) == left[:4]
    page = await driver.query(Index.TEAM, "T", limit=4)
    assert (keys_of(page.items), page.next is None) == (left[:4], False)
    assert keys_of((await driver.query(Index.BASE, "P#0", limit=1)).items) == left[:1]


async def test_indexes_show_what_another_process_wrote_at_once(
    driver: CosmosDriver, store: CosmosStore
) -> None:
    other = await store.open()
    for n in range(10):
        [token] = await other.commit("P#1", [put(f"{n}", indexes={Index.USER: ("U", "1")})])
        assert len((await driver.query(Index.USER, "U")).items) == 1
        await other.commit("P#1", [put(f"{n}", condition=Match(token))])
        assert (await driver.query(Index.USER, "U")).items == []


async def test_a_container_that_is_gone_is_no_empty_one(
    driver: CosmosDriver, fake: CosmosControl
) -> None:
    await driver.commit("P#1", [put("a")])
    fake.delete_container(DATABASE, CONTAINER)
    for read in (
        lambda: driver.get(Key("P#1", "a")),
        lambda: driver.scan(None, 1),
        lambda: driver.query(Index.BASE, "P#1"),
        lambda: driver.batch_get([Key("P#1", f"{n}") for n in range(9)]),
        lambda: driver.batch_get([Key(f"P#{n}", "a") for n in range(9)]),
        lambda: driver.changes(None, 1),
        lambda: driver.commit("P#1", [put("b")]),
    ):
        with pytest.raises((DriverUnavailable, WorkspaceError)):
            await read()


async def test_a_404_of_somebody_else_is_not_an_absent_row(
    driver: SweptContainer, monkeypatch: pytest.MonkeyPatch
) -> None:
    await driver.commit("P#1", [put("a")])
    real, seen = driver._calls.proxy.read_item, list[Any]()
    make: Any = CosmosResourceNotFoundError

    async def strange(*given: Any, **more: Any) -> Any:
        seen.append(given)
        if len(seen) == 1:
            raise make(status_code=404, message="nginx")
        return await real(*given, **more)

    monkeypatch.setattr(driver._calls.proxy, "read_item", strange)
    assert await driver.get(Key("P#1", "a")) is not None
    assert len(seen) == 2


@pytest.mark.parametrize(("fault", "said"), [("EXPIRED", "az login"), ("SKEWED", "clock")])
async def test_credentials_that_fail_while_serving_name_the_remedy(
    driver: CosmosDriver, fake: CosmosControl, fault: str, said: str
) -> None:
    fake.fail(fault, "read", times=100)
    with pytest.raises(DriverUnavailable) as failed:
        await driver.get(Key("P#1", "a"))
    assert said in failed.value.remedy
    assert fake.url not in failed.value.remedy
