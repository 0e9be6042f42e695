"""A gateway on a real port before real servicers, for the gateway tests."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import grpc.aio
import httpx
from prometheus_client import CollectorRegistry
from workspace.identity.v1 import account_service_pb2 as accounts_pb2
from workspace.identity.v1 import account_service_pb2_grpc as accounts_grpc
from workspace.identity.v1 import identity_service_pb2 as identity_pb2
from workspace.identity.v1 import identity_service_pb2_grpc as identity_grpc
from workspace.project.v1 import history_service_pb2 as history_pb2
from workspace.project.v1 import history_service_pb2_grpc as history_grpc

from services.http.gateway import Gateway
from services.http.limits import HttpLimits
from services.http.server import HttpServer, bind_http
from services.model.errors import Reason, WorkspaceError, permission_denied
from services.model.stamp import etag_of
from services.rpc.channels import open_channel
from services.rpc.errors import ErrorInterceptor
from services.rpc.limits import Limits
from services.rpc.local import LocalChannel, LocalServer
from services.rpc.registration import register
from services.rpc.request_id import RequestIdInterceptor

QUOTA = 2**53 + 1
ETAG = etag_of("r", ("n1", 7))


class Accounts(accounts_grpc.AccountServiceServicer):
    """Echoes; notes what it was called with."""

    def __init__(self) -> None:
        self.metadata: dict[str, list[Any]] = {}
        self.remaining: float | None = None
        self.calls: list[Any] = []
        self.waiting = asyncio.Event()
        self.cancelled = asyncio.Event()

    def _note(self, request: Any, context: Any) -> None:
        self.calls.append(request)
        self.remaining = context.time_remaining()
        self.metadata = {}
        for key, value in context.invocation_metadata():
            self.metadata.setdefault(key, []).append(value)

    async def GetAccount(self, request: Any, context: Any) -> Any:  # noqa: N802
        self._note(request, context)
        if request.account_id == "forbidden":
            raise permission_denied("view", "accounts/forbidden")
        if request.account_id == "defect":
            raise ZeroDivisionError("secret text")
        if request.account_id == "busy":
            raise WorkspaceError(Reason.ERROR_REASON_CONFLICTING_WRITE, "busy", retry_after=3)
        if request.account_id == "slow":
            await self._wait()
        answer = accounts_pb2.GetAccountResponse()
        answer.account.account_id = request.account_id
        answer.account.quota_bytes = QUOTA
        answer.account.etag = ETAG
        if request.account_id == "large":
            answer.account.description = "é" * 200_000
        return answer

    async def _wait(self) -> None:
        self.waiting.set()
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            self.cancelled.set()
            raise

    async def CreateAccount(self, request: Any, context: Any) -> Any:  # noqa: N802
        self._note(request, context)
        answer = accounts_pb2.CreateAccountResponse()
        answer.account.name = request.name
        answer.account.description = request.description
        return answer

    async def UpdateAccount(self, request: Any, context: Any) -> Any:  # noqa: N802
        self._note(request, context)
        return accounts_pb2.UpdateAccountResponse(account=request.account)

    async def ListAccounts(self, request: Any, context: Any) -> Any:  # noqa: N802
        self._note(request, context)
        return accounts_pb2.ListAccountsResponse()


class History(history_grpc.HistoryServiceServicer):
    """A stream of three events, one that fails late, one that never ends."""

    def __init__(self) -> None:
        self.cancelled = asyncio.Event()

    async def WatchEvents(  # noqa: N802
        self, request: Any, context: Any
    ) -> AsyncIterator[Any]:
        if request.account_id == "forbidden":
            raise permission_denied("view", "accounts/forbidden")
        if request.account_id == "silent":
            await self._wait()
        for number in range(3):
            yield history_pb2.WatchEventsResponse(resume_token=f"t{number}")
        if request.account_id == "late":
            raise WorkspaceError(Reason.ERROR_REASON_CURSOR_LOST, "start again")
        if request.account_id == "endless":
            await self._wait()

    async def _wait(self) -> None:
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            self.cancelled.set()
            raise


class Identity(identity_grpc.IdentityServiceServicer):
    """Serves one RPC whose path is internal."""

    async def ListMemberships(self, request: Any, context: Any) -> Any:  # noqa: N802
        return identity_pb2.ListMembershipsResponse()


class Running:
    """What the tests reach."""

    def __init__(self, accounts: Accounts, history: History) -> None:
        self.accounts = accounts
        self.history = history
        self.ready = True
        self.url = ""
        self.port = 0

    async def is_ready(self) -> bool:
        return self.ready

    def client(self) -> httpx.AsyncClient:
        return httpx.AsyncClient(base_url=self.url, timeout=20, trust_env=False)

    async def raw(self, data: bytes, *, half_close: bool = False) -> bytes:
        """Send bytes, read until the server closes the connection."""
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        try:
            writer.write(data)
            await writer.drain()
            if half_close:
                writer.write_eof()
            return await reader.read()
        finally:
            writer.close()


@asynccontextmanager
async def serving(
    *,
    local: bool = False,
    limits: HttpLimits | None = None,
    max_body_bytes: int | None = None,
    extra_routes: Any = (),
) -> AsyncIterator[Running]:
    """Servicers behind a socket (or in-process), a gateway before them."""
    accounts: Any = Accounts
    history: Any = History
    identity: Any = Identity  # the stubs type servicers as abstract
    accounts, history, identity = accounts(), history(), identity()
    running = Running(accounts, history)
    interceptors = (RequestIdInterceptor(), ErrorInterceptor())
    server: Any = (
        LocalServer(interceptors=interceptors)
        if local
        else grpc.aio.server(interceptors=interceptors, options=Limits().server_options())
    )
    methods = [
        *register(server, accounts_grpc.add_AccountServiceServicer_to_server, accounts),
        *register(server, history_grpc.add_HistoryServiceServicer_to_server, history),
        *register(server, identity_grpc.add_IdentityServiceServicer_to_server, identity),
    ]
    if local:
        channel: grpc.aio.Channel = LocalChannel(server, service="")
    else:
        port = server.add_insecure_port("127.0.0.1:0")
        await server.start()
        channel = open_channel(f"127.0.0.1:{port}")
    sock, running.url = bind_http("127.0.0.1", 0)
    gateway = Gateway(
        lambda _: channel,
        methods,
        max_body_bytes=max_body_bytes,
        extra_routes=extra_routes,
        ready=running.is_ready,
        metrics_registry=CollectorRegistry(),
        limits=limits,
    )
    http = HttpServer(gateway.asgi, sock, limits=limits, grace=1)
    running.port = http.port
    await http.start()
    try:
        yield running
    finally:
        await http.stop()
        await channel.close()
        if not local:
            await server.stop(None)
