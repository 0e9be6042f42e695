"""Runs RPCs on behalf of HTTP clients, only as long as the client is there."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Coroutine
from typing import Any, TypeVar

import grpc.aio
from google.protobuf.message import Message
from starlette.types import Receive, Send

from services.http.errors import seen_status, status_object
from services.http.headers import RequestHeaders
from services.http.limits import ClientGone, HttpLimits
from services.http.routes import Route
from services.http.transcode import to_json
from services.model.errors import Reason, WorkspaceError

__all__ = ["Caller", "encode", "stream_answer", "while_connected"]

T = TypeVar("T")


class Caller:
    """Calls routed methods over the channels of their services."""

    def __init__(self, channel_for: Callable[[str], grpc.aio.Channel]) -> None:
        self._channel_for = channel_for
        self._channels: dict[str, grpc.aio.Channel] = {}
        self._methods: dict[str, Any] = {}

    async def unary(self, route: Route, request: Message, headers: RequestHeaders) -> Message:
        """The answer. Raises AioRpcError."""
        call = self._method(route)(request, timeout=headers.timeout, metadata=headers.metadata)
        answer: Message = await call
        return answer

    def stream(
        self, route: Route, request: Message, headers: RequestHeaders
    ) -> AsyncIterator[Message]:
        """The messages of a server stream; `cancel()` ends it."""
        method = self._method(route)
        call: AsyncIterator[Message] = method(
            request, timeout=headers.timeout, metadata=headers.metadata
        )
        return call

    def _method(self, route: Route) -> Any:
        method = self._methods.get(route.rpc)
        if method is None:
            channel = self._channel(route.service)
            make = channel.unary_stream if route.streams else channel.unary_unary
            method = make(route.rpc, route.request.SerializeToString, route.response.FromString)
            self._methods[route.rpc] = method
        return method

    def _channel(self, service: str) -> grpc.aio.Channel:
        if service not in self._channels:
            self._channels[service] = self._channel_for(service)
        return self._channels[service]


async def while_connected(receive: Receive, work: Coroutine[Any, Any, T]) -> T:
    """The result of `work`; it is cancelled when the client goes away (ClientGone).

    Call it after the body was read.
    """
    task = asyncio.create_task(work)
    gone = asyncio.create_task(_disconnected(receive))
    try:
        await asyncio.wait({task, gone}, return_when=asyncio.FIRST_COMPLETED)
        if not task.done():
            raise ClientGone
        if task.cancelled():  # the channel was closed under the call
            raise WorkspaceError(
                Reason.ERROR_REASON_BACKEND_UNAVAILABLE,
                "The service is stopping; repeat the call.",
                metadata={"backend": "peer"},
            )
        return task.result()
    finally:
        task.cancel()
        gone.cancel()
        await asyncio.gather(task, gone, return_exceptions=True)


async def _disconnected(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


async def encode(message: Message, limits: HttpLimits) -> bytes:
    """JSON of an answer; large ones off the loop."""
    if message.ByteSize() > limits.offload_bytes:
        return await asyncio.to_thread(to_json, message)
    return to_json(message)


async def stream_answer(
    messages: AsyncIterator[Message], send: Send, *, request_id: str, limits: HttpLimits
) -> None:
    """NDJSON: `{"result":...}` lines, and a last `{"error":...}` line on failure.

    A failure before the first message is raised, so that it gets a status of
    its own. A first message that does not come soon does not hold up the 200.
    """
    iterator = aiter(messages)
    first: asyncio.Future[Any] = asyncio.ensure_future(_next(iterator))
    try:
        await asyncio.wait({first}, timeout=limits.stream_head_wait)
        if first.done():
            first.result()
        await send(
            {
                "type": "http.response.start",
                "status": 200,
                "headers": [(b"content-type", b"application/x-ndjson")],
            }
        )
        await _write_lines(first, iterator, send, request_id, limits)
    finally:
        first.cancel()
        await asyncio.gather(first, return_exceptions=True)
        if isinstance(messages, grpc.aio.Call):
            messages.cancel()


async def _next(iterator: AsyncIterator[Message]) -> Message | None:
    return await anext(iterator, None)


async def _write_lines(
    first: asyncio.Future[Any],
    iterator: AsyncIterator[Message],
    send: Send,
    request_id: str,
    limits: HttpLimits,
) -> None:
    try:
        message = await first
        while message is not None:
            line = b'{"result":' + await encode(message, limits) + b"}\n"
            await _write(send, line, limits)
            message = await anext(iterator, None)
    except grpc.aio.AioRpcError as error:
        status = status_object(seen_status(error, request_id))
        text = json.dumps({"error": status}, ensure_ascii=False, separators=(",", ":"))
        await _write(send, text.encode("utf-8", "replace") + b"\n", limits)
    await send({"type": "http.response.body", "body": b"", "more_body": False})


async def _write(send: Send, line: bytes, limits: HttpLimits) -> None:
    try:
        async with asyncio.timeout(limits.stream_write_timeout):
            await send({"type": "http.response.body", "body": line, "more_body": True})
    except TimeoutError:
        raise ClientGone from None
