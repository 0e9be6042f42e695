"""Random schedules of what AWS does wrong, with real servers behind a proxy.

Two processes write to one partition and store objects, while requests are throttled,
refused, answered with 500, cut, or done without an answer, and half of a batch is left
out. In the end: what was acknowledged is there, once; what was refused never happened;
the change feed has it all. `make test-aws` runs 1,000 of them.
"""

from __future__ import annotations

import asyncio
import hashlib
import os
import random
import uuid
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, field

import pytest

from services.aws.clients import AwsClients
from services.aws.place import AwsPlace
from services.objects.port import StoreUnavailable
from services.objects.s3 import S3Driver
from services.records.dynamodb import DynamoDriver
from services.records.port import (
    ABSENT,
    ConditionFailed,
    DriverUnavailable,
    Key,
    Match,
    Put,
    RecordDriver,
)
from tests.servers import aws
from tests.servers.faulty import Asked, Fault, Faulty, Plan
from tests.servers.marks import needs_servers

pytestmark = [
    pytest.mark.durability,
    pytest.mark.timeout(900),
    pytest.mark.usefixtures("aws_environment"),
    needs_servers,
]

SCHEDULES = int(os.environ.get("WM_FAULT_SCHEDULES", "100"))
AT_ONCE = 8
WRITERS, COMMITS = 2, 2
CALL_SECONDS = 0.5
WEIGHTS = {
    Fault.THROTTLED: 5, Fault.BROKEN: 3, Fault.BROKEN_AFTER: 3, Fault.CUT: 3, Fault.CUT_AFTER: 3,
    Fault.SILENT_AFTER: 1, Fault.PARTIAL: 3, Fault.EXPIRED: 1, Fault.SKEWED: 1,
}  # fmt: skip


@dataclass
class Told:
    """What the writers of one schedule were told of each row: by its name."""

    acknowledged: set[str] = field(default_factory=set)
    refused: set[str] = field(default_factory=set)
    unclear: set[str] = field(default_factory=set)
    objects: dict[str, bytes] = field(default_factory=dict)


@dataclass
class Lane:
    """A table, a bucket and two proxies, used by one schedule after the other."""

    records: Faulty
    objects: Faulty
    drivers: list[RecordDriver]
    store: S3Driver
    sure: RecordDriver
    sure_store: S3Driver


@pytest.fixture
async def lanes() -> AsyncIterator[list[Lane]]:
    async with AsyncExitStack() as stack:
        yield [await open_lane(stack) for _ in range(AT_ONCE)]


async def open_lane(stack: AsyncExitStack) -> Lane:
    name = f"wm-{uuid.uuid4().hex[:16]}"
    aws.make_table(aws.dynamodb_local(), name)
    aws.make_bucket(aws.versitygw(), name)
    records, objects = (
        Faulty(server.url, silence=1.5 * CALL_SECONDS).start()
        for server in (aws.dynamodb_local(), aws.versitygw())
    )
    stack.callback(records.stop)
    stack.callback(objects.stop)

    async def records_by(url: str, seconds: float) -> RecordDriver:
        clients = AwsClients(AwsPlace(aws.REGION, endpoint=url, call_seconds=seconds), workers=4)
        driver = await DynamoDriver.open(clients, name)
        stack.push_async_callback(driver.close)
        return driver

    async def objects_by(url: str, seconds: float) -> S3Driver:
        clients = AwsClients(AwsPlace(aws.REGION, endpoint=url, call_seconds=seconds), workers=4)
        store = await S3Driver.open(clients, name, path_style=True)
        stack.push_async_callback(store.close)
        return store

    return Lane(
        records, objects,
        [await records_by(records.url, CALL_SECONDS) for _ in range(WRITERS)],
        await objects_by(objects.url, CALL_SECONDS),
        await records_by(aws.dynamodb_local().url, 20),
        await objects_by(aws.versitygw().url, 20),
    )


async def test_nothing_acknowledged_is_lost_and_nothing_happens_twice(lanes: list[Lane]) -> None:
    seeds = iter(range(SCHEDULES))
    found: list[str] = []

    async def run(lane: Lane) -> None:
        for seed in seeds:
            found.extend(await schedule(lane, seed))

    await asyncio.gather(*map(run, lanes))
    assert found == []
    seen = {fault for lane in lanes for _, fault in [*lane.records.asked, *lane.objects.asked]}
    assert seen >= set(Fault), "a fault that never came proves nothing"


class Hopeful:
    """The control: a driver that takes a lost answer for a good one."""

    def __init__(self, driver: RecordDriver) -> None:
        self._driver = driver
        self.batch_get = driver.batch_get

    async def commit(self, pk: str, puts: Sequence[Put]) -> list[str]:
        try:
            return await self._driver.commit(pk, puts)
        except DriverUnavailable:
            return ["hoped"] * len(puts)


async def test_a_driver_that_hopes_is_caught(lanes: list[Lane]) -> None:
    lane = lanes[0]
    lane.drivers = [Hopeful(driver) for driver in lane.drivers]  # type: ignore[misc]
    lane.records.plan = lambda _asked: None
    tail, told = await lane.sure.tail(), Told()
    lane.records.plan = expires_at_once
    await write(lane.drivers[0], "HOPED", "0", told)
    assert await faults_of(lane, "HOPED", told, tail) == [
        "acknowledged and lost: ['ROW#0#0', 'ROW#0#1']"
    ]


def expires_at_once(asked: Asked) -> Fault | None:
    """Nothing is ever written."""
    return Fault.EXPIRED if asked.operation == "TransactWriteItems" else None


async def schedule(lane: Lane, seed: int) -> list[str]:
    """What went wrong in one schedule; empty when nothing did."""
    rng, pk, told = random.Random(seed), f"SCHEDULE#{seed}", Told()
    tail = await lane.sure.tail()
    lane.records.plan = lane.objects.plan = plan(rng)
    writing = [write(driver, pk, f"{n}", told) for n, driver in enumerate(lane.drivers)]
    await asyncio.gather(*writing, store_objects(lane.store, seed, told))
    lane.records.plan = lane.objects.plan = lambda _asked: None
    return [f"schedule {seed}: {each}" for each in await faults_of(lane, pk, told, tail)]


def plan(rng: random.Random) -> Plan:
    """Every seventh request goes wrong, about."""
    kinds, weights = list(WEIGHTS), list(WEIGHTS.values())

    def decide(asked: Asked) -> Fault | None:
        if rng.random() > 0.15:
            return None
        fault = rng.choices(kinds, weights)[0]
        return None if fault is Fault.PARTIAL and asked.operation != "BatchGetItem" else fault

    return decide


async def write(driver: RecordDriver, pk: str, writer: str, told: Told) -> None:
    """Each commit counts one more, and adds a row of its own."""
    for number in range(COMMITS):
        name = f"ROW#{writer}#{number}"
        for _ in range(20):
            try:
                puts = [await counted(driver, pk), row(pk, name)]
                await driver.commit(pk, puts)
            except ConditionFailed as error:
                if error.position == 0:
                    continue  # the other was quicker: count again
                told.unclear.add(name)
            except DriverUnavailable as error:
                (told.unclear if error.ambiguous else told.refused).add(name)
            else:
                told.acknowledged.add(name)
            break


async def counted(driver: RecordDriver, pk: str) -> Put:
    key = Key(pk, "COUNT")
    [item, _] = await driver.batch_get([key, Key(pk, "NONE")])
    if item is None:
        return Put(key, ABSENT, "test", "1")
    return Put(key, Match(item.token), "test", str(int(item.body) + 1))


def row(pk: str, name: str) -> Put:
    return Put(Key(pk, name), ABSENT, "test", "{}")


async def store_objects(store: S3Driver, seed: int, told: Told) -> None:
    for number in range(2):
        key, data = f"schedules/{seed}/{number}", f"{seed}/{number}".encode() * 50

        async def chunks(data: bytes = data) -> AsyncIterator[bytes]:
            yield data

        digest = hashlib.sha256(data).hexdigest()
        try:
            await store.write(
                key, chunks(), size=len(data), sha256=digest, content_type="text/plain"
            )
        except StoreUnavailable:
            continue
        told.objects[key] = data


async def faults_of(lane: Lane, pk: str, told: Told, tail: str) -> list[str]:
    names = [*told.acknowledged, *told.refused, *told.unclear]
    items = await lane.sure.batch_get([Key(pk, name) for name in names])
    there = {name for name, item in zip(names, items, strict=True) if item is not None}
    count = await lane.sure.get(Key(pk, "COUNT"))
    found = []
    if lost := told.acknowledged - there:
        found.append(f"acknowledged and lost: {sorted(lost)}")
    if ghosts := told.refused & there - told.acknowledged:
        found.append(f"refused and there: {sorted(ghosts)}")
    if int(count.body if count else 0) != len(there):
        found.append(f"{count.body if count else 0} counted, {len(there)} there")
    if missed := there - await fed(lane.sure, pk, tail):
        found.append(f"not in the feed: {sorted(missed)}")
    for key, data in told.objects.items():
        if b"".join([chunk async for chunk in lane.sure_store.open_read(key)]) != data:
            found.append(f"{key} has other bytes")
    return found


async def fed(driver: RecordDriver, pk: str, cursor: str) -> set[str]:
    """Rows of the partition that the feed brings, read until it is complete."""
    found: set[str] = set()
    while True:
        page = await driver.changes(cursor, 100)
        found |= {item.key.sk for item in page.items if item.key.pk == pk}
        cursor = page.cursor
        if page.complete and not page.items:
            return found
        await asyncio.sleep(0 if page.items else 0.05)
