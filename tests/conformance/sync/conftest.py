"""A rig for every kind of surface and every kind of local records."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.conformance.sync.kinds import CASES, Rig
from tests.unit.sync_svc.engine.world import Clock


@pytest.fixture(params=CASES, ids=lambda case: f"{case[0]}-to-{case[1]}")
async def rig(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Rig]:
    local, surface = request.param
    made = Rig(tmp_path, Clock(time.time()), local_kind=local, surface_kind=surface)
    await made.open("local", "remote")
    yield made
    await made.close()
