"""A driver that is closed while calls are under way: they end with it, say so, and leave
no connection open."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from services.records.cosmos import CosmosDriver
from services.records.port import DriverUnavailable, Index, Key
from tests.conformance.records.cosmos_stores import ACCOUNT, CONTAINER, DATABASE, FakeContainer
from tests.conformance.records.cosmos_stores import CosmosStore as Store
from tests.conformance.records.harness import put
from tests.fakes.cosmos.client import CosmosControl
from tests.fakes.sign_in import SignIn
from tests.servers.left_open import nothing_left_open

Call = Callable[[CosmosDriver], Awaitable[Any]]
READS: dict[str, Call] = {
    "get": lambda driver: driver.get(Key("P#1", "a")),
    "batch_get": lambda driver: driver.batch_get([Key(f"P#{n}", "a") for n in range(20)]),
    "query": lambda driver: driver.query(Index.BASE, "P#1"),
    "index": lambda driver: driver.query(Index.TEAM, "T"),
    "scan": lambda driver: driver.scan(None, 5),
    "changes": lambda driver: driver.changes(None, 5),
    "tail": lambda driver: driver.tail(),
    "identity": lambda driver: driver.identity(),
}
DEADLINE = 60.0
"""For what takes no time: a busy machine may."""


async def until(holds: Callable[[], Any]) -> None:
    async with asyncio.timeout(DEADLINE):
        while not holds():  # noqa: ASYNC110 - of another process
            await asyncio.sleep(0.02)


@pytest.mark.parametrize("name", READS)
async def test_a_read_under_way_ends_with_the_driver(
    store: Store, fake: CosmosControl, name: str
) -> None:
    """Of a service that does not answer: the call would wait for 20 seconds."""
    driver = await store.open()
    await driver.scan(None, 1)
    fake.plan([{"fault": "SILENT", "times": 1000}])
    fake.reset()
    with nothing_left_open():
        reading = asyncio.ensure_future(READS[name](driver))
        await until(lambda: sum(fake.counts().values()))
        await driver.close()
        with pytest.raises(DriverUnavailable, match="is closed") as failed:
            await reading
        assert not failed.value.ambiguous
        del failed, reading


@pytest.mark.parametrize("name", READS)
async def test_a_read_that_waits_to_be_repeated_ends_with_the_driver(
    store: Store, fake: CosmosControl, name: str
) -> None:
    driver = await store.open()
    await driver.scan(None, 1)
    fake.plan([{"fault": "THROTTLED", "times": 1000, "retry_after_ms": 15_000}])
    fake.reset()
    reading = asyncio.ensure_future(READS[name](driver))
    await until(lambda: fake.counts())
    await driver.close()
    with pytest.raises(DriverUnavailable, match="is closed"):
        await reading


async def test_a_read_that_waits_for_sign_in_ends_with_the_driver(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The credential has connections of its own."""
    delay = "azure.identity._internal.utils.DEFAULT_TOKEN_REFRESH_RETRY_DELAY"
    monkeypatch.setattr(delay, 0)
    sign_in = SlowSignIn(life=60)  # so near its end, a token is fetched for each request
    sign_in.start()
    for name, value in sign_in.environment().items():
        monkeypatch.setenv(name, value)
    driver = await CosmosDriver.open(FakeContainer().clients(), ACCOUNT, DATABASE, CONTAINER)
    try:
        with nothing_left_open():
            sign_in.answers.clear()
            reading = asyncio.ensure_future(driver.get(Key("P#1", "a")))
            await until(lambda: sign_in.waiting)
            await driver.close()
            with pytest.raises(DriverUnavailable, match="is closed"):
                await reading
            del reading
    finally:
        sign_in.answers.set()
        await driver.close()
        sign_in.stop()


class SlowSignIn(SignIn):
    """Answers while `answers` is set."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.waiting = False
        self.answers = threading.Event()
        self.answers.set()

    def token(self, resource: str) -> tuple[str, int]:
        self.waiting = not self.answers.is_set()
        self.answers.wait(DEADLINE)
        return super().token(resource)


async def test_a_commit_under_way_is_waited_for(store: Store, fake: CosmosControl) -> None:
    """Whoever began it is told what became of it."""
    driver = await store.open(call_seconds=1.0)
    await driver.scan(None, 1)
    fake.fail("SILENT", "batch")
    committing = asyncio.ensure_future(driver.commit("P#1", [put("a")]))
    await until(lambda: fake.faults_done())
    with nothing_left_open():
        await driver.close()
    assert len(await committing) == 1
    assert await (await store.open()).get(Key("P#1", "a")) is not None


async def test_a_closed_driver_is_unavailable(store: Store, fake: CosmosControl) -> None:
    driver = await store.open()
    await driver.close()
    fake.reset()
    calls: dict[str, Call] = {**READS, "commit": lambda driver: driver.commit("P#1", [put("a")])}
    for call in calls.values():
        with pytest.raises(DriverUnavailable, match="is closed"):
            await call(driver)
    assert fake.counts() == {}


async def test_it_is_closed_while_many_calls_come(store: Store) -> None:
    """Each ends with its answer, or says that the driver is closed; at whatever moment."""
    driver = await store.open()
    await driver.commit("P#1", [put("a")])
    with nothing_left_open():
        calls = [
            asyncio.ensure_future(call(driver)) for _ in range(5) for call in READS.values()
        ]
        await asyncio.wait(calls, return_when=asyncio.FIRST_COMPLETED)
        await driver.close()
        found = await asyncio.gather(*calls, return_exceptions=True)
        failed = [each for each in found if isinstance(each, BaseException)]
        assert all(type(each) is DriverUnavailable for each in failed)
        assert len(failed) < len(found)
        del calls, found, failed
