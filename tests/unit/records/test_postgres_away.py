"""A PostgreSQL server that goes away and comes back under an open driver."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

import pytest

from services.records.port import DriverUnavailable, Key
from services.records.sql import PostgresDriver
from tests.conformance.records.harness import PostgresServer

KEY = Key("P#1", "P#1")


@pytest.fixture
def server() -> Iterator[PostgresServer]:
    started = PostgresServer()
    yield started
    started.stop()


async def test_calls_fail_while_it_is_away_instead_of_waiting(server: PostgresServer) -> None:
    """A call could wait a minute for a connection; ten calls are done before."""
    driver = await PostgresDriver.open(server.database(), connect_timeout=60)
    await asyncio.to_thread(server.halt)
    async with asyncio.timeout(50):
        for _ in range(10):
            with pytest.raises(DriverUnavailable):
                await driver.get(KEY)
    await asyncio.to_thread(server.resume)
    async with asyncio.timeout(50):
        while not await answers(driver):  # noqa: ASYNC110 - another is polled
            await asyncio.sleep(0.1)
    await driver.close()


async def answers(driver: PostgresDriver) -> bool:
    try:
        return await driver.get(KEY) is None
    except DriverUnavailable:
        return False
