"""Calls whose request never comes, or comes piece by piece, on a gRPC port."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import Any

import grpc
import grpc.aio
import pytest
from google.protobuf.wrappers_pb2 import StringValue
from prometheus_client import CollectorRegistry

from services.rpc.limits import Limits
from services.rpc.server import Listener, RpcServer
from services.rpc.stack import build_edge_interceptors
from services.telemetry.metrics import RpcMetrics
from services.telemetry.traces import Tracing
from tests.wire_http2 import Wire, data, has_status, headers, message

CODEC = (StringValue.FromString, StringValue.SerializeToString)
INVALID, LATE, EXHAUSTED = 3, 4, 8


class Server:
    """Two places; a message has `seconds` to come."""

    def __init__(self, seconds: float = 0.4) -> None:
        edge = build_edge_interceptors(metrics=RpcMetrics(CollectorRegistry()), tracing=Tracing())
        self.rpc = RpcServer(
            listeners=[Listener("127.0.0.1:0")], interceptors=edge,
            limits=Limits(max_concurrent_rpcs=2, receive_timeout=seconds),
        )  # fmt: skip
        handlers = {
            "Unary": grpc.unary_unary_rpc_method_handler(self.unary, *CODEC),
            "Answers": grpc.unary_stream_rpc_method_handler(self.answers, *CODEC),
            "Collect": grpc.stream_unary_rpc_method_handler(self.collect, *CODEC),
            "Each": grpc.stream_stream_rpc_method_handler(self.each, *CODEC),
        }
        self.rpc._server.add_registered_method_handlers("t.Late", handlers)

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.rpc.ports[0]}"

    async def unary(self, request: StringValue, context: Any) -> StringValue:
        return request

    async def answers(self, request: StringValue, context: Any) -> AsyncIterator[StringValue]:
        yield request
        yield request

    async def collect(self, requests: Any, context: Any) -> StringValue:
        return StringValue(value=str(len([item async for item in requests])))

    async def each(self, requests: Any, context: Any) -> AsyncIterator[StringValue]:
        async for request in requests:
            yield request


@pytest.fixture
async def server() -> AsyncIterator[Server]:
    server = Server()
    await server.rpc.start()
    yield server
    await server.rpc.stop()


async def is_served(server: Server) -> bool:
    async with grpc.aio.insecure_channel(server.address) as channel:
        call: Any = channel.unary_unary("/t.Late/Unary", CODEC[1], CODEC[0])
        try:
            answer: StringValue = await call(StringValue(value="here"), timeout=20)
        except grpc.aio.AioRpcError as error:
            if error.code() is grpc.StatusCode.RESOURCE_EXHAUSTED:
                return False
            raise
        return answer.value == "here"


@pytest.mark.case("A04")
@pytest.mark.parametrize("method", ["Unary", "Answers"])
async def test_a_place_is_free_again(server: Server, method: str) -> None:
    async with Wire.open(server.address) as wire:
        wire.send(headers(1, f"/t.Late/{method}".encode()))
        wire.send(headers(3, f"/t.Late/{method}".encode()), data(3, b"\x00\x00\x00\x00\x09abc"))
        assert has_status(await wire.until_end_of(1), LATE)
        assert has_status(await wire.until_end_of(3), LATE)
        async with asyncio.timeout(20):
            while not await is_served(server):  # noqa: ASYNC110 - a place tells nobody
                await asyncio.sleep(0.05)


@pytest.mark.case("A04")
async def test_until_then_the_place_is_taken() -> None:
    """The control: both are waited for, and a third call is refused at once."""
    server = Server(seconds=60)
    await server.rpc.start()
    async with Wire.open(server.address) as wire:
        for stream in (1, 3):
            wire.send(headers(stream, b"/t.Late/Unary"))
        wire.send(headers(5, b"/t.Late/Unary"), data(5, message(b""), end=True))
        assert has_status(await wire.until_end_of(5), EXHAUSTED)
    await server.rpc.stop()


@pytest.mark.case("A04")
async def test_a_connection_that_says_nothing() -> None:
    limits = Limits(handshake_timeout=0.5)
    server = RpcServer(listeners=[Listener("127.0.0.1:0")], limits=limits)
    await server.start()
    reader, writer = await asyncio.open_connection("127.0.0.1", server.ports[0])
    async with asyncio.timeout(30):
        with contextlib.suppress(ConnectionError):
            while await reader.read(100):  # the settings of the server, and then the end
                pass
    writer.close()
    await server.stop()


@pytest.mark.case("A04")
async def test_no_message_at_all(server: Server) -> None:
    """gRPC by itself would leave such a call without a status, in its place for ever."""
    async with Wire.open(server.address) as wire:
        for stream in range(1, 13, 2):
            wire.send(headers(stream, b"/t.Late/Unary"), data(stream, b"", end=True))
            assert has_status(await wire.until_end_of(stream), INVALID)
    assert await is_served(server)


@pytest.mark.case("A07")
@pytest.mark.parametrize("method", ["Collect", "Each"])
async def test_a_stream_that_pauses_for_ever(server: Server, method: str) -> None:
    async with Wire.open(server.address) as wire:
        wire.send(headers(1, f"/t.Late/{method}".encode()))
        for _ in range(3):
            wire.send(data(1, message(StringValue(value="x").SerializeToString())))
        assert has_status(await wire.until_end_of(1), LATE)


async def test_all_four_kinds_are_served_as_ever(server: Server) -> None:
    one = StringValue(value="a")
    async with grpc.aio.insecure_channel(server.address) as channel:
        made: Any = channel
        assert (await made.unary_unary("/t.Late/Unary", CODEC[1], CODEC[0])(one)).value == "a"
        many = made.unary_stream("/t.Late/Answers", CODEC[1], CODEC[0])(one)
        assert [item.value async for item in many] == ["a", "a"]
        collect = made.stream_unary("/t.Late/Collect", CODEC[1], CODEC[0])
        assert (await collect(iter([one] * 3))).value == "3"
        each = made.stream_stream("/t.Late/Each", CODEC[1], CODEC[0])(iter([one] * 3))
        assert [item.value async for item in each] == ["a"] * 3
