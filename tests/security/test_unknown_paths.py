"""Calls to paths that nobody serves, whatever bytes they are: hole 1 of ADR 0030."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import grpc.aio
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from prometheus_client import CollectorRegistry

from services.config import load_settings
from services.processes.operations import Operations
from services.rpc.channels import open_channel
from services.rpc.health import Health
from services.rpc.server import Listener, RpcServer
from tests.server_process import ServerProcess
from tests.wire_http2 import Wire, data, has_status, headers, message

pytestmark = pytest.mark.case("A05")
UNIMPLEMENTED = 12
BAD = (b"/no.Such/M\xff", b"/grpc.health.v1.Health/\xc3\x28", b"\xff\xfe\x00\x01", b"/\xed\xa0\x80")
PLAIN = (b"/no.Such/Method", b"no.Such/Method", b"/", b"/grpc.health.v1.Health/check")
HEALTH = b"/grpc.health.v1.Health/Check"


async def assert_answered(address: str) -> None:
    """Each of them is refused, and an open connection goes on to be served."""
    async with Wire.open(address) as wire:
        for number, path in enumerate((*PLAIN, *BAD, HEALTH)):
            stream = 2 * number + 1
            wire.send(headers(stream, path), data(stream, message(b""), end=True))
            frames = await wire.until_end_of(stream)
            wanted = 0 if path == HEALTH else UNIMPLEMENTED
            assert has_status(frames, wanted), (path, frames)
    async with grpc.aio.insecure_channel(address) as channel:
        answer = await health_pb2_grpc.HealthStub(channel).Check(
            health_pb2.HealthCheckRequest(service="liveness"), timeout=20
        )
    assert answer.status == health_pb2.HealthCheckResponse.SERVING


@pytest.fixture
async def server() -> AsyncIterator[RpcServer]:
    server = RpcServer(listeners=[Listener("127.0.0.1:0")], reflection=True)
    await server.start()
    yield server
    await server.stop()


async def test_paths_that_are_no_text_are_unimplemented(server: RpcServer) -> None:
    await assert_answered(f"127.0.0.1:{server.ports[0]}")


async def test_where_calls_are_forwarded(server: RpcServer) -> None:
    async with open_channel(f"127.0.0.1:{server.ports[0]}") as onward:
        front = RpcServer(listeners=[Listener("127.0.0.1:0")])
        front.forward(["/grpc.health.v1.Health/List"], lambda _: onward)
        await front.start()
        await assert_answered(f"127.0.0.1:{front.ports[0]}")
        await front.stop()


async def test_at_the_port_for_probes(tmp_path: Path) -> None:
    health = Health()
    settings = load_settings(data_dir=tmp_path, probe_port=0)
    operations = Operations(settings, health, CollectorRegistry())
    port, _ = await operations.start()
    await assert_answered(f"127.0.0.1:{port}")
    await operations.stop()


async def test_thousands_of_them_while_others_are_served(server: RpcServer) -> None:
    address = f"127.0.0.1:{server.ports[0]}"
    async with Wire.open(address) as wire, grpc.aio.insecure_channel(address) as channel:
        stub = health_pb2_grpc.HealthStub(channel)
        for number in range(2000):
            stream = 2 * number + 1
            wire.send(headers(stream, BAD[number % 4]), data(stream, message(b""), end=True))
            if number % 50 == 0:
                await wire.until_end_of(stream)
                await stub.Check(health_pb2.HealthCheckRequest(service="liveness"), timeout=20)


async def test_a_server_that_met_them_stops_as_any_other(tmp_path: Path) -> None:
    async with ServerProcess.start(tmp_path / "data") as process:
        await assert_answered(process.grpc)
        assert await process.terminate() == 0


async def test_it_ends_while_they_keep_coming(server: RpcServer) -> None:
    async with Wire.open(f"127.0.0.1:{server.ports[0]}") as wire:
        for number in range(100):
            wire.send(headers(2 * number + 1, BAD[0]))
        await wire.until_end_of(1)
        async with asyncio.timeout(30):
            await server.stop()
        left: Any = [task for task in asyncio.all_tasks() if "unknown" in repr(task.get_coro())]
        assert left == []
