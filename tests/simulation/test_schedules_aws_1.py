"""Random schedules of the engine with its real drivers, on real servers, part 1 of 2.

WM_SIM_SEEDS and WM_SIM_FIRST as in test_schedules_1.py: a fiftieth of those run on each cloud.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.servers.marks import needs_servers
from tests.simulation.real_clouds import open_aws_lane
from tests.simulation.real_lane import FIRST, SCHEDULES, schedules

pytestmark = [
    needs_servers, pytest.mark.timeout(900 + 20 * SCHEDULES),
    pytest.mark.usefixtures("aws_environment"),
]  # fmt: skip


async def test_every_store_holds_exactly_what_was_acknowledged(tmp_path: Path) -> None:
    half = SCHEDULES // 2
    wrong, counted = await schedules(tmp_path, FIRST, half, open_lane=open_aws_lane)
    assert wrong == []
    assert half < 10 or counted.keys() >= {"write", "push", "pull", "crash"}
