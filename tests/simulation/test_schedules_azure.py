"""Random schedules of the engine with its drivers of Azure: the fake of Cosmos DB, and Azurite.

WM_SIM_SEEDS and WM_SIM_FIRST as in test_schedules_1.py: a fiftieth of those run on each cloud.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.servers.marks import needs_azurite
from tests.simulation.mutants import ENGINE_MUTANTS
from tests.simulation.real_clouds import open_azure_lane
from tests.simulation.real_lane import FIRST, SCHEDULES, first_wrong, schedules

pytestmark = [
    needs_azurite, pytest.mark.timeout(900 + 20 * SCHEDULES),
    pytest.mark.usefixtures("azure_environment"),
]  # fmt: skip


async def test_every_store_holds_exactly_what_was_acknowledged(tmp_path: Path) -> None:
    wrong, counted = await schedules(tmp_path, FIRST, SCHEDULES, open_lane=open_azure_lane)
    assert wrong == []
    assert SCHEDULES < 10 or counted.keys() >= {"write", "push", "pull", "crash"}


async def test_an_engine_that_is_wrong_is_caught(tmp_path: Path) -> None:
    with ENGINE_MUTANTS["cursor before data"]():
        assert await first_wrong(tmp_path, open_azure_lane)
