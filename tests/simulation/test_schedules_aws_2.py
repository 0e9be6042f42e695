"""Random schedules of the engine with its real drivers, on real servers, part 2 of 2.

WM_SIM_SEEDS and WM_SIM_FIRST as in test_schedules_1.py: a fiftieth of those run on each cloud.
"""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.servers.marks import needs_servers
from tests.simulation.mutants import ENGINE_MUTANTS
from tests.simulation.real_clouds import open_aws_lane
from tests.simulation.real_lane import FIRST, SCHEDULES, first_wrong, schedules

pytestmark = [
    needs_servers, pytest.mark.timeout(900 + 20 * SCHEDULES),
    pytest.mark.usefixtures("aws_environment"),
]  # fmt: skip


async def test_every_store_holds_exactly_what_was_acknowledged(tmp_path: Path) -> None:
    half = SCHEDULES // 2
    rest = SCHEDULES - half
    wrong, counted = await schedules(tmp_path, FIRST + half, rest, open_lane=open_aws_lane)
    assert wrong == []
    assert half < 10 or counted.keys() >= {"write", "push", "pull", "crash"}


# The second takes minutes to be seen here; tests/simulation/test_mutants.py sees it, too.
MUTANTS = ["cursor before data", "record before object"][: None if os.environ.get("WM_SOAK") else 1]


@pytest.mark.parametrize("mutant", MUTANTS)
async def test_an_engine_that_is_wrong_is_caught(tmp_path: Path, mutant: str) -> None:
    with ENGINE_MUTANTS[mutant]():
        assert await first_wrong(tmp_path, open_aws_lane), f"nobody saw: {mutant}"
