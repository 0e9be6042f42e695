"""The socket server: binding, refusals, limits, health, reflection."""

from __future__ import annotations

import asyncio
import socket
from typing import Any

import grpc
import grpc.aio
import pytest
from google.protobuf.wrappers_pb2 import StringValue
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc

from services.model.errors import Reason, WorkspaceError
from services.rpc.addresses import is_local, literal
from services.rpc.channels import open_channel
from services.rpc.health import Health, Readiness
from services.rpc.limits import Limits
from services.rpc.server import Listener, RpcServer

SERVING = health_pb2.HealthCheckResponse.SERVING
NOT_SERVING = health_pb2.HealthCheckResponse.NOT_SERVING
ANY = Listener("127.0.0.1:0")


class Servicer:
    """Registered as test.v1.Size; answers with the size of the bearer."""

    async def Measure(self, request: StringValue, context: Any) -> StringValue:  # noqa: N802
        metadata = dict(context.invocation_metadata())
        return StringValue(value=str(len(metadata["authorization"])))


def add_servicer(servicer: Any, server: Any) -> None:
    handlers = {
        "Measure": grpc.unary_unary_rpc_method_handler(
            servicer.Measure, StringValue.FromString, StringValue.SerializeToString
        )
    }
    generic = grpc.method_handlers_generic_handler("test.v1.Size", handlers)
    server.add_generic_rpc_handlers((generic,))
    server.add_registered_method_handlers("test.v1.Size", handlers)


async def test_second_server_on_the_same_port_is_refused() -> None:
    first = RpcServer(listeners=[ANY])
    await first.start()
    address = f"127.0.0.1:{first.ports[0]}"
    second = RpcServer(listeners=[ANY, Listener(address)])
    with pytest.raises(WorkspaceError) as caught:
        await second.start()
    assert caught.value.reason == Reason.ERROR_REASON_INVALID_STATE
    assert address in caught.value.message
    assert "--grpc-port" in caught.value.message
    await first.stop()


async def test_port_is_free_again_after_stop() -> None:
    first = RpcServer(listeners=[ANY])
    await first.start()
    await first.stop()
    with socket.socket() as probe:
        assert probe.connect_ex(("127.0.0.1", first.ports[0])) != 0


@pytest.mark.parametrize("address", ["0.0.0.0:0", "[::]:0", "10.0.0.1:0", "example.org:50051"])
async def test_no_clear_text_beyond_loopback(address: str) -> None:
    server = RpcServer(listeners=[Listener(address)])
    with pytest.raises(WorkspaceError, match="without TLS") as caught:
        await server.start()
    assert caught.value.metadata == {"address": address}
    assert server.ports == ()


@pytest.mark.parametrize(
    ("address", "local"),
    [
        ("127.0.0.1:1", True),
        ("127.9.9.9:1", True),
        ("[::1]:1", True),
        ("localhost:1", True),
        ("unix:/run/wm.sock", True),
        ("dns:///localhost:1", True),
        ("ipv4:127.0.0.1:1", True),
        ("0.0.0.0:1", False),
        ("[::]:1", False),
        ("localhost.example.org:1", False),
        ("dns:///project:50051", False),
        ("dns://127.0.0.1/project:50051", False),
        ("ipv4:127.0.0.1:1,10.0.0.1:1", False),
        ("127.0.0.1.example.org:1", False),
        ("", False),
    ],
)
def test_what_is_local(address: str, local: bool) -> None:
    assert is_local(address) is local


def test_localhost_is_bound_as_one_address() -> None:
    assert literal("localhost:50051") == "127.0.0.1:50051"
    assert literal("127.0.0.1:50051") == "127.0.0.1:50051"


@pytest.mark.case("A03")
async def test_token_of_200_groups_always_passes() -> None:
    server = RpcServer(listeners=[ANY])
    server.register(add_servicer, Servicer())
    await server.start()
    token = "Bearer " + "x" * 11_300
    async with open_channel(f"127.0.0.1:{server.ports[0]}") as channel:
        measure = channel.unary_unary(
            "/test.v1.Size/Measure", StringValue.SerializeToString, StringValue.FromString
        )
        answers = [
            (await measure(StringValue(), metadata=(("authorization", token),))).value
            for _ in range(100)
        ]
    await server.stop()
    assert answers == [str(len(token))] * 100


def test_limits_are_explicit() -> None:
    options = dict(Limits().server_options())
    assert options["grpc.so_reuseport"] == 0
    assert options["grpc.max_metadata_size"] == options["grpc.absolute_max_metadata_size"] == 32768
    assert options["grpc.max_receive_message_length"] == 4 * 1024 * 1024
    client = dict(Limits().channel_options())
    # A client that pings faster than its server allows is sent away.
    assert (
        client["grpc.keepalive_time_ms"] > options["grpc.http2.min_ping_interval_without_data_ms"]
    )


@pytest.mark.case("A04")
async def test_watches_take_a_quarter_of_the_places() -> None:
    """Anybody may watch, for as long as streams last; others still have to be served."""
    server = RpcServer(listeners=[ANY], limits=Limits(max_concurrent_rpcs=8))
    await server.start()
    async with grpc.aio.insecure_channel(f"127.0.0.1:{server.ports[0]}") as channel:
        health = health_pb2_grpc.HealthStub(channel)
        watches = [health.Watch(health_pb2.HealthCheckRequest()) for _ in range(2)]
        for watch in watches:
            await watch.read()
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await health.Watch(health_pb2.HealthCheckRequest()).read()
        assert caught.value.code() is grpc.StatusCode.UNIMPLEMENTED  # "do without", gRFC A17
        await health.Check(health_pb2.HealthCheckRequest(), timeout=20)
        watches[0].cancel()
        async with asyncio.timeout(20):
            while await _is_refused(health):  # noqa: ASYNC110 - a place tells nobody
                await asyncio.sleep(0.05)
    await server.stop()


async def _is_refused(health: Any) -> bool:
    watch = health.Watch(health_pb2.HealthCheckRequest())
    try:
        await watch.read()
    except grpc.aio.AioRpcError:
        return True
    watch.cancel()
    return False


async def test_health_follows_the_probes() -> None:
    health = Health()
    state = {"database": False}

    async def database() -> None:
        if not state["database"]:
            raise ConnectionError("the database is away")

    async def objects() -> None:
        return None

    readiness = Readiness(health, probes={"database": database, "objects": objects})
    assert readiness.failing == ("database", "objects")
    assert await readiness.poll() is False
    assert (health.ready, readiness.failing) == (False, ("database",))
    state["database"] = True
    assert await readiness.poll() is True
    assert (health.ready, readiness.failing) == (True, ())
    state["database"] = False
    await readiness.poll()
    assert not health.ready
    state["database"] = True
    await health.drain()
    await readiness.poll()
    assert not health.ready


async def test_probe_that_hangs_counts_as_failing() -> None:
    async def hang() -> None:
        await asyncio.Event().wait()

    readiness = Readiness(Health(), probes={"slow": hang}, timeout=0.05)
    assert await readiness.poll() is False
    assert readiness.failing == ("slow",)


async def test_not_serving_until_the_backends_answer() -> None:
    answer = asyncio.Event()

    async def backend() -> None:
        if not answer.is_set():
            raise ConnectionError("not yet")

    server = RpcServer(listeners=[ANY], probes={"backend": backend}, probe_interval=0.02)
    server.register(add_servicer, Servicer())
    await server.start()
    async with open_channel(f"127.0.0.1:{server.ports[0]}") as channel:
        stub = health_pb2_grpc.HealthStub(channel)
        for service in ("", "test.v1.Size"):
            request = health_pb2.HealthCheckRequest(service=service)
            assert (await stub.Check(request)).status == NOT_SERVING
        watch = stub.Watch(health_pb2.HealthCheckRequest(service="test.v1.Size"))
        assert (await watch.read()).status == NOT_SERVING
        answer.set()
        async with asyncio.timeout(30):
            assert (await watch.read()).status == SERVING
        answer.clear()
        async with asyncio.timeout(30):
            assert (await watch.read()).status == NOT_SERVING
    await server.stop()


@pytest.mark.case("Z15")
@pytest.mark.parametrize("enabled", [True, False])
async def test_reflection_only_where_asked_for(enabled: bool) -> None:
    server = RpcServer(listeners=[ANY], reflection=enabled)
    server.register(add_servicer, Servicer())
    await server.start()
    request = reflection_pb2.ServerReflectionRequest(list_services="")
    names: set[str] = set()
    code = grpc.StatusCode.OK
    async with open_channel(f"127.0.0.1:{server.ports[0]}") as channel:
        stub = reflection_pb2_grpc.ServerReflectionStub(channel)
        try:
            async for answer in stub.ServerReflectionInfo(iter([request])):
                names = {found.name for found in answer.list_services_response.service}
        except grpc.aio.AioRpcError as error:
            code = error.code()
    await server.stop()
    if enabled:
        assert {"test.v1.Size", "grpc.health.v1.Health"} <= names
    else:
        assert code is grpc.StatusCode.UNIMPLEMENTED


async def test_methods_are_listed() -> None:
    server = RpcServer(listeners=[ANY])
    assert server.register(add_servicer, Servicer()) == ("/test.v1.Size/Measure",)
    assert server.methods == ("/test.v1.Size/Measure",)
    await server.stop()
