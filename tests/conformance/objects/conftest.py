from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.conformance.objects.rigs import DRIVERS, Rig, Row


@pytest.fixture(params=sorted(DRIVERS))
def row(request: pytest.FixtureRequest) -> Row:
    found = DRIVERS[request.param]
    found.require("go")
    found.require("npm")
    return found


@pytest.fixture
async def rig(row: Row, tmp_path: Path) -> AsyncIterator[Rig]:
    async with row.open(tmp_path) as opened:
        yield opened
