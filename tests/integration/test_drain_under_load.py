"""Drain while clients go on calling: no code but UNAVAILABLE, and nobody is kept waiting."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import grpc
import grpc.aio
import pytest
from google.protobuf.wrappers_pb2 import StringValue

from services.rpc.channels import load_service_config, open_channel
from services.rpc.errors import error_info, peer_status
from services.rpc.server import Listener, RpcServer

UNAVAILABLE = grpc.StatusCode.UNAVAILABLE
CALLERS = 8


class Work:
    """Registered as test.v1.Work: Quick, Slow (until `release`), WatchWork (no end)."""

    def __init__(self) -> None:
        self.begun = asyncio.Event()
        self.release = asyncio.Event()
        self.ended = asyncio.Event()
        self.served = 0

    async def Quick(self, request: StringValue, context: Any) -> StringValue:  # noqa: N802
        self.served += 1
        await asyncio.sleep(0.002)
        return request

    async def Slow(self, request: StringValue, context: Any) -> StringValue:  # noqa: N802
        self.begun.set()
        await self.release.wait()
        return request

    async def WatchWork(  # noqa: N802
        self, request: StringValue, context: Any
    ) -> AsyncGenerator[StringValue, None]:
        try:
            yield request
            await asyncio.Event().wait()
        finally:
            self.ended.set()


def add_work(work: Any, server: Any) -> None:
    codec = (StringValue.FromString, StringValue.SerializeToString)
    handlers = {
        "Quick": grpc.unary_unary_rpc_method_handler(work.Quick, *codec),
        "Slow": grpc.unary_unary_rpc_method_handler(work.Slow, *codec),
        "WatchWork": grpc.unary_stream_rpc_method_handler(work.WatchWork, *codec),
    }
    server.add_registered_method_handlers("test.v1.Work", handlers)


@asynccontextmanager
async def serving(
    host: str = "127.0.0.1", drain_delay: float = 0
) -> AsyncIterator[tuple[RpcServer, Work]]:
    listeners = [Listener(f"{host}:0")]
    server, work = RpcServer(listeners=listeners, drain_delay=drain_delay, grace=60), Work()
    server.register(add_work, work)
    await server.start()
    try:
        yield server, work
    finally:
        await server.stop()


def address(server: RpcServer, host: str = "127.0.0.1") -> str:
    return f"{host}:{server.ports[0]}"


def method(channel: grpc.aio.Channel, name: str) -> Any:
    kind = channel.unary_stream if name.startswith("Watch") else channel.unary_unary
    return kind(f"/test.v1.Work/{name}", StringValue.SerializeToString, StringValue.FromString)


async def until(condition: Callable[[], bool]) -> None:
    while not condition():  # noqa: ASYNC110 - another is polled
        await asyncio.sleep(0.01)


async def until_more(codes: Counter[str], code: str, count: int) -> None:
    wanted = codes[code] + count
    await until(lambda: codes[code] >= wanted)


async def call_until(stop: asyncio.Event, target: str, codes: Counter[str]) -> None:
    """Calls without retries, on one connection."""
    async with open_channel(target) as channel:
        quick = method(channel, "Quick")
        while not stop.is_set():
            try:
                await quick(StringValue(), timeout=30)
                codes["OK"] += 1
            except grpc.aio.AioRpcError as error:
                codes[error.code().name] += 1
                await asyncio.sleep(0.001)


@pytest.mark.parametrize("host", ["127.0.0.1", "[::1]"])
async def test_callers_see_unavailable_and_nothing_else(host: str) -> None:
    """gRPC's own stop resets what arrives in its moment: CANCELLED, four of them each time."""
    codes: Counter[str] = Counter()
    for _ in range(4):
        stop = asyncio.Event()
        async with serving(host) as (server, _work), asyncio.timeout(60):
            target = address(server, host)
            callers = [asyncio.create_task(call_until(stop, target, codes)) for _ in range(CALLERS)]
            await until_more(codes, "OK", 100)
            await server.drain()
            await until_more(codes, "UNAVAILABLE", CALLERS)
            stop.set()
            await asyncio.gather(*callers)
    assert set(codes) == {"OK", "UNAVAILABLE"}


async def test_a_call_that_runs_keeps_its_own_connection_only() -> None:
    async with serving() as (server, work), asyncio.timeout(60):
        target = address(server)
        async with open_channel(target) as busy, open_channel(target) as other:
            await method(other, "Quick")(StringValue())
            running = method(busy, "Slow")(StringValue(value="finished"), timeout=60)
            await work.begun.wait()
            draining = asyncio.create_task(server.drain())
            await until(lambda: other.get_state() is not grpc.ChannelConnectivity.READY)
            with pytest.raises(grpc.aio.AioRpcError) as elsewhere:
                await method(other, "Quick")(StringValue())
            with pytest.raises(grpc.aio.AioRpcError) as refused:
                await method(busy, "Quick")(StringValue(), timeout=30)
            assert not draining.done()
            work.release.set()
            assert (await running).value == "finished"
            await draining
    assert elsewhere.value.code() is UNAVAILABLE  # nobody listens there any more
    assert refused.value.code() is UNAVAILABLE
    status = peer_status(refused.value)
    assert status is not None
    info = error_info(status)
    assert info is not None
    assert info.reason == "ERROR_REASON_BACKEND_UNAVAILABLE"


async def test_a_watch_ends_at_once() -> None:
    async with serving() as (server, work), asyncio.timeout(30):  # half of the grace
        async with open_channel(address(server)) as channel:
            watch = method(channel, "WatchWork")(StringValue(value="first"))
            assert (await watch.read()).value == "first"
            await server.drain()
            assert await watch.code() is UNAVAILABLE
        assert work.ended.is_set()


async def test_a_balanced_channel_leaves_before_the_end() -> None:
    """It follows the health, so it calls the other one while this one still waits."""
    config = load_service_config((), follow_health=True)
    async with (
        serving(drain_delay=30) as (leaving, left),
        serving() as (staying, _),
        asyncio.timeout(25),
    ):
        target = f"ipv4:{address(leaving)},{address(staying)}"
        options = [("grpc.service_config", config)]
        async with grpc.aio.insecure_channel(target, options=options) as channel:
            quick = method(channel, "Quick")
            while not left.served:
                await quick(StringValue())
            draining = asyncio.create_task(leaving.drain())
            before = -1
            while left.served != before:
                before = left.served
                for _ in range(10):
                    await quick(StringValue())
            assert not draining.done()
            draining.cancel()
