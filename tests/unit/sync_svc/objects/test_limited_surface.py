"""Limits of a surface by injected clocks: rates, counts, repetitions."""

from __future__ import annotations

import random
from collections.abc import AsyncIterator, Sequence
from typing import Any

import pytest
from workspace.sync.v1.connection_pb2 import Connection
from workspace.sync.v1.run_pb2 import SyncOptions

from services.model.errors import Reason, WorkspaceError
from services.objects.port import ByteRange, ObjectInfo, StoreUnavailable
from services.records.port import ABSENT, DriverUnavailable, Index, Key, Put
from sync_svc.engine.task import Tally
from sync_svc.surfaces.limited import limited
from sync_svc.surfaces.limited_objects import LimitedObjects
from sync_svc.surfaces.limited_records import LimitedRecords
from sync_svc.surfaces.rates import Bucket, Rates, rates_of
from sync_svc.surfaces.surface import Surface
from tests.unit.sync_svc.objects.world import Clock, World, bytes_of, document, put_object, write

KEY = Key("DOCUMENT#d_1", "ARTIFACT#d_1")
OBJECT = "accounts/a_1/projects/p_1/documents/d_1/raw/plan.pdf"


class Failing:
    """A driver whose next calls fail, and that counts all of them."""

    def __init__(self, driver: Any) -> None:
        self.driver = driver
        self.failures: list[Exception] = []
        self.calls: list[str] = []

    def __getattr__(self, name: str) -> Any:
        found = getattr(self.driver, name)
        if not callable(found) or name in ("open_read", "sign", "close"):
            return found

        async def call(*args: Any, **more: Any) -> Any:
            self.calls.append(name)
            if self.failures:
                raise self.failures.pop(0)
            return await found(*args, **more)

        return call

    async def open_read(self, key: str, span: ByteRange | None = None) -> AsyncIterator[bytes]:
        self.calls.append("open_read")
        if self.failures:
            raise self.failures.pop(0)
        async for chunk in self.driver.open_read(key, span):
            yield chunk


class Rig:
    """The remote surface of a world, limited; with what is behind it."""

    def __init__(self, world: World, rates: Rates | None = None) -> None:
        self.clock, self.tally = Clock(0.0), Tally()
        self.records = Failing(world.remote.records.driver)
        self.objects = Failing(world.remote.objects.driver)
        world.wrap_objects("remote", self.objects)
        store = world.remote.records.through(self.records)
        self.surface: Surface = limited(
            world.remote.with_records(store), tally=self.tally, rates=rates,
            monotonic=self.clock, sleep=self.clock.sleep, rng=random.Random(7),
        )

    @property
    def traffic(self) -> Any:
        driver = self.surface.records.driver
        assert isinstance(driver, LimitedRecords)
        return driver.traffic


def test_the_lower_limit_holds_and_zero_is_none() -> None:
    connection = Connection(max_bytes_per_second=100, max_requests_per_second=5)
    assert rates_of(connection, SyncOptions()) == Rates(5, 100)
    lower = SyncOptions(max_bytes_per_second=10, max_requests_per_second=50)
    assert rates_of(connection, lower) == Rates(5, 10)
    assert rates_of(Connection(), SyncOptions()) == Rates(0, 0)


async def test_a_bucket_holds_the_average() -> None:
    clock = Clock(0.0)
    bucket = Bucket(10.0, monotonic=clock, sleep=clock.sleep)
    for _ in range(10):
        await bucket.take(1)
    assert clock.slept == [], "a second's worth is there at the start"
    for _ in range(30):
        await bucket.take(1)
    assert clock.now == pytest.approx(3.0)
    clock.now += 100
    for _ in range(20):
        await bucket.take(1)
    assert clock.now == pytest.approx(104.0), "no more than a second's worth is saved up"


async def test_more_than_a_second_s_worth_passes_in_its_time() -> None:
    clock = Clock(0.0)
    bucket = Bucket(10.0, monotonic=clock, sleep=clock.sleep)
    await bucket.take(50)
    assert clock.now == pytest.approx(4.0)
    free = Bucket(0.0, monotonic=clock, sleep=clock.sleep)
    await free.take(10**12)
    assert clock.now == pytest.approx(4.0)


async def test_calls_are_held_to_their_rate(world: World) -> None:
    rig = Rig(world, Rates(requests=2))
    for _ in range(10):
        await rig.surface.records.get_row(KEY)
    assert rig.clock.now == pytest.approx(4.0)
    assert rig.traffic.record_requests == 10


async def test_bytes_are_held_to_their_rate_in_each_direction(world: World) -> None:
    rig = Rig(world, Rates(bytes=1000))
    data = b"x" * 5000
    await put_object(rig.surface.objects, OBJECT, data)
    assert rig.clock.now == pytest.approx(4.0)
    assert await bytes_of(rig.surface.objects, OBJECT) == data
    assert rig.clock.now == pytest.approx(8.0), "reading has a bucket of its own"
    assert (rig.traffic.bytes_written, rig.traffic.bytes_read) == (5000, 5000)


async def test_records_count_as_bytes(world: World) -> None:
    rig = Rig(world, Rates(bytes=1000))
    body = "x" * 3000
    await rig.surface.records.put_row(Put(KEY, ABSENT, "node", body))
    assert rig.clock.now == pytest.approx(2.0)
    assert rig.traffic.bytes_written == 3000
    await rig.surface.records.get_row(KEY)
    assert rig.clock.now == pytest.approx(4.0)
    assert rig.traffic.bytes_read == 3000


async def test_what_did_not_answer_is_asked_again_with_full_jitter(world: World) -> None:
    rig = Rig(world)
    rig.records.failures = [DriverUnavailable("gone") for _ in range(4)]
    assert await rig.surface.records.get_row(KEY) is None
    assert len(rig.records.calls) == 5
    assert rig.tally.counts.retries == 4
    expected = random.Random(7)
    waits = [expected.uniform(0.0, 0.2 * 2**attempt) for attempt in range(4)]
    assert rig.clock.slept == waits


async def test_after_five_tries_it_is_given_up(world: World) -> None:
    rig = Rig(world)
    rig.records.failures = [DriverUnavailable("gone") for _ in range(9)]
    with pytest.raises(WorkspaceError) as raised:
        await rig.surface.records.get_row(KEY)
    assert raised.value.reason == Reason.ERROR_REASON_BACKEND_UNAVAILABLE
    assert len(rig.records.calls) == 5


async def test_a_commit_that_may_have_happened_is_not_repeated_here(world: World) -> None:
    rig = Rig(world)
    put = Put(KEY, ABSENT, "node", "{}")
    rig.records.failures = [DriverUnavailable("lost", ambiguous=True)]
    with pytest.raises(WorkspaceError):
        await rig.surface.records.put_row(put)
    assert rig.records.calls == ["commit", "batch_get"], "read back, not sent again"
    rig.records.failures = [DriverUnavailable("refused")]
    await rig.surface.records.put_row(put)
    assert rig.tally.counts.retries == 1


async def test_a_read_whose_answer_was_lost_is_repeated(world: World) -> None:
    rig = Rig(world)
    rig.records.failures = [DriverUnavailable("lost", ambiguous=True)]
    assert await rig.surface.records.get_row(KEY) is None
    assert rig.tally.counts.retries == 1


@pytest.mark.parametrize("call", ["get_row", "rows", "scan", "changes", "tail", "run", "identity"])
async def test_every_read_of_records_is_counted_and_repeated(world: World, call: str) -> None:
    await write(world.remote.records, document("d_1", b"x"))
    rig = Rig(world)
    rig.records.failures = [DriverUnavailable("gone")]
    records = rig.surface.records
    answers: dict[str, Any] = {
        "get_row": lambda: records.get_row(KEY),
        "rows": lambda: records.rows([KEY]),
        "scan": lambda: records.scan(None, 10),
        "changes": lambda: records.changes(None),
        "tail": records.tail,
        "run": lambda: records.run(
            Index.BASE, KEY.pk, lower="", upper="~", limit=10, after=None
        ),
        "identity": records.driver.identity,
    }
    assert await answers[call]()
    assert (rig.tally.counts.retries, rig.traffic.record_requests) == (1, 2)


async def test_every_harmless_call_of_objects_is_repeated(world: World) -> None:
    rig = Rig(world)
    objects = rig.surface.objects
    await put_object(objects, OBJECT, b"data")
    calls: Sequence[Any] = (
        lambda: objects.head(OBJECT),
        lambda: objects.list(""),
        lambda: objects.copy(OBJECT, OBJECT + "2"),
        lambda: objects.delete(OBJECT + "2"),
        lambda: objects.multipart_abort(OBJECT, "none"),
    )
    for number, call in enumerate(calls, 1):
        rig.objects.failures = [StoreUnavailable("gone")]
        await call()
        assert rig.tally.counts.retries == number
    assert rig.traffic.object_requests == 1 + 2 * len(calls)


async def test_a_write_whose_bytes_are_used_up_is_not_repeated(world: World) -> None:
    rig = Rig(world)
    rig.objects.failures = [StoreUnavailable("gone")]
    with pytest.raises(WorkspaceError):
        await put_object(rig.surface.objects, OBJECT, b"data")
    assert rig.objects.calls == ["write"]
    rig.objects.failures = [StoreUnavailable("gone")]
    with pytest.raises(WorkspaceError):
        await bytes_of(rig.surface.objects, OBJECT)
    assert rig.tally.counts.retries == 0


async def test_a_multipart_upload_goes_through(world: World) -> None:
    rig = Rig(world)
    driver, files = rig.surface.objects.driver, world.remote.objects.driver
    assert isinstance(driver, LimitedObjects)
    upload = await driver.multipart_create(OBJECT, "text/plain")

    async def chunks() -> AsyncIterator[bytes]:
        yield b"data"

    await files.multipart_put(OBJECT, upload, 1, chunks(), size=4, sha256=None)  # type: ignore[attr-defined]
    parts = await driver.multipart_parts(OBJECT, upload)
    sha256 = "3a6eb0790f39ac87c94f3856b2dd2c5d110e6811602261a9a923d3bb23adc8b7"
    info: ObjectInfo = await driver.multipart_complete(
        OBJECT, upload, parts, size=4, sha256=sha256
    )
    assert (info.size, await bytes_of(rig.surface.objects, OBJECT)) == (4, b"data")
    assert driver.name == "filesystem"
    assert driver.capabilities.max_single_put == files.capabilities.max_single_put


async def test_versions_of_a_limited_store_are_minted_by_the_same_actor(world: World) -> None:
    rig = Rig(world)
    assert rig.surface.records.actor == world.remote.records.actor
    await world.remote.records.become("n_x.i_2")
    assert rig.surface.records.actor == "n_x.i_2"
    await write(rig.surface.records, document("d_1", b"x"))
    assert rig.surface.records.driver.name == world.remote.records.driver.name
    assert rig.surface.records.driver.capabilities == world.remote.records.driver.capabilities
