"""A server that is started again costs the user of `wm` nothing but a moment."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import grpc
import grpc.aio
import pytest
from workspace.identity.v1.account_service_pb2 import (
    CreateAccountRequest,
    CreateAccountResponse,
)
from workspace.identity.v1.account_service_pb2_grpc import (
    AccountServiceServicer,
    AccountServiceStub,
    add_AccountServiceServicer_to_server,
)

from services.cli.client import Session, open_channel
from services.cli.profile import Login, Profiles
from services.cli.trust import Reached
from services.model.errors import Reason, WorkspaceError
from services.rpc.errors import ErrorInterceptor
from services.rpc.request_id import RequestIdInterceptor
from tests.servers.ports import free_port

LONG = 60.0  # seconds that no test takes


class Accounts(AccountServiceServicer):
    """Notes the request ids, answers or refuses."""

    def __init__(self) -> None:
        self.seen: list[str] = []
        self.refusal: WorkspaceError | None = None

    async def CreateAccount(self, request: Any, _: Any) -> CreateAccountResponse:  # noqa: N802
        self.seen.append(request.request_id)
        if self.refusal is not None:
            raise self.refusal
        return CreateAccountResponse()


async def started(servicer: Accounts, port: int) -> grpc.aio.Server:
    server = grpc.aio.server(interceptors=[RequestIdInterceptor(), ErrorInterceptor()])
    add_AccountServiceServicer_to_server(servicer, server)
    assert server.add_insecure_port(f"127.0.0.1:{port}") == port
    await server.start()
    return server


@asynccontextmanager
async def session(port: int, folder: Path, *, patience: float) -> AsyncIterator[Session]:
    reached = Reached(f"127.0.0.1:{port}")
    channel = open_channel(reached)
    try:
        yield Session(
            channel=channel, reached=reached, login=Login("a@b.test", "u_1", "t", 2**40),
            profiles=Profiles(folder), patience=patience,
        )  # fmt: skip
    finally:
        await channel.close()


async def create(of: Session) -> None:
    await of.call(of.stub(AccountServiceStub).CreateAccount, CreateAccountRequest(name="a"))


@pytest.mark.parametrize("grace", [None, 1.0])
async def test_calls_go_on_over_a_restart(tmp_path: Path, grace: float | None) -> None:
    servicer, port = Accounts(), free_port()
    server = await started(servicer, port)
    async with session(port, tmp_path, patience=LONG) as one:
        await create(one)
        await server.stop(grace)
        calls = [asyncio.create_task(create(one)) for _ in range(5)]
        await asyncio.sleep(1.0)  # longer than the channel repeats on its own
        assert not any(call.done() for call in calls)
        server = await started(servicer, port)
        await asyncio.gather(*calls)
    await server.stop(None)
    assert len(set(servicer.seen)) == 6  # each call with an id of its own, repeated or not


async def test_a_server_that_is_not_there_is_told_when_patience_ends(tmp_path: Path) -> None:
    async with session(free_port(), tmp_path, patience=0.1) as one:
        with pytest.raises(grpc.aio.AioRpcError) as failed:
            await create(one)
    assert failed.value.code() is grpc.StatusCode.UNAVAILABLE


async def test_what_the_workspace_itself_says_is_not_asked_again(tmp_path: Path) -> None:
    """The published policy repeats it a few times, as any UNAVAILABLE; no more than that."""
    servicer, port = Accounts(), free_port()
    servicer.refusal = WorkspaceError(Reason.ERROR_REASON_BACKEND_UNAVAILABLE, "the store is away")
    server = await started(servicer, port)
    async with session(port, tmp_path, patience=LONG) as one:
        with pytest.raises(grpc.aio.AioRpcError) as failed:
            await create(one)
    await server.stop(None)
    assert failed.value.code() is grpc.StatusCode.UNAVAILABLE
    assert len(servicer.seen) == 4
    assert len(set(servicer.seen)) == 1
