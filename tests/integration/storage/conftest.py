"""A running workspace with ann's project; bob and eve are strangers to it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.harness import Workspace
from tests.integration.storage.people import ANN, BOB, EVE, Desk


@pytest.fixture
async def desk(tmp_path: Path) -> AsyncIterator[Desk]:
    async with Workspace.open(tmp_path) as ws:
        for email in (ANN, BOB, EVE):
            await ws.sign_in(email)
        opened = Desk(ws)
        opened.project_id = await opened.new_project()
        yield opened
