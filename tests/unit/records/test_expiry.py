"""Expired rows are removed in bounded runs; a database with a TTL needs none."""

from __future__ import annotations

import asyncio
import contextlib
import time
from pathlib import Path
from typing import Any

import pytest

from services.records.expiry import CollectsExpired, ExpirySweep
from services.records.port import ABSENT, DriverUnavailable, Key, Put
from services.records.sql import PostgresDriver, SqliteDriver


async def expired(driver: SqliteDriver, count: int) -> None:
    past = int(time.time()) - 10
    for n in range(count):
        key = Key("P", f"{n:04}")
        await driver.commit("P", [Put(key, ABSENT, "due", "{}", expires_at=past)])


async def test_a_run_is_bounded_and_the_next_goes_on(tmp_path: Path) -> None:
    driver = await SqliteDriver.open(tmp_path / "r.sqlite")
    try:
        await expired(driver, 25)
        kept = Put(Key("P", "kept"), ABSENT, "due", "{}", expires_at=int(time.time()) + 900)
        await driver.commit("P", [kept])
        sweep = ExpirySweep(driver, batch=5, most=3)
        assert [await sweep.sweep() for _ in range(3)] == [15, 10, 0]
        assert await driver.get(kept.key) is not None
    finally:
        await driver.close()


def test_both_sql_drivers_collect() -> None:
    assert issubclass(SqliteDriver, CollectsExpired)
    assert issubclass(PostgresDriver, CollectsExpired)


class Expires:
    """A driver whose database has a TTL."""


async def test_a_driver_with_expiry_of_its_own_needs_nothing() -> None:
    driver: Any = Expires()
    assert await ExpirySweep(driver).sweep() == 0
    await ExpirySweep(driver).run()


class Unsteady:
    """Does not answer at first."""

    def __init__(self) -> None:
        self.calls = 0
        self.answered = asyncio.Event()

    async def collect_expired(self, limit: int) -> int:
        self.calls += 1
        if self.calls == 1:
            raise DriverUnavailable("away")
        self.answered.set()
        return 0


async def test_the_loop_goes_on_after_a_failure() -> None:
    driver: Any = Unsteady()
    loop = asyncio.create_task(ExpirySweep(driver, period=0.001).run())
    await driver.answered.wait()
    loop.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await loop
    assert driver.calls >= 2
    assert loop.cancelled()


@pytest.mark.parametrize("most", [1, 2])
async def test_no_run_asks_more_often_than_it_may(most: int) -> None:
    class Endless:
        calls = 0

        async def collect_expired(self, limit: int) -> int:
            self.calls += 1
            return limit

    driver: Any = Endless()
    assert await ExpirySweep(driver, batch=7, most=most).sweep() == 7 * most
    assert driver.calls == most
