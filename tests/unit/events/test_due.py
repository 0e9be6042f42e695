"""Due work: idempotent, at least once, caught up after downtime, harmless twice."""

from __future__ import annotations

import asyncio

import pytest

from services.events import due as due_module
from services.events.due import DueWork
from services.records.store import RecordStore

START = 1_790_000_000.0


class Clock:
    def __init__(self) -> None:
        self.now = START

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def due(records: RecordStore, clock: Clock) -> DueWork:
    return DueWork(records, now=clock)


class Handler:
    """Notes what it was given; answers `again`, or raises."""

    def __init__(self, *, again: float | None = None, failures: int = 0) -> None:
        self.subjects: list[str] = []
        self.again = again
        self.failures = failures

    async def __call__(self, subject: str) -> float | None:
        self.subjects.append(subject)
        if self.failures:
            self.failures -= 1
            raise RuntimeError("not yet")
        again, self.again = self.again, None
        return again


async def test_nothing_is_due_in_a_new_store(due: DueWork) -> None:
    assert await due.run({}) == 0


async def test_work_runs_when_it_is_due_and_once(due: DueWork, clock: Clock) -> None:
    handler = Handler()
    await due.schedule("purge", "p_one", START + 10)
    assert await due.run({"purge": handler}) == 0
    clock.now += 10
    assert await due.run({"purge": handler}) == 1
    assert await due.run({"purge": handler}) == 0
    assert handler.subjects == ["p_one"]


async def test_scheduling_is_idempotent(due: DueWork, clock: Clock) -> None:
    handler = Handler()
    for _ in range(3):
        await due.schedule("purge", "p_one", START + 10)
    await asyncio.gather(*(due.schedule("purge", "p_one", START + 10) for _ in range(5)))
    clock.now += 10
    assert await due.run({"purge": handler}) == 1


async def test_what_was_handled_can_be_scheduled_for_the_same_time_again(
    due: DueWork, clock: Clock
) -> None:
    handler = Handler()
    for _ in range(2):
        await due.schedule("purge", "p_one", START)
        assert await due.run({"purge": handler}) == 1
    assert handler.subjects == ["p_one", "p_one"]


async def test_work_scheduled_while_it_is_being_handled_is_not_lost(
    due: DueWork, clock: Clock
) -> None:
    """The handler may have read the state before the effect of the second call."""
    seen: list[str] = []

    async def handler(subject: str) -> None:
        seen.append(subject)
        if len(seen) == 1:
            await due.schedule("purge", subject, START)

    await due.schedule("purge", "p_one", START)
    assert await due.run({"purge": handler}) == 1
    assert await due.run({"purge": handler}) == 1
    assert seen == ["p_one", "p_one"]


async def test_a_handler_that_asks_for_now_is_asked_again(due: DueWork, clock: Clock) -> None:
    handler = Handler(again=START)
    await due.schedule("purge", "p_one", START)
    await due.run({"purge": handler})
    await due.run({"purge": handler})
    assert handler.subjects == ["p_one", "p_one"]


async def test_a_handler_can_ask_for_later(due: DueWork, clock: Clock) -> None:
    handler = Handler(again=START + 7200)
    await due.schedule("purge", "p_one", START)
    await due.run({"purge": handler})
    assert await due.run({"purge": handler}) == 0
    clock.now += 7200
    assert await due.run({"purge": handler}) == 1


async def test_a_failed_handler_is_tried_again_and_stops_nobody(
    due: DueWork, clock: Clock
) -> None:
    bad, good = Handler(failures=2), Handler()
    await due.schedule("bad", "x", START)
    await due.schedule("good", "y", START)
    handlers = {"bad": bad, "good": good}
    await due.run(handlers)
    assert (bad.subjects, good.subjects) == (["x"], ["y"])
    for _ in range(3):
        clock.now += 60
        await due.run(handlers)
    assert bad.subjects == ["x"] * 3


async def test_a_cut_off_run_leaves_its_row(due: DueWork) -> None:
    started = asyncio.Event()

    async def stuck(_: str) -> None:
        started.set()
        await asyncio.Event().wait()

    await due.schedule("purge", "p_one", START)
    run = asyncio.ensure_future(due.run({"purge": stuck}))
    await started.wait()
    run.cancel()
    await asyncio.gather(run, return_exceptions=True)
    handler = Handler()
    assert await due.run({"purge": handler}) == 1


async def test_a_slow_handler_does_not_hold_up_the_others_of_its_page(due: DueWork) -> None:
    others = asyncio.Event()

    async def slow(_: str) -> None:
        await others.wait()

    async def quick(_: str) -> None:
        others.set()

    for number in range(8):
        await due.schedule("slow", f"s_{number}", START)
        await due.schedule("quick", f"q_{number}", START)
    assert await due.run({"slow": slow, "quick": quick}) == 16


async def test_a_slow_handler_does_not_hold_up_later_work(
    due: DueWork, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As the relocation of a large project that goes on after a restart."""
    later, ended, begun = asyncio.Event(), asyncio.Event(), 0

    async def slow(_: str) -> None:
        nonlocal begun
        begun += 1
        await later.wait()
        ended.set()

    async def quick(_: str) -> None:
        later.set()

    handlers = {"slow": slow, "quick": quick}
    await due.schedule("slow", "s", START)
    with monkeypatch.context() as impatient:
        impatient.setattr(due_module, "_PATIENCE_SECONDS", 0.01)
        assert await due.run(handlers) == 0
        clock.now += 3 * 3600
        assert await due.run(handlers) == 0
    async with asyncio.timeout(20):
        await due.schedule("quick", "q", clock.now)
        assert await due.run(handlers) == 1
        await ended.wait()
        while due._at_work:  # noqa: ASYNC110 - its row is being taken away
            await asyncio.sleep(0.001)
    assert await due.run(handlers) == 0
    assert begun == 1


async def test_closing_cancels_what_is_at_work_and_keeps_its_row(
    due: DueWork, monkeypatch: pytest.MonkeyPatch
) -> None:
    cancelled = asyncio.Event()

    async def stuck(_: str) -> None:
        try:
            await asyncio.Event().wait()
        finally:
            cancelled.set()

    await due.schedule("stuck", "s", START)
    with monkeypatch.context() as impatient:
        impatient.setattr(due_module, "_PATIENCE_SECONDS", 0.01)
        assert await due.run({"stuck": stuck}) == 0
    await due.close()
    assert cancelled.is_set()
    handler = Handler()
    assert await due.run({"stuck": handler}) == 1


async def test_an_unknown_kind_waits_and_the_watermark_with_it(
    due: DueWork, clock: Clock
) -> None:
    await due.schedule("foreign", "x", START)
    for _ in range(5):
        clock.now += 3600
        assert await due.run({}) == 0
    late = Handler()
    assert await due.run({"foreign": late}) == 1
    assert late.subjects == ["x"]


async def test_days_of_downtime_are_caught_up(due: DueWork, clock: Clock) -> None:
    for hour in range(0, 72, 5):
        await due.schedule("purge", f"p_{hour}", START + hour * 3600)
    clock.now += 72 * 3600
    handler = Handler()
    assert await due.run({"purge": handler}) == 15
    assert sorted(handler.subjects) == sorted(f"p_{hour}" for hour in range(0, 72, 5))
    assert await due.run({"purge": handler}) == 0


async def test_the_watermark_passes_hours_that_are_done(
    due: DueWork, records: RecordStore, clock: Clock
) -> None:
    await due.schedule("purge", "p_one", START)
    clock.now += 48 * 3600
    await due.run({"purge": Handler()})
    reads: list[str] = []
    run = records.run

    async def counted(index: object, partition: str, **more: object) -> object:
        reads.append(partition)
        return await run(index, partition, **more)  # type: ignore[arg-type]

    records.run = counted  # type: ignore[method-assign,assignment]
    await due.run({})
    assert len(reads) == 8, "the last hour and this one, four shards each"


async def test_more_rows_than_a_page(due: DueWork, clock: Clock) -> None:
    for number in range(300):
        await due.schedule("purge", f"p_{number:03}", START)
    handler = Handler()
    assert await due.run({"purge": handler}) == 300
    assert len(set(handler.subjects)) == 300


async def test_two_runners_at_once_are_harmless(
    due: DueWork, records: RecordStore, clock: Clock
) -> None:
    other = DueWork(records, now=clock)
    for number in range(50):
        await due.schedule("purge", f"p_{number}", START)
    handler = Handler()
    await asyncio.gather(*(each.run({"purge": handler}) for each in (due, other, due)))
    assert set(handler.subjects) == {f"p_{number}" for number in range(50)}
    assert await other.run({"purge": handler}) == 0


async def test_a_time_that_has_passed_is_due_now(due: DueWork, clock: Clock) -> None:
    await due.schedule("first", "x", START)
    clock.now += 30 * 3600
    await due.run({"first": Handler()})
    handler = Handler()
    await due.schedule("purge", "p_old", START)
    assert await due.run({"purge": handler}) == 1
