"""Which schedules are run: the same 500 in every test run, others at night."""

from __future__ import annotations

import os

from tests.simulation.real_engine import RealEngine
from tests.simulation.world import Plan, simulate

__all__ = ["CHUNK", "CHUNKS", "chunk"]

CHUNKS = 10
_FIRST = int(os.environ.get("WM_SIM_FIRST", "0"))
CHUNK = max(1, int(os.environ.get("WM_SIM_SEEDS", "500")) // CHUNKS)


def chunk(number: int) -> dict[int, str]:
    """What went wrong, by seed, in one part of the schedules."""
    first = _FIRST + number * CHUNK
    outcomes = (simulate(RealEngine(), seed, Plan()) for seed in range(first, first + CHUNK))
    return {each.seed: each.violation for each in outcomes if each.violation}
