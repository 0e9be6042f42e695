"""The key that signs URLs: one fetch in twelve hours, one at a time, never a dead URL."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from datetime import UTC, datetime

import pytest
from azure.storage.blob import UserDelegationKey

from services.azure.failures import Failure, Kind
from services.objects.azure_blob.clock import ServiceClock
from services.objects.azure_blob.delegation_key import DelegationKeys
from services.objects.azure_blob.errors import Refused
from services.objects.azure_blob.signing import Signer
from services.objects.port import StoreUnavailable

HOUR = 3600.0
BEGIN = 1_800_000_000.0


def stamp(at: float) -> str:
    return datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def key_of(start: float, end: float) -> UserDelegationKey:
    key = UserDelegationKey()
    key.signed_oid, key.signed_tid, key.signed_service = "oid", "tid", "b"
    key.signed_start, key.signed_expiry, key.signed_version = stamp(start), stamp(end), "2026-10-06"
    key.value = "a2V5"
    return key


class Service:
    """Gives keys; `now` is moved by tests."""

    def __init__(self) -> None:
        self.at = BEGIN
        self.asked: list[tuple[float, float]] = []
        self.failure: Exception | None = None
        self.life: float | None = None
        self.gate = asyncio.Event()
        self.gate.set()
        self.arrived = asyncio.Event()
        self.under_way = 0
        self.most_under_way = 0

    def now(self) -> float:
        return self.at

    async def fetch(self, start: float, end: float) -> UserDelegationKey:
        self.asked.append((start, end))
        self.under_way += 1
        self.most_under_way = max(self.most_under_way, self.under_way)
        self.arrived.set()
        await self.gate.wait()
        self.under_way -= 1
        if self.failure is not None:
            raise self.failure
        return key_of(start, end if self.life is None else self.at + self.life)


@pytest.fixture
def service() -> Service:
    return Service()


@pytest.fixture
async def keys(service: Service) -> DelegationKeys:
    return DelegationKeys(service.fetch, ServiceClock(service.now))


async def eventually(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(60):
        while not condition():  # noqa: ASYNC110 - of code under test, which has no event
            await asyncio.sleep(0)


async def test_one_fetch_in_twelve_hours(service: Service, keys: DelegationKeys) -> None:
    await asyncio.gather(*(keys.start() for _ in range(8)))
    for minute in range(12 * 60):
        service.at = BEGIN + 60 * minute
        for _ in range(5):
            assert keys.current().start == BEGIN - 900
        await asyncio.sleep(0)
    assert len(service.asked) == 1
    assert service.asked[0] == (BEGIN - 900, BEGIN + 25 * HOUR)
    await keys.close()


async def test_a_new_one_is_fetched_behind_and_by_one(
    service: Service, keys: DelegationKeys
) -> None:
    await keys.start()
    first = keys.current()
    service.at = BEGIN + 12 * HOUR
    service.gate.clear()
    service.arrived.clear()
    for _ in range(50):
        assert keys.current() is first
    await service.arrived.wait()
    for _ in range(50):
        assert keys.current() is first  # while it is under way
    service.gate.set()
    await eventually(lambda: keys.current() is not first)
    assert (len(service.asked), service.most_under_way) == (2, 1)
    assert keys.current().start == BEGIN + 12 * HOUR - 900
    await keys.close()


async def test_what_is_given_counts_not_what_was_asked(
    service: Service, keys: DelegationKeys
) -> None:
    service.life = 2 * HOUR
    await keys.start()
    assert keys.current().end == BEGIN + 2 * HOUR
    assert keys.current().due == BEGIN + HOUR
    signer = Signer("account", "container")
    _, end = signer.query(keys.current(), "key", "r", 12 * 3600, service.at)
    assert end == BEGIN + 2 * HOUR - 60
    service.at = BEGIN + 2 * HOUR - 90
    with pytest.raises(StoreUnavailable, match="ends too soon"):
        signer.query(keys.current(), "key", "r", 600, service.at)
    await keys.close()


async def test_a_key_that_is_not_renewed_signs_until_it_ends(
    service: Service, keys: DelegationKeys
) -> None:
    await keys.start()
    failure = Failure(Kind.THROTTLED, "ServerBusy", "blob")
    service.failure = Refused(failure, 503)
    service.at = BEGIN + 24 * HOUR
    assert keys.current().end > service.at
    await eventually(lambda: len(service.asked) == 2)
    service.at = BEGIN + 25 * HOUR - 30
    with pytest.raises(StoreUnavailable, match="was not renewed: blob failed"):
        keys.current()
    await keys.close()


async def test_what_nobody_expected_does_not_end_the_task(
    service: Service, keys: DelegationKeys
) -> None:
    await keys.start()
    service.failure = ArithmeticError("secret")
    service.at = BEGIN + 13 * HOUR
    keys.current()
    await eventually(lambda: len(service.asked) == 2)
    await eventually(lambda: "Arithmetic" in keys._reason)
    assert "secret" not in keys._reason
    assert keys._task is not None
    assert not keys._task.done()
    await keys.close()


async def test_after_a_long_sleep_the_next_call_finds_a_new_one(
    service: Service, keys: DelegationKeys
) -> None:
    await keys.start()
    service.at = BEGIN + 100 * HOUR
    with pytest.raises(StoreUnavailable):
        keys.current()

    def renewed() -> bool:
        try:
            return keys.current().start > BEGIN + 99 * HOUR
        except StoreUnavailable:
            return False

    await eventually(renewed)
    await keys.close()


async def test_signing_in_a_thread_wakes_the_loop(service: Service, keys: DelegationKeys) -> None:
    await keys.start()
    service.at = BEGIN + 13 * HOUR
    thread = threading.Thread(target=keys.current)
    thread.start()
    await eventually(lambda: len(service.asked) == 2)
    thread.join()
    await keys.close()


async def test_without_a_key_nothing_is_signed(service: Service, keys: DelegationKeys) -> None:
    with pytest.raises(StoreUnavailable, match="no key to sign with was fetched"):
        keys.current()
    service.failure = Refused(Failure(Kind.DENIED, "AuthorizationPermissionMismatch", "blob"), 403)
    with pytest.raises(Refused):
        await keys.start()
    service.failure = None
    await keys.start()
    keys.current()
    await keys.close()
    with pytest.raises(StoreUnavailable):
        keys.current()


async def test_it_ends_also_when_it_is_woken_that_moment(
    service: Service, keys: DelegationKeys
) -> None:
    await keys.start()
    await asyncio.sleep(0)
    service.at = BEGIN + 13 * HOUR
    keys.current()
    async with asyncio.timeout(60):
        await keys.close()


@pytest.mark.parametrize("life", [-10.0, 0.0, 30.0])
@pytest.mark.case("U27")
async def test_keys_that_are_over_are_not_taken(
    service: Service, keys: DelegationKeys, life: float
) -> None:
    service.life = life
    with pytest.raises(StoreUnavailable, match="cannot be used"):
        await keys.start()


@pytest.mark.parametrize("field", ["signed_expiry", "signed_start", "value", "signed_oid"])
@pytest.mark.parametrize("value", [None, "", "soon"])
async def test_keys_that_are_none(service: Service, field: str, value: str | None) -> None:
    async def fetch(start: float, end: float) -> UserDelegationKey:
        key = key_of(start, end)
        setattr(key, field, value)
        return key

    if field in ("value", "signed_oid") and value == "soon":
        value = ""
    keys = DelegationKeys(fetch, ServiceClock(service.now))
    with pytest.raises(StoreUnavailable):
        await keys.start()


def test_a_clock_that_is_wrong_is_corrected_by_the_service() -> None:
    clock = ServiceClock(lambda: BEGIN)
    clock.learn("Fri, 15 Jan 2027 08:20:00 GMT")
    assert clock() == BEGIN + 20 * 60
    assert clock.ours(BEGIN + 20 * 60) == BEGIN
    for odd in ("", "soon", "Fri, 99 Jan 2027 08:20:00 GMT"):
        clock.learn(odd)
    assert clock() == BEGIN + 20 * 60
    clock.learn("Fri, 15 Jan 2027 08:00:03 GMT")  # what a slow answer may be
    assert clock() == BEGIN
