"""Leases: one holder, taken over after silence, lost and told."""

from __future__ import annotations

import asyncio
import time
from dataclasses import replace
from typing import Any

import pytest

from services.records.lease import Lease
from services.records.port import Key
from services.records.store import RecordStore
from tests.chosen_records import needs_sqlite

KEY = Key("RELAY#x", "LEASE")


class Shared:
    """The store as one that several processes share."""

    def __init__(self, records: RecordStore) -> None:
        self._records = records
        self.capabilities = replace(records.driver.capabilities, multi_process=True)

    @property
    def driver(self) -> Any:
        return self

    def __getattr__(self, name: str) -> Any:
        return getattr(self._records, name)


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


def lease(records: Any, holder: str, now: Any, seconds: float = 30.0) -> Lease:
    return Lease(records, KEY, holder=holder, now=now, seconds=seconds)


async def test_one_holder_until_it_is_silent_too_long(records: RecordStore, clock: Clock) -> None:
    shared = Shared(records)
    one, two = lease(shared, "one", clock), lease(shared, "two", clock)
    assert await one.acquire()
    assert not await two.acquire()
    clock.now += 29
    assert await one.renew()
    clock.now += 29
    assert not await two.acquire()
    clock.now += 2
    assert await two.acquire()
    assert not await one.renew()
    assert not one.held


async def test_many_at_once_and_one_gets_it(records: RecordStore, clock: Clock) -> None:
    shared = Shared(records)
    took = await asyncio.gather(*(lease(shared, f"h{n}", clock).acquire() for n in range(20)))
    assert sum(took) == 1


async def test_released_is_free(records: RecordStore, clock: Clock) -> None:
    shared = Shared(records)
    one = lease(shared, "one", clock)
    assert await one.acquire()
    await one.release()
    await one.release()
    assert await lease(shared, "two", clock).acquire()


@needs_sqlite
async def test_where_one_process_owns_the_store_the_former_holder_is_dead(
    records: RecordStore, clock: Clock
) -> None:
    assert await lease(records, "former", clock).acquire()
    assert await lease(records, "new", clock).acquire()


async def test_work_is_cancelled_when_the_lease_is_lost(records: RecordStore) -> None:
    shared = Shared(records)
    started = asyncio.Event()

    async def work() -> None:
        started.set()
        await asyncio.Event().wait()

    one = lease(shared, "one", time.time, seconds=0.3)
    holding = asyncio.ensure_future(one.hold(work))
    await started.wait()
    # Somebody whose clock is far ahead takes it.
    assert await lease(shared, "two", lambda: time.time() + 60).acquire()
    assert await holding is False


async def test_work_runs_longer_than_the_lease_and_its_end_is_told(records: RecordStore) -> None:
    shared = Shared(records)
    renewed = asyncio.Event()
    one = lease(shared, "one", time.time, seconds=0.1)
    renew = one.renew

    async def noted() -> bool:
        done = await renew()
        renewed.set()
        return done

    one.renew = noted  # type: ignore[method-assign]

    async def work() -> None:
        await renewed.wait()
        assert not await lease(shared, "two", time.time).acquire()

    assert await one.hold(work) is True
    assert await lease(shared, "two", time.time).acquire(), "it was released"


async def test_errors_of_the_work_are_raised_and_the_lease_is_released(
    records: RecordStore, clock: Clock
) -> None:
    async def work() -> None:
        raise RuntimeError("broken")

    with pytest.raises(RuntimeError):
        await lease(Shared(records), "one", clock).hold(work)
    assert await lease(Shared(records), "two", clock).acquire()


async def test_a_cancelled_holder_releases(records: RecordStore, clock: Clock) -> None:
    started = asyncio.Event()

    async def work() -> None:
        started.set()
        await asyncio.Event().wait()

    holding = asyncio.ensure_future(lease(Shared(records), "one", clock).hold(work))
    await started.wait()
    holding.cancel()
    await asyncio.gather(holding, return_exceptions=True)
    assert await lease(Shared(records), "two", clock).acquire()
