"""Drain: health goes down, running calls finish, new ones are refused, exit code 0."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from pathlib import Path
from typing import Any

import grpc
import grpc.aio
import pytest
from google.protobuf.wrappers_pb2 import StringValue
from grpc_health.v1 import health_pb2, health_pb2_grpc

from services.rpc.channels import open_channel
from services.rpc.server import Listener, RpcServer

ROOT = Path(__file__).parents[2]
NOT_SERVING = health_pb2.HealthCheckResponse.NOT_SERVING


class Gate:
    """Registered as test.v1.Gate; Pass answers once released."""

    def __init__(self) -> None:
        self.started = asyncio.Event()
        self.release = asyncio.Event()

    async def Pass(self, request: StringValue, context: Any) -> StringValue:  # noqa: N802
        self.started.set()
        await self.release.wait()
        return StringValue(value="finished")


def add_gate(servicer: Any, server: Any) -> None:
    handlers = {
        "Pass": grpc.unary_unary_rpc_method_handler(
            servicer.Pass, StringValue.FromString, StringValue.SerializeToString
        )
    }
    server.add_registered_method_handlers("test.v1.Gate", handlers)


def _pass(channel: grpc.aio.Channel) -> Any:
    method = channel.unary_unary(
        "/test.v1.Gate/Pass", StringValue.SerializeToString, StringValue.FromString
    )
    return method(StringValue(), timeout=60)


UNAVAILABLE = grpc.StatusCode.UNAVAILABLE


async def _refused(target: str) -> grpc.StatusCode:
    """The status of a call on a new connection, once it is refused."""
    while True:
        async with open_channel(target) as channel:
            try:
                await health_pb2_grpc.HealthStub(channel).Check(health_pb2.HealthCheckRequest())
            except grpc.aio.AioRpcError as error:
                return error.code()


async def test_running_call_finishes_and_new_ones_are_refused() -> None:
    gate = Gate()
    server = RpcServer(listeners=[Listener("127.0.0.1:0")], drain_delay=0.2, grace=60)
    server.register(add_gate, gate)
    await server.start()
    target = f"127.0.0.1:{server.ports[0]}"
    async with open_channel(target) as channel, asyncio.timeout(60):
        running = _pass(channel)
        await gate.started.wait()
        draining = asyncio.create_task(server.drain())
        assert await _refused(target) is UNAVAILABLE
        assert not draining.done()
        gate.release.set()
        assert (await running).value == "finished"
        await draining


async def test_health_is_down_while_balancers_still_send() -> None:
    gate = Gate()
    server = RpcServer(listeners=[Listener("127.0.0.1:0")], drain_delay=1, grace=60)
    server.register(add_gate, gate)
    await server.start()
    gate.release.set()
    async with open_channel(f"127.0.0.1:{server.ports[0]}") as channel, asyncio.timeout(60):
        watch = health_pb2_grpc.HealthStub(channel).Watch(health_pb2.HealthCheckRequest())
        while (await watch.read()).status == NOT_SERVING:
            pass
        draining = asyncio.create_task(server.drain())
        assert (await watch.read()).status == NOT_SERVING
        assert (await _pass(channel)).value == "finished"
        assert not server.health.ready
        # The open watch ends by itself; it would hold up the stop for 60 s.
        assert await watch.read() is grpc.aio.EOF
        await draining


async def test_grace_is_the_end_of_patience() -> None:
    gate = Gate()
    server = RpcServer(listeners=[Listener("127.0.0.1:0")], grace=0.1)
    server.register(add_gate, gate)
    await server.start()
    async with open_channel(f"127.0.0.1:{server.ports[0]}") as channel, asyncio.timeout(60):
        running = _pass(channel)
        await gate.started.wait()
        await server.drain()
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await running
    assert caught.value.code() is UNAVAILABLE


PROGRAM = """
import asyncio, sys
from pathlib import Path
import grpc
from google.protobuf.wrappers_pb2 import StringValue
from services.rpc.server import Listener, RpcServer

class Gate:
    async def Pass(self, request, context):
        print("started", flush=True)
        while not Path(sys.argv[1]).exists():
            await asyncio.sleep(0.01)
        return StringValue(value="finished")

def add_gate(servicer, server):
    handler = grpc.unary_unary_rpc_method_handler(
        servicer.Pass, StringValue.FromString, StringValue.SerializeToString)
    server.add_registered_method_handlers("test.v1.Gate", {"Pass": handler})

async def main():
    server = RpcServer(listeners=[Listener("127.0.0.1:0")], grace=60)
    server.register(add_gate, Gate())
    running = asyncio.create_task(server.run())
    while not server.ports:
        await asyncio.sleep(0.01)
    print(server.ports[0], flush=True)
    return await running

sys.exit(asyncio.run(main()))
"""


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_signal_drains_the_process_and_exits_with_0(
    tmp_path: Path, number: signal.Signals
) -> None:
    release = tmp_path / "release"
    paths = os.pathsep.join([str(ROOT), str(ROOT / "protos" / "gen" / "python")])
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", PROGRAM, str(release)),
        stdout=asyncio.subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": paths},
    )
    assert process.stdout is not None
    async with asyncio.timeout(60):
        target = f"127.0.0.1:{int(await process.stdout.readline())}"
        async with open_channel(target) as channel:
            running = _pass(channel)
            assert await process.stdout.readline() == b"started\n"
            process.send_signal(number)
            assert await _refused(target) is UNAVAILABLE
            release.touch()
            assert (await running).value == "finished"
        assert await process.wait() == 0
