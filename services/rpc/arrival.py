"""The request of a call has to arrive: who opens one and sends nothing is cut off.

gRPC takes a place of `maximum_concurrent_rpcs` as soon as a call begins, reads the request
without a limit of time, and only then asks a handler: before any deadline of ours. So the
methods that take one message are served as if they took a stream, and the message is read
here.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing
from typing import Any, ClassVar

import grpc
import grpc.aio

from services.model.errors import Reason, WorkspaceError, invalid_field
from services.rpc.errors import abort
from services.rpc.request_id import request_id_of
from services.rpc.wrap import (
    CallInterceptor,
    Context,
    Handler,
    Stream,
    Unary,
    as_generator,
    wrap_handler,
)

__all__ = ["ArrivalInterceptor"]

_HANG_UP = 0.05
"""What gRPC needs to tell that the client is gone, whose missing message it told already (s)."""


class ArrivalInterceptor(CallInterceptor):
    """The outermost interceptor of a socket server: waits `seconds` for the message of a
    call, and for each message of a stream."""

    name: ClassVar[str] = "arrival"

    def __init__(self, seconds: float) -> None:
        super().__init__()
        self._seconds = seconds

    def wrap(self, _method: str, handler: Handler) -> Handler:
        """Handlers of one message become handlers of a stream, which gRPC does not read."""
        if handler.request_streaming:
            return self._patient(handler)
        encode = handler.response_serializer
        if handler.response_streaming:
            many = self._many(as_generator(handler.unary_stream), handler.request_deserializer)
            return grpc.stream_stream_rpc_method_handler(many, None, encode)
        one = self._one(handler.unary_unary, handler.request_deserializer)
        return grpc.stream_unary_rpc_method_handler(one, None, encode)

    def _one(self, inner: Any, decode: Any) -> Unary:
        async def serve(_: Any, context: Context) -> Any:
            return await inner(await self._message(decode, context), context)

        return serve

    def _many(self, inner: Stream, decode: Any) -> Stream:
        async def serve(_: Any, context: Context) -> AsyncGenerator[Any, None]:
            request = await self._message(decode, context)
            async with aclosing(inner(request, context)) as items:
                async for item in items:
                    yield item

        return serve

    async def _message(self, decode: Any, context: Context) -> Any:
        try:
            async with asyncio.timeout(self._seconds):
                data = await context.read()
        except TimeoutError:
            await _end(_too_slow(self._seconds), context)
        if data is grpc.aio.EOF:
            await asyncio.sleep(_HANG_UP)
            await _end(invalid_field("request", "is missing; send one message"), context)
        return decode(data) if decode else data

    def _patient(self, handler: Handler) -> Handler:
        """The messages one by one; the interceptors inside tell the client what is wrong."""

        async def timed(requests: AsyncIterator[Any]) -> AsyncGenerator[Any, None]:
            while True:
                try:
                    async with asyncio.timeout(self._seconds):
                        item = await anext(requests)
                except TimeoutError:
                    raise _too_slow(self._seconds) from None
                except StopAsyncIteration:
                    return
                yield item

        def unary(inner: Unary) -> Unary:
            async def serve(requests: Any, context: Context) -> Any:
                return await inner(timed(requests), context)

            return serve

        def stream(inner: Stream) -> Stream:
            async def serve(requests: Any, context: Context) -> AsyncGenerator[Any, None]:
                async with aclosing(inner(timed(requests), context)) as items:
                    async for item in items:
                        yield item

            return serve

        return wrap_handler(handler, unary, stream)


async def _end(error: WorkspaceError, context: Context) -> None:
    await abort(error, request_id_of(tuple(context.invocation_metadata() or ())), context)


def _too_slow(seconds: float) -> WorkspaceError:
    return WorkspaceError(
        Reason.ERROR_REASON_DEADLINE_EXCEEDED,
        f"No message arrived within {seconds:g} s; send it as soon as the call is open.",
    )
