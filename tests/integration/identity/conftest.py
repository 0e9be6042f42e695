from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

import identity_svc.module
import project_svc.module
import services.processes.workspace
from services.processes.workspace import WorkspaceProcess
from tests.harness import Workspace
from tests.integration.identity.post import Post


@pytest.fixture
async def ws(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Workspace]:
    """A process that serves identity and project: what these tests are about."""
    monkeypatch.setattr(
        services.processes.workspace,
        "find_services",
        lambda: [identity_svc.module.build, project_svc.module.build],
    )
    async with Workspace.open(tmp_path) as workspace:
        yield workspace


@pytest.fixture
async def post(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Post]:
    """Like `ws`, but its background loops are driven by the test."""
    modules = [identity_svc.module.build, project_svc.module.build]
    monkeypatch.setattr(services.processes.workspace, "find_services", lambda: modules)
    monkeypatch.setattr(WorkspaceProcess, "_start_background", lambda _: None)
    async with Workspace.open(tmp_path) as ws:
        opened = Post(ws, tmp_path / "outbox")
        await opened.enter()
        yield opened
