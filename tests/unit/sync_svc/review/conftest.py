"""Surfaces of a test's own."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.unit.sync_svc.engine.world import Clock, World


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    made = World(tmp_path, Clock())
    await made.open("local", "remote", "third")
    yield made
    await made.close()
