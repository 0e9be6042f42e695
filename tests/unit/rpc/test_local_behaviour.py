"""One behaviour suite for both transports: a real socket and the in-process channel."""

from __future__ import annotations

import asyncio
import contextvars
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import grpc
import grpc.aio
import pytest
from google.protobuf.wrappers_pb2 import StringValue
from google.rpc import error_details_pb2, status_pb2
from grpc_status import rpc_status

from services.rpc.channels import PeerChannel
from services.rpc.limits import Limits
from services.rpc.local import LocalChannel, LocalServer

SERVICE = "test.v1.Echo"
MIB = 1024 * 1024
outer: contextvars.ContextVar[str] = contextvars.ContextVar("outer", default="nothing")


class Echo:
    """A servicer that shows what the transport does."""

    def __init__(self) -> None:
        self.started = asyncio.Event()
        self.ended = asyncio.Event()
        self.outcome = ""
        self.produced = 0
        self.seen: list[Any] = []

    async def say(self, request: StringValue, context: Any) -> StringValue:
        self.seen.append(request)
        return StringValue(value=f"{request.value}!")

    async def context(self, request: StringValue, context: Any) -> StringValue:
        await context.send_initial_metadata((("x-initial", "1"),))
        context.set_trailing_metadata((("x-trailing", "2"), ("x-raw-bin", b"\x00\xff")))
        self.seen.append(
            {
                "metadata": [tuple(entry) for entry in context.invocation_metadata()],
                "remaining": context.time_remaining(),
                "code": context.code(),
                "details": context.details(),
                "trailing": tuple(context.trailing_metadata()),
                "outer": outer.get(),
                "cancelled": context.cancelled(),
            }
        )
        context.add_done_callback(lambda _: self.ended.set())
        outer.set("handler")
        return StringValue(value="seen")

    async def abort(self, request: StringValue, context: Any) -> StringValue:
        await context.abort(
            grpc.StatusCode.FAILED_PRECONDITION, "not now", (("x-why", request.value),)
        )
        raise AssertionError("abort returned")

    async def status(self, request: StringValue, context: Any) -> StringValue:
        status = status_pb2.Status(code=5, message="no such row")
        status.details.add().Pack(
            error_details_pb2.ErrorInfo(reason="NOT_FOUND", domain="workspace")
        )
        await context.abort_with_status(rpc_status.to_status(status))
        raise AssertionError("abort_with_status returned")

    async def set_code(self, request: StringValue, context: Any) -> StringValue:
        context.set_code(grpc.StatusCode.NOT_FOUND)
        context.set_details("by set_code")
        return StringValue(value="never sent")

    async def swallow(self, request: StringValue, context: Any) -> StringValue:
        try:
            await context.abort(grpc.StatusCode.ABORTED, "kept")
        except grpc.aio.AbortError:
            self.seen.append((context.code(), context.details()))
            self.ended.set()
        return StringValue(value="never sent")

    async def boom(self, request: StringValue, context: Any) -> StringValue:
        raise LookupError("text of the exception")

    async def hang(self, request: StringValue, context: Any) -> StringValue:
        self.started.set()
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            self.outcome = "cancelled"
            raise
        finally:
            self.ended.set()
        return StringValue()

    async def large(self, request: StringValue, context: Any) -> StringValue:
        return StringValue(value="x" * int(request.value))

    async def count(self, request: StringValue, context: Any) -> AsyncIterator[StringValue]:
        try:
            for number in range(int(request.value)):
                self.produced += 1
                yield StringValue(value=str(number))
        finally:
            self.ended.set()

    async def write(self, request: StringValue, context: Any) -> None:
        for number in range(3):
            await context.write(StringValue(value=str(number)))

    async def break_off(self, request: StringValue, context: Any) -> AsyncIterator[StringValue]:
        yield StringValue(value="first")
        if request.value == "abort":
            await context.abort(grpc.StatusCode.DATA_LOSS, "half way")
        raise LookupError("mid stream")

    async def join(self, requests: AsyncIterator[StringValue], context: Any) -> StringValue:
        return StringValue(value=",".join([request.value async for request in requests]))

    async def first(self, requests: AsyncIterator[StringValue], context: Any) -> StringValue:
        return await anext(requests)

    async def chat(
        self, requests: AsyncIterator[StringValue], context: Any
    ) -> AsyncIterator[StringValue]:
        async for request in requests:
            yield StringValue(value=request.value.upper())

    def handlers(self) -> dict[str, grpc.RpcMethodHandler]:
        kinds: dict[Callable[..., Any], tuple[Any, ...]] = {
            grpc.unary_stream_rpc_method_handler: (self.count, self.write, self.break_off),
            grpc.stream_unary_rpc_method_handler: (self.join, self.first),
            grpc.stream_stream_rpc_method_handler: (self.chat,),
            grpc.unary_unary_rpc_method_handler: (
                *(self.say, self.context, self.abort, self.status, self.set_code, self.swallow),
                *(self.boom, self.hang, self.large),
            ),
        }
        return {
            method.__name__: kind(
                method,
                request_deserializer=StringValue.FromString,
                response_serializer=StringValue.SerializeToString,
            )
            for kind, methods in kinds.items()
            for method in methods
        }


class Wrap(grpc.aio.ServerInterceptor):
    """Notes the order and the context in which handlers run."""

    def __init__(self, name: str, notes: list[str]) -> None:
        self._name = name
        self._notes = notes

    async def intercept_service(
        self, continuation: Callable[..., Awaitable[Any]], details: grpc.HandlerCallDetails
    ) -> Any:
        handler = await continuation(details)
        if handler is None or handler.unary_unary is None:
            return handler
        inner = handler.unary_unary

        async def behaviour(request: Any, context: Any) -> Any:
            self._notes.append(f"{self._name}:{outer.get()}")
            outer.set(self._name)
            return await inner(request, context)

        return grpc.unary_unary_rpc_method_handler(
            behaviour, handler.request_deserializer, handler.response_serializer
        )


class Client:
    """Untyped stub of the echo service."""

    def __init__(self, channel: grpc.aio.Channel, echo: Echo, notes: list[str]) -> None:
        self.channel = channel
        self.echo = echo
        self.notes = notes

    def method(self, kind: str, name: str) -> Any:
        return getattr(self.channel, kind)(
            f"/{SERVICE}/{name}",
            request_serializer=StringValue.SerializeToString,
            response_deserializer=StringValue.FromString,
            _registered_method=True,
        )

    def unary(self, name: str, value: str = "", **options: Any) -> Any:
        return self.method("unary_unary", name)(StringValue(value=value), **options)

    def stream(self, name: str, value: str = "", **options: Any) -> Any:
        return self.method("unary_stream", name)(StringValue(value=value), **options)


@pytest.fixture(params=["socket", "local"])
async def client(request: pytest.FixtureRequest) -> AsyncIterator[Client]:
    echo, notes = Echo(), []
    interceptors = [Wrap("one", notes), Wrap("two", notes)]
    local = request.param == "local"
    server: Any = (
        LocalServer(interceptors=interceptors)
        if local
        else grpc.aio.server(interceptors=interceptors, options=Limits().server_options())
    )
    generic = grpc.method_handlers_generic_handler(SERVICE, echo.handlers())
    server.add_generic_rpc_handlers((generic,))
    server.add_registered_method_handlers(SERVICE, echo.handlers())
    port = 0 if local else server.add_insecure_port("127.0.0.1:0")
    await server.start()
    channel: grpc.aio.Channel = (
        LocalChannel(server, service="test_svc")
        if local
        else PeerChannel(
            grpc.aio.insecure_channel(f"127.0.0.1:{port}", options=Limits().channel_options())
        )
    )
    async with channel:
        yield Client(channel, echo, notes)
    await server.stop(None)


async def test_unary_returns_a_parsed_copy(client: Client) -> None:
    request = StringValue(value="hello")
    call = client.method("unary_unary", "say")(request)
    assert await call == StringValue(value="hello!")
    assert client.echo.seen[0] == request
    assert client.echo.seen[0] is not request
    assert await call.code() is grpc.StatusCode.OK
    assert await call.details() == ""
    assert call.done()
    assert not call.cancelled()
    assert not call.cancel()


async def test_request_is_taken_when_the_call_starts(client: Client) -> None:
    request = StringValue(value="before")
    call = client.method("unary_unary", "say")(request)
    await call.wait_for_connection()
    request.value = "after"
    assert (await call).value == "before!"


async def test_metadata_travels_both_ways(client: Client) -> None:
    sent = (("x-key", "one"), ("x-key", "two"), ("x-data-bin", b"\x00\xff"))
    call = client.unary("context", metadata=sent, timeout=5)
    assert ("x-initial", "1") in list(await call.initial_metadata())
    await call
    trailing = list(await call.trailing_metadata())
    assert trailing == [("x-trailing", "2"), ("x-raw-bin", b"\x00\xff")]
    seen = client.echo.seen[0]
    assert [entry for entry in seen["metadata"] if entry[0].startswith("x-")] == list(sent)
    assert seen["code"] is None
    assert seen["details"] == ""
    assert seen["trailing"] == (("x-trailing", "2"), ("x-raw-bin", b"\x00\xff"))
    assert seen["cancelled"] is False
    async with asyncio.timeout(10):
        await client.echo.ended.wait()


async def test_deadline_reaches_the_handler(client: Client) -> None:
    await client.unary("context", timeout=50)
    assert 40 < client.echo.seen[0]["remaining"] <= 51


async def test_no_timeout_means_the_default(client: Client) -> None:
    await client.unary("context")
    assert 5 < client.echo.seen[0]["remaining"] <= 11


async def test_context_of_the_caller_stays_with_the_caller(client: Client) -> None:
    outer.set("caller")
    await client.unary("context")
    assert client.echo.seen[0]["outer"] == "two"
    assert outer.get() == "caller"
    await client.unary("context")
    # Each call starts with an empty context, which its interceptors share.
    assert client.notes == ["one:nothing", "two:one"] * 2


async def test_abort_carries_code_details_and_trailers(client: Client) -> None:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await client.unary("abort", "because")
    assert caught.value.code() is grpc.StatusCode.FAILED_PRECONDITION
    assert caught.value.details() == "not now"
    assert list(caught.value.trailing_metadata()) == [("x-why", "because")]


async def test_abort_with_status_carries_the_rich_status(client: Client) -> None:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await client.unary("status")
    status = rpc_status.from_call(caught.value)
    assert status is not None
    assert (status.code, status.message) == (5, "no such row")
    info = error_details_pb2.ErrorInfo()
    assert status.details[0].Unpack(info)
    assert (info.reason, info.domain) == ("NOT_FOUND", "workspace")


@pytest.mark.parametrize(
    ("method", "code", "details"),
    [
        ("set_code", grpc.StatusCode.NOT_FOUND, "by set_code"),
        ("swallow", grpc.StatusCode.ABORTED, "kept"),
        (
            "boom",
            grpc.StatusCode.UNKNOWN,
            "Unexpected <class 'LookupError'>: text of the exception",
        ),
        ("absent", grpc.StatusCode.UNIMPLEMENTED, "Method not found!"),
    ],
)
async def test_errors(client: Client, method: str, code: grpc.StatusCode, details: str) -> None:
    call = client.unary(method)
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call
    assert (caught.value.code(), caught.value.details()) == (code, details)
    assert await call.code() is code
    assert await call.details() == details


async def test_context_knows_the_code_after_abort(client: Client) -> None:
    with pytest.raises(grpc.aio.AioRpcError):
        await client.unary("swallow")
    async with asyncio.timeout(10):  # over a socket the answer is there first
        await client.echo.ended.wait()
    assert client.echo.seen == [(grpc.StatusCode.ABORTED, "kept")]


async def test_deadline_ends_the_call_and_cancels_the_handler(client: Client) -> None:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await client.unary("hang", timeout=0.3)
    assert caught.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED
    assert caught.value.details() == "Deadline Exceeded"
    async with asyncio.timeout(10):
        await client.echo.ended.wait()
    assert client.echo.outcome == "cancelled"


async def test_deadline_in_the_past_fails_at_once(client: Client) -> None:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await client.unary("say", timeout=-1)
    assert caught.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED
    assert client.echo.seen == []


async def test_cancel_reaches_the_handler(client: Client) -> None:
    call = client.unary("hang")
    async with asyncio.timeout(10):
        await client.echo.started.wait()
        assert call.cancel()
        assert call.cancelled()
        assert not call.cancel()
        await client.echo.ended.wait()
    assert client.echo.outcome == "cancelled"
    assert await call.code() is grpc.StatusCode.CANCELLED
    assert await call.details() == "Locally cancelled by application!"
    with pytest.raises(asyncio.CancelledError):
        await call


async def test_cancelling_the_waiting_task_cancels_the_handler(client: Client) -> None:
    call = client.unary("hang")

    async def wait() -> None:
        await call

    waiting = asyncio.create_task(wait())
    async with asyncio.timeout(10):
        await client.echo.started.wait()
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
        await client.echo.ended.wait()
    assert call.cancelled()
    assert client.echo.outcome == "cancelled"


async def test_waiting_for_the_code_only_does_not_cancel(client: Client) -> None:
    call = client.unary("hang")
    watching = asyncio.create_task(call.code())
    async with asyncio.timeout(10):
        await client.echo.started.wait()
    watching.cancel()
    with pytest.raises(asyncio.CancelledError):
        await watching
    assert not call.done()
    call.cancel()


async def test_done_callback_of_the_client(client: Client) -> None:
    finished: asyncio.Queue[Any] = asyncio.Queue()
    call = client.unary("say")
    call.add_done_callback(finished.put_nowait)
    await call
    async with asyncio.timeout(10):
        assert await finished.get() is call


async def test_message_limits(client: Client) -> None:
    assert len((await client.unary("large", str(4 * MIB - 100))).value) == 4 * MIB - 100
    for call in (client.unary("large", str(4 * MIB)), client.unary("say", "x" * (4 * MIB))):
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await call
        assert caught.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
        assert "message larger than max" in (caught.value.details() or "")


async def test_metadata_limit(client: Client) -> None:
    metadata = (("authorization", "x" * 40_000),)
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await client.unary("say", metadata=metadata)
    assert caught.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert client.echo.seen == []


async def _drain(call: Any, received: list[str] | None = None) -> None:
    async for message in call:
        if received is not None:
            received.append(message.value)
        await asyncio.sleep(0.01)


async def _read_to_end(call: Any) -> None:
    while await call.read() is not grpc.aio.EOF:
        pass


async def test_server_stream(client: Client) -> None:
    call = client.stream("count", "5")
    assert [message.value async for message in call] == list("01234")
    assert await call.code() is grpc.StatusCode.OK
    assert await call.read() is grpc.aio.EOF


async def test_server_stream_by_read_and_write(client: Client) -> None:
    call = client.stream("write")
    messages = [(await call.read()).value for _ in range(3)]
    assert messages == ["0", "1", "2"]
    assert await call.read() is grpc.aio.EOF


async def test_empty_stream(client: Client) -> None:
    assert [message async for message in client.stream("count", "0")] == []


@pytest.mark.parametrize(
    ("how", "code"),
    [("abort", grpc.StatusCode.DATA_LOSS), ("raise", grpc.StatusCode.UNKNOWN)],
)
async def test_error_inside_a_stream_comes_after_its_messages(
    client: Client, how: str, code: grpc.StatusCode
) -> None:
    received: list[str] = []
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await _drain(client.stream("break_off", how), received)
    assert received == ["first"]
    assert caught.value.code() is code


async def test_cancelling_a_stream_ends_its_generator(client: Client) -> None:
    call = client.stream("count", "1000000000")
    assert (await call.read()).value == "0"
    assert call.cancel()
    with pytest.raises(asyncio.CancelledError):
        await _read_to_end(call)
    async with asyncio.timeout(10):
        await client.echo.ended.wait()


async def test_stream_deadline(client: Client) -> None:
    call = client.stream("count", "1000000000", timeout=0.3)
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await _drain(call)
    assert caught.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED


async def test_client_stream_from_iterables(client: Client) -> None:
    async def letters() -> AsyncIterator[StringValue]:
        for letter in "abc":
            yield StringValue(value=letter)

    assert (await client.method("stream_unary", "join")(letters())).value == "a,b,c"
    plain = iter([StringValue(value="x"), StringValue(value="y")])
    assert (await client.method("stream_unary", "join")(plain)).value == "x,y"


async def test_client_stream_by_write(client: Client) -> None:
    call = client.method("stream_unary", "join")()
    await call.write(StringValue(value="a"))
    await call.write(StringValue(value="b"))
    await call.done_writing()
    await call.done_writing()
    with pytest.raises(asyncio.InvalidStateError):
        await call.write(StringValue(value="c"))
    assert (await call).value == "a,b"


async def test_handler_may_answer_before_the_stream_ends(client: Client) -> None:
    async def endless() -> AsyncIterator[StringValue]:
        number = 0
        while True:
            yield StringValue(value=str(number))
            number += 1

    async with asyncio.timeout(30):
        assert (await client.method("stream_unary", "first")(endless())).value == "0"


async def test_failing_request_iterator_cancels_the_call(client: Client) -> None:
    async def broken() -> AsyncIterator[StringValue]:
        yield StringValue(value="a")
        raise LookupError("on the client")

    with pytest.raises(asyncio.CancelledError):
        await client.method("stream_unary", "join")(broken())


async def test_large_message_inside_a_request_stream(client: Client) -> None:
    requests = iter([StringValue(value="a"), StringValue(value="x" * (4 * MIB))])
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await client.method("stream_unary", "join")(requests)
    assert caught.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED


async def test_bidirectional_stream(client: Client) -> None:
    call = client.method("stream_stream", "chat")()
    for letter in "abc":
        await call.write(StringValue(value=letter))
        assert (await call.read()).value == letter.upper()
    await call.done_writing()
    assert await call.read() is grpc.aio.EOF
    echoed = client.method("stream_stream", "chat")(iter([StringValue(value="q")]))
    assert [message.value async for message in echoed] == ["Q"]


async def test_concurrent_calls_do_not_mix(client: Client) -> None:
    answers = await asyncio.gather(*(client.unary("say", str(n)) for n in range(50)))
    assert [answer.value for answer in answers] == [f"{n}!" for n in range(50)]


async def test_closed_channel_refuses(client: Client) -> None:
    running = client.unary("hang")
    async with asyncio.timeout(10):
        await client.echo.started.wait()
        await client.channel.close()
        await client.echo.ended.wait()
    assert running.cancelled()
    assert client.channel.get_state() is grpc.ChannelConnectivity.SHUTDOWN
    with pytest.raises(grpc.aio.UsageError):
        client.unary("say")
