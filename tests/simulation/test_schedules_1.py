"""Random schedules of the real engine, part 1 of 2 (each part is for one test process).

A seed that fails is a bug: `simulate(RealEngine(), seed, log=True).log` tells the story.
WM_SIM_SEEDS says how many there are in all (`make simulate`), WM_SIM_FIRST where to begin.
"""

from __future__ import annotations

import pytest

from tests.simulation.seeds import CHUNK, CHUNKS, chunk


@pytest.mark.timeout(60 + 4 * CHUNK)
@pytest.mark.parametrize("number", range(0 + CHUNKS // 2))
def test_every_store_holds_exactly_what_survived(number: int) -> None:
    assert chunk(number) == {}
