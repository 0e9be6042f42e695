"""Two processes on one PostgreSQL and one data folder: a connection has one run at a
time, whoever serves the call; either tells of it, and ends it; and the run of a process
that was killed is gone on with by the other."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import AsyncIterator, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import grpc
import grpc.aio
import pytest
from workspace.sync.v1.run_pb2 import RunStatus, SyncDirection
from workspace.sync.v1.sync_service_pb2 import (
    CancelRunRequest,
    GetRunRequest,
    StartSyncRequest,
    WatchRunRequest,
)

from services.rpc.errors import error_info, peer_status
from tests.chosen_records import postgres_of
from tests.e2e.serving import ANN as WHO
from tests.e2e.serving import Serving
from tests.harness import Workspace
from tests.integration.sync.faults import between
from tests.integration.sync.nodes import ANN, Node

PUSH, PULL = SyncDirection.SYNC_DIRECTION_PUSH, SyncDirection.SYNC_DIRECTION_PULL


class Gate:
    """What the surfaces of this test wait for before each commit of a project."""

    def __init__(self) -> None:
        self.reached = asyncio.Event()
        self.open = asyncio.Event()

    def wrap(self, inner: Any) -> Any:
        gate = self

        class Gated:
            def __getattr__(self, name: str) -> Any:
                return getattr(inner, name)

            async def commit(self, pk: str, puts: Any) -> Any:
                if pk.startswith("PROJECT#"):
                    gate.reached.set()
                    await gate.open.wait()
                return await inner.commit(pk, puts)

        return Gated()


@pytest.fixture
async def pair(tmp_path: Path) -> AsyncIterator[tuple[Node, Node]]:
    """One workspace, served by two."""
    settings = postgres_of(tmp_path)
    async with (
        Node.open(tmp_path, **settings) as one,
        Workspace.open(tmp_path, local_realm="home", **settings) as two,
    ):
        await two.sign_in(ANN)
        yield one, Node(two, tmp_path)


async def active(call: Any) -> str:
    """The run because of which the call is refused."""
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call
    assert caught.value.code() == grpc.StatusCode.ABORTED
    status = peer_status(caught.value)
    info = error_info(status) if status else None
    assert info is not None
    assert info.reason == "ERROR_REASON_RUN_ACTIVE"
    return str(info.metadata["run_id"])


async def test_a_connection_has_one_run_whoever_serves_the_call(
    pair: tuple[Node, Node], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    one, two = pair
    gate = Gate()
    between(monkeypatch, gate.wrap)
    await one.connect(tmp_path / "backup")
    await one.project()
    start = StartSyncRequest(connection_id="backup", direction=PUSH)
    run_id = (await one.sync.StartSync(start)).run.run_id
    await gate.reached.wait()
    for node in pair:
        for direction in (PUSH, PULL):
            again = StartSyncRequest(connection_id="backup", direction=direction)
            assert await active(node.sync.StartSync(again)) == run_id
    there = (await two.sync.GetRun(GetRunRequest(run_id=run_id))).run
    assert there.status == RunStatus.RUN_STATUS_RUNNING
    await two.sync.CancelRun(CancelRunRequest(run_id=run_id))
    watching = asyncio.ensure_future(_watched(two, run_id))
    await asyncio.sleep(0)
    gate.open.set()
    assert await watching in (
        RunStatus.RUN_STATUS_CANCELLED, RunStatus.RUN_STATUS_SUCCEEDED
    )
    assert (await two.push()).status == RunStatus.RUN_STATUS_SUCCEEDED
    assert (await one.pull()).status == RunStatus.RUN_STATUS_SUCCEEDED
    assert (await two.push()).counts.records_written == 0


async def _watched(node: Node, run_id: str) -> Any:
    status = RunStatus.RUN_STATUS_UNSPECIFIED
    async for message in node.sync.WatchRun(WatchRunRequest(run_id=run_id)):
        status = message.progress.run.status
    return status


async def test_of_many_starts_at_once_one_begins(pair: tuple[Node, Node], tmp_path: Path) -> None:
    await pair[0].connect(tmp_path / "backup")
    await pair[0].project()
    for _ in range(3):
        starts = [
            node.sync.StartSync(StartSyncRequest(connection_id="backup", direction=direction))
            for node in pair for direction in (PUSH, PULL)
        ]
        answers = await asyncio.gather(*starts, return_exceptions=True)
        begun = [each.run.run_id for each in answers if not isinstance(each, BaseException)]
        refused = [each for each in answers if isinstance(each, grpc.aio.AioRpcError)]
        assert len(begun) + len(refused) == 4
        assert begun
        for run_id in begun:
            assert await _watched(pair[1], run_id) in (
                RunStatus.RUN_STATUS_SUCCEEDED, RunStatus.RUN_STATUS_SUCCEEDED_WITH_ISSUES
            )
    await pair[0].push()  # the first of all, if each time a pull began
    assert (await pair[1].push()).counts.records_written == 0


@pytest.fixture
def served(tmp_path: Path) -> Iterator[Serving]:
    serving = Serving(tmp_path)
    settings = postgres_of(serving.data)
    serving.env |= {f"WM_{name.upper()}": str(value) for name, value in settings.items()}
    serving.start()
    yield serving
    if serving.process is not None:
        serving.end(signal.SIGKILL)


@pytest.mark.timeout(300)  # a dozen of processes
def test_the_run_of_a_killed_process_is_gone_on_with(served: Serving, tmp_path: Path) -> None:
    """kill -9 in the middle of a slow push: the next process takes the run when its lease
    has ended, and there is one run, with everything, not two."""
    served.wm("login", "--as", WHO)
    served.wm("users", "bootstrap-admin")
    served.wm("projects", "create", "Plans")
    tree = tmp_path / "tree"
    tree.mkdir()
    for number in range(12):
        (tree / f"{number}.txt").write_text(f"text {number}")
    served.wm("import", tree, "-p", "Plans")
    served.wm("connections", "add", "backup", f"folder={tmp_path / 'backup'}", "--trust", "full")
    slow = ("--max-requests", "10")
    run_id = served.json("sync", "push", "backup", "--detach", *slow)["run_id"]
    served.end(signal.SIGKILL)
    with suppress(FileNotFoundError):
        (served.data / "endpoint.json").unlink()
    served.start()
    assert run_id in served.wm("sync", "push", "backup", code=6)
    assert "succeeded" in served.wm("sync", "watch", run_id)
    [run] = served.json("sync", "runs", "backup")["runs"]
    assert run["run_id"] == run_id
    served.wm("sync", "pull", "backup")
    served.wm("sync", "push", "backup")
    assert "equal" in served.wm("sync", "compare", "backup")


