"""Two surfaces of a test's own."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.unit.sync_svc.objects.world import Clock, World, open_surface


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    clock = Clock()
    names = ("local", "remote")
    made = World(tmp_path, clock, {n: await open_surface(tmp_path, n, clock) for n in names})
    yield made
    await made.close()
