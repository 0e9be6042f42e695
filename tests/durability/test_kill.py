"""kill -9 of a whole server, again and again, while clients write over gRPC (D01, D16).

What this proves: an acknowledged call has left the process for the kernel, no
call is half done, and a repeat has one effect. It cannot tell `synchronous=FULL`
from `OFF`: the kernel keeps what a killed process wrote. Losing the kernel's
memory too (power loss) needs a file system that drops unsynced pages. So the
control here is a server that acknowledges before it commits; the checker must
catch that one.
"""

from __future__ import annotations

import asyncio
import os
import random
import uuid
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import grpc
import grpc.aio
import pytest
from workspace.identity.v1 import identity_service_pb2 as ids
from workspace.identity.v1.account_service_pb2 import ListAccountsRequest
from workspace.identity.v1.account_service_pb2_grpc import AccountServiceStub
from workspace.identity.v1.identity_service_pb2_grpc import IdentityServiceStub
from workspace.project.v1.project_service_pb2 import (
    CreateProjectRequest,
    GetProjectRequest,
    ListProjectsRequest,
)
from workspace.project.v1.project_service_pb2_grpc import ProjectServiceStub

from tests.durability.checker import problems
from tests.server_process import ServerProcess

ANN = "ann@example.com"
SOAK = bool(os.environ.get("WM_SOAK"))
CYCLES = 1000 if SOAK else 15
WRITERS = 6
KILLED = (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.CANCELLED)
pytestmark = [pytest.mark.durability, pytest.mark.timeout(7200 if SOAK else 300)]


@dataclass
class Ledger:
    """What the clients know: acknowledged projects, and calls without an answer."""

    acked: dict[str, str] = field(default_factory=dict)
    open_calls: set[str] = field(default_factory=set)

    async def create(self, stub: Any, request_id: str) -> None:
        self.open_calls.add(request_id)
        request = CreateProjectRequest(name=f"Project {request_id}", request_id=request_id)
        made = (await stub.CreateProject(request)).project.project_id
        assert self.acked.setdefault(request_id, made) == made, "a repeat had another effect"
        self.open_calls.discard(request_id)


async def write_until_killed(server: ServerProcess, token: str, ledger: Ledger, acks: int) -> None:
    """Concurrent writers; the server is killed after `acks` acknowledgements."""
    killing = asyncio.Event()

    async def write(stub: Any) -> None:
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await write_on(stub)
        assert caught.value.code() in KILLED, caught.value

    async def write_on(stub: Any) -> None:
        while True:
            await ledger.create(stub, str(uuid.uuid4()))
            if len(ledger.acked) >= acks:
                killing.set()

    channels = [server.channel(token) for _ in range(WRITERS)]
    writers = [asyncio.create_task(write(ProjectServiceStub(c))) for c in channels]
    reached = asyncio.create_task(killing.wait())
    await asyncio.wait([reached, *writers], return_when=asyncio.FIRST_COMPLETED)
    reached.cancel()
    await server.kill()
    await asyncio.gather(*writers)


async def lost(
    server: ServerProcess, token: str, ledger: Ledger, *, since: int = 0
) -> list[str]:
    """Acknowledged projects that are not there, but for the first `since`."""
    stub = ProjectServiceStub(server.channel(token))
    few = asyncio.Semaphore(32)  # below the server's limit of streams

    async def missing(project_id: str) -> bool:
        try:
            async with few:
                await stub.GetProject(GetProjectRequest(project_id=project_id))
        except grpc.aio.AioRpcError as error:
            if error.code() is not grpc.StatusCode.PERMISSION_DENIED:
                raise
            return True
        return False

    projects = list(ledger.acked.values())[since:]
    gone = await asyncio.gather(*map(missing, projects))
    return [project for project, is_gone in zip(projects, gone, strict=True) if is_gone]


async def all_projects(server: ServerProcess, token: str) -> list[str]:
    stub, found, page = ProjectServiceStub(server.channel(token)), [], ""
    while True:
        answer = await stub.ListProjects(ListProjectsRequest(page_size=500, page_token=page))
        found += [project.project_id for project in answer.projects]
        page = answer.next_page_token
        if not page:
            return found


async def test_kill_9_loses_nothing_acknowledged_and_repeats_have_one_effect(
    tmp_path: Path,
) -> None:
    data, ledger, chance = tmp_path / "wm-data", Ledger(), random.Random(7)
    async with ServerProcess.start(data) as server:
        await server.sign_in(ANN)
    checked = 0
    for cycle in range(CYCLES):
        async with ServerProcess.start(data) as server:
            token = await server.token(ANN)
            assert await lost(server, token, ledger, since=checked) == []
            checked = len(ledger.acked)
            stub = ProjectServiceStub(server.channel(token))
            for request_id in sorted(ledger.open_calls):  # had it an effect? the same again
                await ledger.create(stub, request_id)
            acks = len(ledger.acked) + chance.randrange(1, 40)
            await write_until_killed(server, token, ledger, acks)
        if cycle % 10 == 0 or not SOAK:
            assert await problems(data) == []
    assert await problems(data) == []
    async with ServerProcess.start(data) as server:
        token = await server.token(ANN)
        stub = ProjectServiceStub(server.channel(token))
        for request_id in sorted(ledger.open_calls):
            await ledger.create(stub, request_id)
        assert await lost(server, token, ledger) == []
        assert sorted(await all_projects(server, token)) == sorted(ledger.acked.values())


_ACKNOWLEDGES_FIRST = """
import asyncio
from services.records.sql import SqliteDriver
_commit, _later = SqliteDriver.commit, set()

async def commit(self, pk, puts):
    if not pk.startswith("PROJECT#"):
        return await _commit(self, pk, puts)
    async def later():
        await asyncio.sleep(0.2)
        await _commit(self, pk, puts)
    task = asyncio.ensure_future(later())
    _later.add(task)
    task.add_done_callback(_later.discard)
    return ["not yet"] * len(puts)

SqliteDriver.commit = commit
"""


async def test_a_server_that_acknowledges_too_early_is_caught(tmp_path: Path) -> None:
    """The control of the test above: same writers, same kill, same checker."""
    data, ledger = tmp_path / "wm-data", Ledger()
    async with ServerProcess.start(data, prelude=_ACKNOWLEDGES_FIRST) as server:
        token = await server.sign_in(ANN)
        await write_until_killed(server, token, ledger, 30)
    async with ServerProcess.start(data) as server:
        assert await lost(server, await server.token(ANN), ledger) != []


_DIES_IN_SIGN_IN = """
import os, pathlib, signal
from services.records.sql import SqliteDriver
_commit = SqliteDriver.commit
_left = [{survives}]

async def commit(self, pk, puts):
    if not pathlib.Path("armed").exists():
        return await _commit(self, pk, puts)
    if _left[0] == 0 and {before}:
        os.kill(os.getpid(), signal.SIGKILL)
    tokens = await _commit(self, pk, puts)
    if _left[0] == 0:
        os.kill(os.getpid(), signal.SIGKILL)
    _left[0] -= 1
    return tokens

SqliteDriver.commit = commit
"""


@pytest.mark.parametrize("before", [True, False], ids=["before", "after"])
@pytest.mark.parametrize("step", range(4))
async def test_a_sign_in_that_is_interrupted_is_finished_by_a_repeat(
    tmp_path: Path, step: int, before: bool
) -> None:
    """Killed before or after each commit: link, user, personal account, finish."""
    data, request = tmp_path / "wm-data", ids.NormalizeIdentityRequest(request_id=str(uuid.uuid4()))
    prelude = _DIES_IN_SIGN_IN.format(survives=step, before=before)
    async with ServerProcess.start(data, prelude=prelude) as server:
        token = await server.token(ANN)
        (tmp_path / "armed").touch()
        with pytest.raises(grpc.aio.AioRpcError):
            await IdentityServiceStub(server.channel(token)).NormalizeIdentity(request)
        assert await server.process.wait() < 0
    assert await problems(data) == []
    async with ServerProcess.start(data) as server:
        token = await server.token(ANN)
        stub = IdentityServiceStub(server.channel(token))
        answers = [await stub.NormalizeIdentity(request) for _ in range(2)]
        assert answers[0].user == answers[1].user
        assert answers[0].created == answers[1].created
        user = answers[0].user
        assert user.personal_workspace_id == answers[0].personal_workspace.account_id
        session = (await stub.GetSession(ids.GetSessionRequest())).session
        assert session.user.user_id == user.user_id
        accounts = await AccountServiceStub(server.channel(token)).ListAccounts(
            ListAccountsRequest()
        )
        assert [a.account_id for a in accounts.accounts] == [user.personal_workspace_id]
