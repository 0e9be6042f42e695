"""Random schedules of what AWS does wrong, with real servers behind a proxy.

Requests are throttled, refused, answered with 500, cut, or done without an answer, and half
of a batch is left out (tests/durability/schedules.py). `make test-aws` runs 1,000 of them.
"""

from __future__ import annotations

import random
import uuid
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from dataclasses import dataclass

import pytest

from services.aws.clients import AwsClients
from services.aws.place import AwsPlace
from services.objects.s3 import S3Driver
from services.records.dynamodb import DynamoDriver
from services.records.port import RecordDriver
from tests.durability.schedules import CALL_SECONDS, SILENCE, TIMEOUT, WRITERS, hope, run
from tests.servers import aws
from tests.servers.faulty import Asked, Fault, Faulty, Plan
from tests.servers.marks import needs_servers

pytestmark = [
    pytest.mark.durability,
    pytest.mark.timeout(TIMEOUT),
    pytest.mark.usefixtures("aws_environment"),
    needs_servers,
]

LANES = 4
"""They wait little; to make the clients of one takes seconds of processor time."""
WEIGHTS = {
    Fault.THROTTLED: 5, Fault.BROKEN: 3, Fault.BROKEN_AFTER: 3, Fault.CUT: 3, Fault.CUT_AFTER: 3,
    Fault.SILENT_AFTER: 1, Fault.PARTIAL: 3, Fault.EXPIRED: 1, Fault.SKEWED: 1,
}  # fmt: skip


@dataclass
class AwsLane:
    """A table, a bucket and two proxies."""

    proxies: list[Faulty]
    drivers: list[RecordDriver]
    store: S3Driver
    sure: RecordDriver
    sure_store: S3Driver
    sizes: tuple[int, ...] = (200, 300)

    def go_wrong(self, rng: random.Random | None) -> None:
        for proxy in self.proxies:
            proxy.plan = (lambda _asked: None) if rng is None else plan(rng)

    def refuse_commits(self) -> None:
        self.proxies[0].plan = expires_at_once

    def seen(self) -> set[str]:
        return {fault.name for proxy in self.proxies for _, fault in proxy.asked if fault}


@pytest.fixture
async def lanes() -> AsyncIterator[list[AwsLane]]:
    async with AsyncExitStack() as stack:
        yield [await open_lane(stack) for _ in range(LANES)]


@pytest.fixture
async def lane() -> AsyncIterator[AwsLane]:
    async with AsyncExitStack() as stack:
        yield await open_lane(stack)


async def open_lane(stack: AsyncExitStack) -> AwsLane:
    name = f"wm-{uuid.uuid4().hex[:16]}"
    aws.make_table(aws.dynamodb_local(), name)
    aws.make_bucket(aws.versitygw(), name)
    records, objects = (
        Faulty(server.url, silence=SILENCE).start()
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

    return AwsLane(
        [records, objects],
        [await records_by(records.url, CALL_SECONDS) for _ in range(WRITERS)],
        await objects_by(objects.url, CALL_SECONDS),
        await records_by(aws.dynamodb_local().url, 20),
        await objects_by(aws.versitygw().url, 20),
    )


async def test_nothing_acknowledged_is_lost_and_nothing_happens_twice(
    lanes: list[AwsLane],
) -> None:
    assert await run(lanes) == []
    seen = {name for lane in lanes for name in lane.seen()}
    assert seen >= set(Fault.__members__), "a fault that never came proves nothing"


async def test_a_driver_that_hopes_is_caught(lane: AwsLane) -> None:
    assert await hope(lane) == ["acknowledged and lost: ['ROW#0#0', 'ROW#0#1']"]


def expires_at_once(asked: Asked) -> Fault | None:
    """Nothing is ever written."""
    return Fault.EXPIRED if asked.operation == "TransactWriteItems" else None


def plan(rng: random.Random) -> Plan:
    """Every seventh request goes wrong, about."""
    kinds, weights = list(WEIGHTS), list(WEIGHTS.values())

    def decide(asked: Asked) -> Fault | None:
        if rng.random() > 0.15:
            return None
        fault = rng.choices(kinds, weights)[0]
        return None if fault is Fault.PARTIAL and asked.operation != "BatchGetItem" else fault

    return decide
