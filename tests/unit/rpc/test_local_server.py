"""What is particular to the in-process channel: identity, chains, inheritance, limits."""

from __future__ import annotations

import asyncio
import gc
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import grpc
import grpc.aio
import pytest
from google.protobuf.wrappers_pb2 import StringValue
from grpc_health.v1 import health_pb2, health_pb2_grpc

from services.rpc.context import Call, set_current_call
from services.rpc.health import Health
from services.rpc.local import LocalChannel, LocalServer

Unary = Callable[[StringValue, Any], Awaitable[StringValue]]


def unary(server: LocalServer, **methods: Unary) -> None:
    server.add_registered_method_handlers(
        "test.v1.Local",
        {
            name: grpc.unary_unary_rpc_method_handler(
                method, StringValue.FromString, StringValue.SerializeToString
            )
            for name, method in methods.items()
        },
    )


def stub(server: LocalServer, name: str, *, service: str = "project_svc") -> Any:
    return LocalChannel(server, service=service).unary_unary(
        f"/test.v1.Local/{name}", StringValue.SerializeToString, StringValue.FromString
    )


async def echo(request: StringValue, context: Any) -> StringValue:
    return request


async def test_generated_stub_and_registration_are_unchanged() -> None:
    server = LocalServer()
    health = Health()
    health.attach(server)
    await health.set_ready(True)
    client = health_pb2_grpc.HealthStub(LocalChannel(server, service=""))
    answer = await client.Check(health_pb2.HealthCheckRequest())
    assert answer.status == health_pb2.HealthCheckResponse.SERVING
    watch = client.Watch(health_pb2.HealthCheckRequest(service=""))
    assert (await watch.read()).status == health_pb2.HealthCheckResponse.SERVING
    await health.drain()
    assert (await watch.read()).status == health_pb2.HealthCheckResponse.NOT_SERVING
    health.end_watches()
    assert await watch.read() is grpc.aio.EOF


@pytest.mark.parametrize(
    ("service", "expected"),
    [
        (
            "project_svc",
            {"workspace_service": [b"project_svc"], "transport_security_type": [b"local"]},
        ),
        ("", {"transport_security_type": [b"local"]}),
    ],
)
async def test_identity_comes_from_the_channel_object(
    service: str, expected: dict[str, list[bytes]]
) -> None:
    seen: list[Any] = []

    async def look(request: StringValue, context: Any) -> StringValue:
        seen.extend((context.auth_context(), context.peer(), context.peer_identities()))
        return request

    server = LocalServer()
    unary(server, look=look)
    forged = (("workspace_service", "storage_svc"), ("transport_security_type", "ssl"))
    await stub(server, "look", service=service)(StringValue(), metadata=forged)
    assert seen == [expected, f"local:{service}", expected.get("workspace_service")]


class _Counting(grpc.aio.ServerInterceptor):
    def __init__(self) -> None:
        self.built: list[str] = []

    async def intercept_service(self, continuation: Any, details: Any) -> Any:
        self.built.append(details.method)
        return await continuation(details)


class _Deciding(grpc.aio.ServerInterceptor):
    async def intercept_service(self, continuation: Any, details: Any) -> Any:
        if ("x-pass", "1") in details.invocation_metadata:
            return await continuation(details)
        return None


async def test_chain_of_a_method_is_built_once() -> None:
    counting = _Counting()
    server = LocalServer(interceptors=[counting])
    unary(server, echo=echo, other=echo)
    for name in ("echo", "echo", "other", "echo"):
        await stub(server, name)(StringValue())
    assert counting.built == ["/test.v1.Local/echo", "/test.v1.Local/other"]


async def test_decision_by_metadata_while_building_a_chain_fails_closed() -> None:
    server = LocalServer(interceptors=[_Deciding()])
    unary(server, echo=echo)
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await stub(server, "echo")(StringValue(), metadata=(("x-pass", "1"),))
    assert caught.value.code() is grpc.StatusCode.UNKNOWN


@pytest.fixture
def _no_call() -> Any:
    yield
    set_current_call(None)


async def _seen_with(call: Call, **options: Any) -> tuple[dict[str, Any], float]:
    seen: list[Any] = []

    async def look(request: StringValue, context: Any) -> StringValue:
        seen.extend((dict(context.invocation_metadata()), context.time_remaining()))
        return request

    server = LocalServer()
    unary(server, look=look)
    set_current_call(call)
    await stub(server, "look")(StringValue(), **options)
    return seen[0], seen[1]


@pytest.mark.usefixtures("_no_call")
async def test_bearer_request_id_and_time_are_inherited() -> None:
    call = Call(request_id="r-1", method="/m", deadline=time.monotonic() + 5, bearer="token")
    metadata, remaining = await _seen_with(call, timeout=60)
    assert metadata == {"authorization": "Bearer token", "x-request-id": "r-1"}
    assert remaining <= 5


@pytest.mark.usefixtures("_no_call")
async def test_own_timeout_and_metadata_win_where_they_are_set() -> None:
    call = Call(request_id="r-1", method="/m", deadline=time.monotonic() + 60, bearer="token")
    own = (("authorization", "Bearer own"), ("x-request-id", "own"))
    metadata, remaining = await _seen_with(call, timeout=5, metadata=own)
    assert metadata == dict(own)
    assert remaining <= 5


@pytest.mark.usefixtures("_no_call")
async def test_no_time_left_means_no_call() -> None:
    call = Call(request_id="r-1", method="/m", deadline=time.monotonic() - 1)
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await _seen_with(call)
    assert caught.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED


@pytest.mark.parametrize(
    "entry",
    [("Upper", "x"), ("", "x"), ("key", "two\nlines"), ("key", "é"), ("key-bin", "text")],
)
async def test_metadata_rules_of_the_wire_hold(entry: tuple[str, str]) -> None:
    server = LocalServer()
    unary(server, echo=echo)
    with pytest.raises((ValueError, TypeError)) as caught:
        stub(server, "echo")(StringValue(), metadata=(entry,))
    assert "two\nlines" not in str(caught.value)


async def test_call_credentials_are_refused() -> None:
    server = LocalServer()
    with pytest.raises(grpc.aio.UsageError):
        stub(server, "echo")(StringValue(), credentials=grpc.access_token_call_credentials("t"))


async def test_stream_is_produced_no_faster_than_it_is_read() -> None:
    produced = 0
    closed = asyncio.Event()

    async def count(request: StringValue, context: Any) -> AsyncIterator[StringValue]:
        nonlocal produced
        try:
            while True:
                produced += 1
                yield StringValue(value=str(produced))
        finally:
            closed.set()

    server = LocalServer()
    handler = grpc.unary_stream_rpc_method_handler(
        count, StringValue.FromString, StringValue.SerializeToString
    )
    server.add_registered_method_handlers("test.v1.Local", {"count": handler})
    method = LocalChannel(server, service="").unary_stream(
        "/test.v1.Local/count", StringValue.SerializeToString, StringValue.FromString
    )
    call = method(StringValue())
    assert (await call.read()).value == "1"
    for _ in range(100):
        await asyncio.sleep(0)
    # One read, one in the queue, one waiting for room.
    assert produced == 3
    del call  # nobody can read it any more
    gc.collect()
    async with asyncio.timeout(10):
        await closed.wait()


async def test_handler_that_cancels_itself_ends_the_call() -> None:
    async def give_up(request: StringValue, context: Any) -> StringValue:
        raise asyncio.CancelledError

    server = LocalServer()
    unary(server, give_up=give_up)
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await stub(server, "give_up")(StringValue())
    assert caught.value.code() is grpc.StatusCode.CANCELLED


async def test_call_cancelled_before_it_began_never_runs() -> None:
    ran: list[str] = []

    async def note(request: StringValue, context: Any) -> StringValue:
        ran.append(request.value)
        return request

    server = LocalServer()
    unary(server, note=note)
    call = stub(server, "note")(StringValue(value="x"))
    call.cancel()
    await server.stop(1)
    assert ran == []


async def test_stub_of_another_kind_is_an_error() -> None:
    server = LocalServer()
    unary(server, echo=echo)
    call = LocalChannel(server, service="").unary_stream("/test.v1.Local/echo")(b"")
    with pytest.raises(grpc.aio.AioRpcError, match="disagree about streaming"):
        await call.read()


class _Gate:
    def __init__(self) -> None:
        self.started = asyncio.Event()
        self.release = asyncio.Event()

    async def wait(self, request: StringValue, context: Any) -> StringValue:
        self.started.set()
        await self.release.wait()
        return request


async def test_stop_waits_for_running_calls_and_refuses_new_ones() -> None:
    gate, server = _Gate(), LocalServer()
    unary(server, wait=gate.wait, echo=echo)
    running = stub(server, "wait")(StringValue(value="done"))
    await gate.started.wait()
    stopping = asyncio.create_task(server.stop(30))
    await asyncio.sleep(0)
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await stub(server, "echo")(StringValue())
    assert caught.value.code() is grpc.StatusCode.UNAVAILABLE
    gate.release.set()
    assert (await running).value == "done"
    await stopping
    assert await server.wait_for_termination(1) is False


async def test_stop_without_grace_cuts_running_calls() -> None:
    gate, server = _Gate(), LocalServer()
    unary(server, wait=gate.wait)
    running = stub(server, "wait")(StringValue())
    await gate.started.wait()
    await server.stop(None)
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await running
    assert caught.value.code() is grpc.StatusCode.UNAVAILABLE


async def test_concurrency_limit_refuses_at_once() -> None:
    gate, server = _Gate(), LocalServer(maximum_concurrent_rpcs=1)
    unary(server, wait=gate.wait)
    running = stub(server, "wait")(StringValue())
    await gate.started.wait()
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await stub(server, "wait")(StringValue())
    assert caught.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
    gate.release.set()
    await running
    await server.stop(None)


async def test_a_local_server_has_no_ports() -> None:
    with pytest.raises(grpc.aio.UsageError, match="no ports"):
        LocalServer().add_insecure_port("127.0.0.1:0")


async def test_interceptors_are_set_before_anything_is_registered() -> None:
    server = LocalServer()
    server.intercept([])
    server.add_registered_method_handlers("x.Y", {})
    server.add_generic_rpc_handlers([])
    server.intercept([])  # nothing is served yet
    handler = grpc.unary_unary_rpc_method_handler(lambda request, context: request)
    server.add_registered_method_handlers("x.Y", {"Z": handler})
    with pytest.raises(grpc.aio.UsageError):
        server.intercept([])
