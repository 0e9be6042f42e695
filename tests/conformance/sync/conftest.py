"""A rig for every kind of surface and every kind of local records."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.conformance.sync.kinds import CASES, Rig
from tests.unit.sync_svc.engine.world import Clock


@pytest.fixture(params=CASES)
async def rig(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    aws_environment: None, azure_environment: None,
) -> AsyncIterator[Rig]:  # fmt: skip
    local, surface = request.param
    made = Rig(
        tmp_path, Clock(time.time()), local_kind=local, surface_kind=surface,
        setenv=monkeypatch.setenv,
    )  # fmt: skip
    await made.open("local", "remote")
    yield made
    await made.close()
