"""Two surfaces of a test's own."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.unit.sync_svc.objects.world import Clock, World, open_surface


@pytest.fixture
def unordered() -> bool:
    """Whether the stores scan their partitions in an order of their own."""
    return False


@pytest.fixture
async def world(tmp_path: Path, unordered: bool) -> AsyncIterator[World]:
    clock = Clock()
    names = ("local", "remote")
    surfaces = {
        name: await open_surface(tmp_path, name, clock, unordered=unordered) for name in names
    }
    made = World(tmp_path, clock, surfaces)
    yield made
    await made.close()
