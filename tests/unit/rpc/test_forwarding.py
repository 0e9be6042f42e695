"""Calls that go on to another process: what is passed on, and what never is."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from typing import Any

import grpc
import grpc.aio
import pytest
import pytest_asyncio
from prometheus_client import CollectorRegistry
from workspace.identity.v1 import identity_service_pb2_grpc
from workspace.identity.v1.identity_service_pb2 import (
    GetSessionRequest,
    GetSessionResponse,
    GetUserRequest,
    WatchMembershipsRequest,
    WatchMembershipsResponse,
)
from workspace.identity.v1.identity_service_pb2_grpc import IdentityServiceStub

from services.model.errors import Reason, WorkspaceError, invalid_field
from services.rpc.channels import open_channel
from services.rpc.errors import ErrorInterceptor, error_info, peer_status
from services.rpc.request_id import RequestIdInterceptor
from services.rpc.server import Listener, RpcServer
from services.rpc.stack import build_edge_interceptors
from services.telemetry.metrics import RpcMetrics
from services.telemetry.traces import open_tracing

ANY = Listener("127.0.0.1:0")
SESSION = "/workspace.identity.v1.IdentityService/GetSession"
WATCH = "/workspace.identity.v1.IdentityService/WatchMemberships"
USER = "/workspace.identity.v1.IdentityService/GetUser"


class Behind(identity_service_pb2_grpc.IdentityServiceServicer):
    """The service behind; a test says how it answers."""

    def __init__(self) -> None:
        self.seen: dict[str, Any] = {}
        self.keys: list[str] = []
        self.remaining: float | None = None
        self.fails: Exception | None = None
        self.ended = asyncio.Event()
        self.messages = 3

    async def GetSession(self, request: Any, context: Any) -> GetSessionResponse:  # noqa: N802
        self._note(context)
        if self.fails is not None:
            raise self.fails
        answer = GetSessionResponse()
        answer.session.user.user_id = f"asked for {request.page_size}"
        return answer

    async def WatchMemberships(self, request: Any, context: Any) -> Any:  # noqa: N802
        self._note(context)
        try:
            for number in range(self.messages):
                yield WatchMembershipsResponse(resume_token=str(number))
            if self.fails is not None:
                raise self.fails
            await asyncio.sleep(60 if self.messages == 1 else 0)
        finally:
            self.ended.set()

    def _note(self, context: Any) -> None:
        metadata = list(context.invocation_metadata())
        self.seen, self.keys = dict(metadata), [key for key, _ in metadata]
        self.remaining = context.time_remaining()


class World:
    """A service, a server that forwards to it, and a client of that."""

    def __init__(self, behind: Behind, service: RpcServer, front: RpcServer, stub: Any) -> None:
        self.behind, self.service, self.front, self.stub = behind, service, front, stub


@pytest_asyncio.fixture
async def world() -> AsyncIterator[World]:
    behind = Behind()
    service = RpcServer(
        listeners=[ANY], interceptors=(RequestIdInterceptor(), ErrorInterceptor())
    )
    service.register(
        identity_service_pb2_grpc.add_IdentityServiceServicer_to_server, behind
    )
    await service.start()
    onward = open_channel(f"127.0.0.1:{service.ports[0]}")
    edge = build_edge_interceptors(
        metrics=RpcMetrics(CollectorRegistry()), tracing=open_tracing(None, service_name="t")
    )
    front = RpcServer(listeners=[ANY], interceptors=edge)
    assert front.forward([SESSION, WATCH, USER], lambda _: onward) == (SESSION, WATCH, USER)
    await front.start()
    async with grpc.aio.insecure_channel(f"127.0.0.1:{front.ports[0]}") as channel:
        yield World(behind, service, front, IdentityServiceStub(channel))
    await front.stop()
    await onward.close()
    await service.stop()


async def failure(call: Any) -> grpc.aio.AioRpcError:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call
    return caught.value


async def test_request_and_answer(world: World) -> None:
    answer = await world.stub.GetSession(GetSessionRequest(page_size=7))
    assert answer.session.user.user_id == "asked for 7"


async def test_only_the_bearer_and_the_request_id_go_on(world: World) -> None:
    sent = (
        ("authorization", "Bearer abc"),
        ("x-request-id", "r-1"),
        ("x-workspace-service", "project_svc"),
        ("cookie", "a=b"),
        ("x-forwarded-for", "10.0.0.1"),
        ("x-workspace-client", "10.0.0.1"),
        ("grpc-trace-bin", b"\x00"),
    )
    await world.stub.GetSession(GetSessionRequest(), metadata=sent)
    assert world.behind.seen["authorization"] == "Bearer abc"
    assert world.behind.seen["x-request-id"] == "r-1"
    assert world.behind.seen["x-workspace-client"] == "127.0.0.1"  # as the connection says
    assert world.behind.keys.count("x-workspace-client") == 1
    assert {"x-workspace-service", "cookie", "x-forwarded-for", "grpc-trace-bin"}.isdisjoint(
        world.behind.keys
    )


async def test_two_bearers_stay_two(world: World) -> None:
    """The service refuses them; a gateway must not choose one."""
    sent = (("authorization", "Bearer a"), ("authorization", "Bearer b"))
    await world.stub.GetSession(GetSessionRequest(), metadata=sent)
    assert world.behind.keys.count("authorization") == 2


@pytest.mark.case("S06")
async def test_the_deadline_goes_on(world: World) -> None:
    await world.stub.GetSession(GetSessionRequest(), timeout=20)
    assert world.behind.remaining is not None
    assert 10 < world.behind.remaining <= 20.2  # on the wire, gRPC rounds up to a tenth


async def test_a_refusal_goes_back_as_it_is(world: World) -> None:
    world.behind.fails = invalid_field("page_size", "must be less")
    error = await failure(world.stub.GetSession(GetSessionRequest()))
    assert error.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert error.details() == "page_size: must be less"
    status = peer_status(error)
    assert status is not None
    assert error_info(status).reason == "ERROR_REASON_INVALID_FIELD"
    assert len(status.details) == 2  # BadRequest, too


async def test_what_the_service_does_not_serve_is_unavailable(world: World) -> None:
    """As in a rolling upgrade, when the new gateway meets the old service."""
    error = await failure(world.stub.GetUser(GetUserRequest(user_id="u_1")))
    assert error.code() is grpc.StatusCode.UNAVAILABLE


@pytest.mark.case("S06")
async def test_a_service_that_is_down_is_unavailable(world: World) -> None:
    await world.service.stop()
    error = await failure(world.stub.GetSession(GetSessionRequest(), timeout=10))
    assert error.code() is grpc.StatusCode.UNAVAILABLE
    status = peer_status(error)
    assert status is not None
    assert error_info(status).reason == "ERROR_REASON_BACKEND_UNAVAILABLE"
    assert "127.0.0.1" not in str(error.details())


@pytest.mark.parametrize("streams", [False, True])
async def test_what_grpc_refuses_there_for_its_load_is_not_repeated(streams: bool) -> None:
    """Neither a service that is busy nor an answer that is too large gets better by that."""

    async def full(_: Any, context: Any) -> bytes:
        await context.abort(grpc.StatusCode.RESOURCE_EXHAUSTED, "10.0.0.1: too many")
        return b""

    async def fulls(request: Any, context: Any) -> AsyncIterator[bytes]:
        yield await full(request, context)

    behind = grpc.aio.server()
    service = "workspace.identity.v1.IdentityService"
    handlers = {
        "GetSession": grpc.unary_unary_rpc_method_handler(full),  # type: ignore[arg-type]
        "WatchMemberships": grpc.unary_stream_rpc_method_handler(fulls),  # type: ignore[arg-type]
    }
    behind.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(service, handlers),))
    onward = open_channel(f"127.0.0.1:{behind.add_insecure_port('127.0.0.1:0')}")
    await behind.start()
    edge = build_edge_interceptors(
        metrics=RpcMetrics(CollectorRegistry()), tracing=open_tracing(None, service_name="t")
    )
    front = RpcServer(listeners=[ANY], interceptors=edge)
    front.forward([SESSION, WATCH], lambda _: onward)
    await front.start()
    async with grpc.aio.insecure_channel(f"127.0.0.1:{front.ports[0]}") as channel:
        stub = IdentityServiceStub(channel)
        if streams:
            error = await failure(stub.WatchMemberships(WatchMembershipsRequest()).read())
        else:
            error = await failure(stub.GetSession(GetSessionRequest()))
    assert error.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert "10.0.0.1" not in str(error.details())
    assert peer_status(error) is not None
    await front.stop()
    await onward.close()
    await behind.stop(None)


async def test_a_stream_and_its_failure(world: World) -> None:
    world.behind.fails = WorkspaceError(Reason.ERROR_REASON_CURSOR_LOST, "read again")
    call = world.stub.WatchMemberships(WatchMembershipsRequest())
    assert [(await call.read()).resume_token for _ in range(3)] == ["0", "1", "2"]
    error = await failure(call.read())
    assert error.code() is grpc.StatusCode.OUT_OF_RANGE


async def test_who_goes_away_ends_the_stream_behind(world: World) -> None:
    world.behind.messages = 1
    call = world.stub.WatchMemberships(WatchMembershipsRequest())
    assert (await call.read()).resume_token == "0"
    call.cancel()
    async with asyncio.timeout(10):
        await world.behind.ended.wait()


async def test_the_deadline_of_a_stream_is_kept(world: World) -> None:
    world.behind.messages = 1
    begun = time.monotonic()
    call = world.stub.WatchMemberships(WatchMembershipsRequest(), timeout=1)
    await call.read()
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call.read()
    assert caught.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED
    assert time.monotonic() - begun < 30
    async with asyncio.timeout(10):
        await world.behind.ended.wait()
