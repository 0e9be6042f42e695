"""Random schedules of what Azure does wrong: the fake of Cosmos DB, which goes wrong by
itself, and Azurite behind a proxy.

Requests are throttled, refused, answered with 500, cut, or done without an answer, credentials
expire, clocks differ, and partitions are split (tests/durability/schedules.py). `make
test-azure` runs 1,000 of them.
"""

from __future__ import annotations

import random
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass
from typing import Any, TypeVar

import pytest

from services.azure.clients import AzureClients
from services.azure.place import AzurePlace
from services.model.errors import WorkspaceError
from services.objects.azure_blob import AzureBlobDriver
from services.records.cosmos import CosmosDriver
from services.records.cosmos.committing import _Commit, _position
from services.records.cosmos.failing import CallFailed
from services.records.port import RecordDriver
from tests.durability.schedules import (
    AT_ONCE,
    CALL_SECONDS,
    SILENCE,
    TIMEOUT,
    WRITERS,
    hope,
    run,
    write_once,
)
from tests.servers import azure
from tests.servers.azure_stores import DATABASE, Stores, new_stores
from tests.servers.faulty import Asked, Fault, Faulty, Plan
from tests.servers.marks import needs_azurite

T = TypeVar("T")
pytestmark = [
    pytest.mark.durability,
    pytest.mark.timeout(TIMEOUT),
    pytest.mark.usefixtures("azure_environment"),
    needs_azurite,
]

OF_COSMOS = {
    "THROTTLED": 5, "RETRY_WITH": 2, "UNAVAILABLE": 2, "UNAVAILABLE_AFTER": 3, "TIMEOUT": 2,
    "TIMEOUT_AFTER": 3, "BROKEN": 2, "BROKEN_AFTER": 3, "WRITE_FORBIDDEN": 1, "GONE": 2,
    "SPLITTING": 1, "EXPIRED": 1, "SKEWED": 1, "CUT": 3, "CUT_AFTER": 3, "SILENT": 1,
    "SILENT_AFTER": 1,
}  # fmt: skip
OF_BLOB = {
    Fault.THROTTLED: 5, Fault.BROKEN: 3, Fault.BROKEN_AFTER: 3, Fault.CUT: 3, Fault.CUT_AFTER: 3,
    Fault.SILENT_AFTER: 2, Fault.EXPIRED: 1, Fault.SKEWED: 1,
}  # fmt: skip
RATE_OF_COSMOS, RATE_OF_BLOB = 0.15, 0.3
BLOCK = 64 * 1024
SPLITS = 3


@dataclass
class AzureLane:
    """An account of Cosmos DB, a container of blobs and a proxy. The second object is
    written by blocks."""

    stores: Stores
    proxy: Faulty
    drivers: list[RecordDriver]
    store: AzureBlobDriver
    sure: RecordDriver
    sure_store: AzureBlobDriver
    sizes: tuple[int, ...] = (200, 3 * BLOCK // 2)
    splits: int = 0

    def go_wrong(self, rng: random.Random | None) -> None:
        if rng is None:
            self.stores.account.plan()
            self.proxy.plan = lambda _asked: None
            return
        if self.splits < SPLITS and rng.random() < 0.04:
            self.splits += 1
            self.stores.account.split(DATABASE, self.stores.name)
        faults = [name for name, weight in OF_COSMOS.items() for _ in range(weight)]
        seeded = {"seed": rng.getrandbits(32), "rate": RATE_OF_COSMOS, "faults": faults}
        self.stores.account.plan(seeded=seeded, silence=SILENCE)
        self.proxy.plan = plan(rng)

    def refuse_commits(self) -> None:
        self.stores.account.fail("EXPIRED", "batch", times=1000)

    def seen(self) -> set[str]:
        return set(self.stores.account.faults_done())

    def seen_of_blobs(self) -> set[Fault]:
        return {fault for _, fault in self.proxy.asked if fault}


@pytest.fixture
async def lanes() -> AsyncIterator[list[AzureLane]]:
    async with AsyncExitStack() as stack:
        yield [await open_lane(stack) for _ in range(AT_ONCE)]


@pytest.fixture
async def lane() -> AsyncIterator[AzureLane]:
    async with AsyncExitStack() as stack:
        yield await open_lane(stack)


async def open_lane(stack: AsyncExitStack) -> AzureLane:
    stores, proxy = new_stores("faults"), azure.faulty_blob()
    proxy.silence = SILENCE
    stack.callback(proxy.stop)

    def clients(blob_url: str, seconds: float) -> AzureClients:
        endpoints = {"cosmos": stores.account.url, "blob": blob_url}
        return AzureClients(
            AzurePlace(endpoints=endpoints, ca_file=azure.ca_file(), call_seconds=seconds)
        )

    async def records_by(seconds: float) -> RecordDriver:
        driver = await CosmosDriver.open(
            clients("", seconds), stores.name, DATABASE, stores.name
        )
        stack.push_async_callback(driver.close)
        return driver

    async def objects_by(url: str, seconds: float) -> AzureBlobDriver:
        store = await AzureBlobDriver.open(
            clients(url, seconds), azure.ACCOUNT, stores.name, part_bytes=BLOCK
        )
        stack.push_async_callback(store.close)
        return store

    return AzureLane(
        stores, proxy,
        [await patiently(lambda: records_by(CALL_SECONDS)) for _ in range(WRITERS)],
        await patiently(lambda: objects_by(proxy.url, CALL_SECONDS)),
        await records_by(20),
        await objects_by(stores.blob_url, 20),
    )


async def patiently(opening: Callable[[], Awaitable[T]]) -> T:
    """Calls are short here: a machine that does much else may need several."""
    for _ in range(20):
        try:
            return await opening()
        except WorkspaceError:
            continue
    return await opening()


async def test_nothing_acknowledged_is_lost_and_nothing_happens_twice(
    lanes: list[AzureLane],
) -> None:
    assert await run(lanes) == []
    never = "a fault that never came proves nothing"
    assert {name for lane in lanes for name in lane.seen()} >= set(OF_COSMOS), never
    assert {fault for lane in lanes for fault in lane.seen_of_blobs()} >= set(OF_BLOB), never
    assert any(lane.splits for lane in lanes)


async def test_a_driver_that_hopes_is_caught(lane: AzureLane) -> None:
    assert await hope(lane) == ["acknowledged and lost: ['ROW#0#0', 'ROW#0#1']"]


async def test_a_driver_that_repeats_without_a_look_is_caught(
    lane: AzureLane, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The control: the settling of answers that were lost, taken away."""

    async def blind(self: Any, failed: CallFailed) -> list[str] | None:
        position = _position(failed)
        return None if position is None else await self._refused(position)

    async def one(pk: str) -> list[str]:
        lane.stores.account.fail("BROKEN_AFTER", "batch")
        return await write_once(lane, lane.drivers[0], pk)

    assert await one("SETTLED") == []
    monkeypatch.setattr(_Commit, "_failed", blind)
    assert await one("BLIND") == ["refused for rows of one's own: ['ROW#0#0']"]


def plan(rng: random.Random) -> Plan:
    """Every third request goes wrong, about: there are few."""
    kinds, weights = list(OF_BLOB), list(OF_BLOB.values())

    def decide(_asked: Asked) -> Fault | None:
        return rng.choices(kinds, weights)[0] if rng.random() < RATE_OF_BLOB else None

    return decide
