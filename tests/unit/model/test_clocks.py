"""The hybrid clock never goes back and its readings sort as text."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.model.clocks import HLC_WIDTH, HybridClock, hlc_millis


@given(st.lists(st.integers(0, 2**40), min_size=2, max_size=30))
def test_strictly_increasing_over_any_wall_clock(walls: list[int]) -> None:
    times = iter(walls)
    clock = HybridClock(lambda: next(times))
    readings = [clock.now() for _ in walls]
    assert readings == sorted(set(readings))
    assert {len(reading) for reading in readings} == {HLC_WIDTH}


def test_a_full_counter_moves_to_the_next_millisecond() -> None:
    clock = HybridClock(lambda: 1000)
    last = [clock.now() for _ in range(100_001)][-1]
    assert last == "0000000001001.00000"


def test_observed_readings_are_never_undercut() -> None:
    clock = HybridClock(lambda: 5)
    clock.observe("0000000009000.00007")
    assert clock.now() == "0000000009000.00008"
    assert hlc_millis(clock.now()) == 9000


def test_threads_never_get_the_same_reading() -> None:
    clock = HybridClock(lambda: 7)
    with ThreadPoolExecutor(8) as pool:
        readings = list(pool.map(lambda _: clock.now(), range(2000)))
    assert len(set(readings)) == 2000


@pytest.mark.parametrize("text", ["", "12.3", "x" * HLC_WIDTH, "1763690000123 00000"])
def test_other_text_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r".+"):
        HybridClock(lambda: 0).observe(text)
