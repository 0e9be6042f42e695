"""A process that slept while another one took its run over."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from workspace.sync.v1.run_pb2 import RunStatus, SyncDirection
from workspace.sync.v1.sync_service_pb2 import StartSyncRequest

import identity_svc.module
import services.processes.workspace
from services.model.errors import Reason, WorkspaceError
from services.records.port import Key, Match, Put
from sync_svc.engine.task import Task
from tests.harness import Workspace
from tests.integration.sync.fake_engine import Connected, Directed, Scene, as_user, eventually

PUSH = SyncDirection.SYNC_DIRECTION_PUSH


class _Beaten(Directed):
    """Its state was changed by another run of the same connection when it goes on."""

    async def work(self, task: Task) -> None:
        await super().work(task)
        raise WorkspaceError(Reason.ERROR_REASON_CONFLICTING_WRITE, "another run changed it")


@pytest.fixture
async def scene(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Scene]:
    only = [identity_svc.module.build]
    monkeypatch.setattr(services.processes.workspace, "find_services", lambda: only)
    async with Workspace.open(tmp_path) as ws:
        opened = Scene(ws.process.kernel, Connected("c_a"), _Beaten())
        as_user("StartSync")
        yield opened
        await opened.manager.close()


@pytest.mark.parametrize("taken", [True, False])
async def test_only_who_has_the_lease_ends_a_run(scene: Scene, taken: bool) -> None:
    scene.directed.go = asyncio.Semaphore(0)
    request = StartSyncRequest(connection_id="c_a", direction=PUSH)
    run_id = (await scene.starting.start(request, PUSH)).run.run_id
    await eventually(lambda: scene.directed.begun == 1)
    if taken:
        key, records = Key("SYNC#c_a", "LEASE"), scene.kernel.records
        item = await records.get_row(key)
        assert item is not None
        body = json.dumps({"holder": "another", "until": scene.kernel.now() + 30})
        await records.put_row(Put(key, Match(item.token), "lease", body))
    scene.directed.go.release()
    await eventually(lambda: not scene.manager._workers)
    record = await scene.rows.get(run_id)
    assert record is not None
    ended = record.message.status == RunStatus.RUN_STATUS_FAILED
    assert ended != taken
    assert await scene.rows.claimed_by("c_a") == (run_id if taken else "")
