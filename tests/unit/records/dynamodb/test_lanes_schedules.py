"""The change feed of DynamoDB over thousands of schedules, and over faults put into it.

Every schedule comes from its seed alone: 3,000 of them, half with windows and quiet
times so small that living processes lose their lanes all the time.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from types import SimpleNamespace
from typing import Any

import pytest

from services.records.dynamodb import feed, fencing, lanes
from services.records.dynamodb.feed_cursor import Place
from services.records.dynamodb.feed_rows import Kind, LaneTable, Row
from services.records.dynamodb.fencing import Run
from services.records.dynamodb.lanes import Lanes, Slot
from services.records.port import ABSENT, DriverUnavailable, Item, Key, Put
from tests.unit.records.dynamodb.simulation import Broken, Table, World, schedule
from tests.unit.records.dynamodb.virtual_time import run

SCHEDULES, SHARES = 3_000, 10
MUTANT_SCHEDULES = 1_500


def play(seed: int, *, void_is_unconditional: bool = False) -> World:
    """One schedule with its own bounds."""
    chosen = random.Random(-seed - 1)
    window, quiet = chosen.choice((2, 3, 4)), chosen.choice((0.5, 5, 3600))
    names = SimpleNamespace(token_hex=lambda size: f"{chosen.getrandbits(8 * size):0{2 * size}x}")
    with pytest.MonkeyPatch.context() as patched:
        for module in (fencing, lanes, feed):
            patched.setattr(module, "WINDOW", window)
        for module in (fencing, lanes):
            patched.setattr(module, "secrets", names)
        patched.setattr(lanes, "QUIET_SECONDS", quiet)
        return run(schedule(seed, void_is_unconditional=void_is_unconditional))


@pytest.mark.parametrize("share", range(SHARES))
def test_no_schedule_misses_invents_or_reorders_a_commit(share: int) -> None:
    commits = kinds = 0
    seen: set[Kind] = set()
    for seed in range(share, SCHEDULES, SHARES):
        world = play(seed)
        commits += len(world.happened)
        seen |= {row.kind for row in world.slots.values()}
        kinds += 1
    assert kinds == SCHEDULES // SHARES
    assert commits > 5 * kinds  # it is not about nothing
    assert seen == set(Kind)


def test_a_schedule_is_the_same_each_time() -> None:
    first, second = play(7), play(7)
    assert first.slots == second.slots
    assert first.happened == second.happened


Mutant = Callable[[pytest.MonkeyPatch], None]


def skips_gaps(patched: pytest.MonkeyPatch) -> None:
    def run_of(rows: Sequence[Row], start: int) -> Run:
        return Run(rows, rows[-1].seq + 1 if rows else start)

    patched.setattr(feed, "run_of", run_of)


def settles_by_reading(patched: pytest.MonkeyPatch) -> None:
    async def settle(self: Lanes, slot: Slot, mark: str) -> bool:
        found = await self._table.rows(slot.lane, slot.seq, 1)
        if found and found[0].seq == slot.seq and found[0].mark == mark:
            self.landed(slot)
            return True
        self._lost(self._owned[slot.lane], slot.seq, None)
        return False

    patched.setattr(Lanes, "settle", settle)


def ends_without_condition(patched: pytest.MonkeyPatch) -> None:
    async def end_lane(table: Any, lane: str, end: int, *, at: int) -> int:
        table.world.slots[(lane, end)] = Row(lane, end, Kind.END, at, end, "x", next=end + 1)
        return end + 1

    patched.setattr(lanes, "end_lane", end_lane)


def takes_the_tail_after_the_scan(patched: pytest.MonkeyPatch) -> None:
    walk = feed.Feed._walk

    async def late(self: feed.Feed, place: Place, limit: int) -> list[Item]:
        before = place.scan
        items = await walk(self, place, limit)
        if before is not None and place.scan is None:
            place.next = await self._ends()
        return items

    patched.setattr(feed.Feed, "_walk", late)


def takes_the_highest_row_for_the_end(patched: pytest.MonkeyPatch) -> None:
    async def end_of(table: LaneTable, lane: str) -> fencing.LaneEnd:
        last = await table.last(lane)
        return fencing.LaneEnd(last.seq + 1 if last else 1, False, last)

    patched.setattr(feed, "end_of", end_of)


def waits_for_nothing_that_was_before(patched: pytest.MonkeyPatch) -> None:
    patched.setattr(feed, "_is_ready", lambda *_: True)


def uses_any_slot_again(patched: pytest.MonkeyPatch) -> None:
    issue = lanes._Lane.issue

    def again(self: lanes._Lane) -> int | None:
        if not self.given:
            return issue(self)
        seq = min(self.given)
        self.given.discard(seq)
        self.open.add(seq)
        return seq

    patched.setattr(lanes._Lane, "issue", again)
    patched.setattr(lanes._Lane, "holes", lambda self: [])


def reads_items_before_they_are_there(patched: pytest.MonkeyPatch) -> None:
    patched.setattr(feed.Feed, "_is_pending", lambda *_: False)


def takes_what_is_absent_for_gone(patched: pytest.MonkeyPatch) -> None:
    patched.setattr(
        feed.Feed, "_is_pending",
        lambda _self, _row, change, item, _settled: item is not None and item.token == change.was,
    )


def calls_a_page_complete_despite_gaps(patched: pytest.MonkeyPatch) -> None:
    patched.setattr(feed, "_is_all", lambda *_: True)


@pytest.mark.parametrize(
    "mutant",
    [
        skips_gaps,
        settles_by_reading,
        ends_without_condition,
        takes_the_tail_after_the_scan,
        takes_the_highest_row_for_the_end,
        waits_for_nothing_that_was_before,
        uses_any_slot_again,
        reads_items_before_they_are_there,
        takes_what_is_absent_for_gone,
        calls_a_page_complete_despite_gaps,
    ],
)
def test_a_fault_is_found(mutant: Mutant, monkeypatch: pytest.MonkeyPatch) -> None:
    mutant(monkeypatch)
    with pytest.raises(Broken):
        play_all()


def test_a_void_that_overwrites_is_found() -> None:
    with pytest.raises(Broken):
        play_all(void_is_unconditional=True)


def test_what_the_former_owner_has_under_way_cannot_land_behind_end() -> None:
    async def story() -> None:
        world = World(random.Random(1), 0.0, 0.0)
        first = Lanes(Table(world), clock=lambda: 1000.0)
        slots = [await first.reserve() for _ in range(3)]
        assert await world.transact(*commit(first, slots[0])) == "landed"
        first.landed(slots[0])
        later = Lanes(Table(world), clock=lambda: 1000.0 + fencing.QUIET_SECONDS + 1)
        taken = await later.reserve()
        assert taken.lane == slots[0].lane
        assert taken.seq > slots[0].seq + fencing.WINDOW
        for slot in slots[1:]:
            assert await world.transact(*commit(first, slot)) == "fenced"
            await first.fenced(slot)
        assert (await first.reserve()).lane != taken.lane

    run(story())


def commit(owner: Lanes, slot: Slot) -> tuple[Row, list[Put]]:
    puts = [Put(Key("P#0", f"{slot.seq}{name}"), ABSENT, "test", "1") for name in "ab"]
    return owner.row(slot, "P#0", puts, f"mark{slot.seq}"), puts


def play_all(*, void_is_unconditional: bool = False) -> None:
    for seed in range(MUTANT_SCHEDULES):
        play(seed, void_is_unconditional=void_is_unconditional)


async def test_a_lane_that_cannot_be_told_is_left() -> None:
    """The unclear answer stays unclear for the caller when the table is silent."""
    world = World(random.Random(1), 0.0, 0.0)

    class Silent:
        async def lanes(self) -> dict[str, int]:
            return {}

        async def register(self, lane: str, at: int) -> None:
            world.listed[lane] = at

        async def add(self, row: Row) -> Row | None:
            raise DriverUnavailable("silent")

        async def rows(self, lane: str, start: int, limit: int) -> list[Row]:
            return []

        async def last(self, lane: str) -> Row | None:
            return None

    writer = Lanes(Silent(), clock=lambda: 1000.0)
    slot = await writer.reserve()
    with pytest.raises(DriverUnavailable) as unclear:
        await writer.settle(slot, "mark")
    assert unclear.value.ambiguous
    assert (await writer.reserve()).lane != slot.lane
    await writer.close()
