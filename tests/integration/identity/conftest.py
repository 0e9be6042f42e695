from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

import identity_svc.module
import project_svc.module
import services.process
from tests.harness import Workspace


@pytest.fixture
async def ws(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Workspace]:
    """A process that serves identity and project: what these tests are about."""
    monkeypatch.setattr(
        services.process,
        "find_services",
        lambda: [identity_svc.module.build, project_svc.module.build],
    )
    async with Workspace.open(tmp_path) as workspace:
        yield workspace
