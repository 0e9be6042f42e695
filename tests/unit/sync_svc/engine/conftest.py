"""Surfaces of a test's own."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.unit.sync_svc.engine.world import Clock, World


@pytest.fixture
def unordered() -> bool:
    """Whether the stores scan their partitions in an order of their own."""
    return False


@pytest.fixture
async def world(tmp_path: Path, unordered: bool) -> AsyncIterator[World]:
    made = World(tmp_path, Clock(), unordered=unordered)
    await made.open("local", "remote")
    yield made
    await made.close()
