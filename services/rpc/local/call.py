"""Client-side call objects of the in-process channel (grpc.aio semantics)."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterable, AsyncIterator, Callable, Generator, Iterable
from typing import Any

import grpc
import grpc.aio

from services.rpc.local.exchange import Exchange

__all__ = ["StreamStreamCall", "StreamUnaryCall", "UnaryStreamCall", "UnaryUnaryCall", "Writer"]

Serializer = Callable[[Any], bytes]
Deserializer = Callable[[bytes], Any]
Requests = AsyncIterable[Any] | Iterable[Any]
Accepts = Callable[[Exchange, bytes], bool]


class _Call(grpc.aio.Call):
    """What all kinds share: status, metadata, cancellation."""

    def __init__(self, exchange: Exchange, deserializer: Deserializer | None) -> None:
        self._exchange = exchange
        self._deserializer = deserializer

    def cancelled(self) -> bool:
        return self._exchange.code is grpc.StatusCode.CANCELLED

    def done(self) -> bool:
        return self._exchange.code is not None

    def time_remaining(self) -> float | None:
        return self._exchange.remaining()

    def cancel(self) -> bool:
        return self._exchange.cancel()

    def add_done_callback(self, callback: Callable[[Any], None]) -> None:
        if self.done():
            callback(self)
        else:
            self._exchange.on_done.append(lambda: callback(self))

    async def initial_metadata(self) -> grpc.aio.Metadata:
        return grpc.aio.Metadata.from_tuple(await self._exchange.wait_initial())

    async def trailing_metadata(self) -> grpc.aio.Metadata:
        await self._exchange.wait()
        return grpc.aio.Metadata.from_tuple(self._exchange.trailing)

    async def code(self) -> grpc.StatusCode:
        await self._exchange.wait()
        assert self._exchange.code is not None
        return self._exchange.code

    async def details(self) -> str:
        await self._exchange.wait()
        return self._exchange.details

    async def debug_error_string(self) -> str:
        return await self.details()

    async def wait_for_connection(self) -> None:
        """There is nothing to connect; a refused call raises its status."""
        if self.done():
            self._raise_for_status()

    def _raise_for_status(self) -> None:
        exchange = self._exchange
        if exchange.cancelled:
            raise asyncio.CancelledError
        if exchange.code is not None and exchange.code is not grpc.StatusCode.OK:
            raise grpc.aio.AioRpcError(
                exchange.code,
                grpc.aio.Metadata.from_tuple(exchange.initial or ()),
                grpc.aio.Metadata.from_tuple(exchange.trailing),
                details=exchange.details,
            )

    def _decode(self, raw: bytes) -> Any:
        return self._deserializer(raw) if self._deserializer else raw


class _UnaryResponse(_Call):
    """Await it for the response."""

    def __await__(self) -> Generator[Any, None, Any]:
        try:
            yield from self._exchange.wait().__await__()
        except asyncio.CancelledError:  # the waiting task was cancelled: so is the call
            self._exchange.cancel()
            raise
        self._raise_for_status()
        assert self._exchange.response is not None
        return self._decode(self._exchange.response)


class _StreamResponse(_Call):
    """Iterate it, or `read` until `grpc.aio.EOF`."""

    def __del__(self) -> None:
        # A caller that left its loop early will never read again.
        exchange = self._exchange
        if exchange.code is None and not exchange.loop.is_closed():
            exchange.cancel()

    async def read(self) -> Any:
        assert self._exchange.responses is not None
        try:
            raw = await self._exchange.responses.get()
            if raw is not None:
                return self._decode(raw)
            await self._exchange.wait()
        except asyncio.CancelledError:
            self._exchange.cancel()
            raise
        self._raise_for_status()
        return grpc.aio.EOF

    def __aiter__(self) -> AsyncIterator[Any]:
        return self._messages()

    async def _messages(self) -> AsyncIterator[Any]:
        while (message := await self.read()) is not grpc.aio.EOF:
            yield message


class _StreamRequest(_Call):
    """Write requests, or hand over an iterable of them."""

    def __init__(
        self,
        exchange: Exchange,
        deserializer: Deserializer | None,
        writer: Writer,
        requests: Requests | None,
    ) -> None:
        super().__init__(exchange, deserializer)
        self._writer = writer
        self._by_iterator = requests is not None
        if requests is not None:
            # The task holds the writer, not the call: an abandoned call can be collected.
            exchange.attend(_consume(writer, requests))

    async def write(self, request: Any) -> None:
        self._no_iterator()
        if self.done():
            raise asyncio.InvalidStateError("RPC already finished.")
        try:
            await self._writer.write(request)
        except asyncio.CancelledError:
            self._exchange.cancel()
            raise
        self._raise_for_status()

    async def done_writing(self) -> None:
        self._no_iterator()
        self._writer.close()

    def _no_iterator(self) -> None:
        if self._by_iterator:
            raise grpc.aio.UsageError("the requests of this call come from an iterator")


class Writer:
    """The sending end of a request stream."""

    __slots__ = ("_accepts", "_closed", "_serializer", "exchange")

    def __init__(self, exchange: Exchange, serializer: Serializer | None, accepts: Accepts) -> None:
        self.exchange = exchange
        self._serializer = serializer
        self._accepts = accepts
        self._closed = False

    async def write(self, request: Any) -> bool:
        """False when the call is over and nobody reads."""
        if self._closed:
            raise asyncio.InvalidStateError('RPC is half closed after calling "done_writing".')
        assert self.exchange.requests is not None
        raw = self._serializer(request) if self._serializer else request
        return self._accepts(self.exchange, raw) and await self.exchange.requests.put(raw)

    def close(self) -> None:
        self._closed = True
        assert self.exchange.requests is not None
        self.exchange.requests.close()


async def _consume(writer: Writer, requests: Requests) -> None:
    """Send what the caller's iterator gives. If it fails, the call is cancelled."""
    try:
        if isinstance(requests, AsyncIterable):
            async for request in requests:
                if not await writer.write(request):
                    return
        else:
            for request in requests:
                if not await writer.write(request):
                    return
        writer.close()
    except Exception:  # the caller's own iterator: like grpc.aio, cancel the call
        writer.exchange.cancel()


class UnaryUnaryCall(_UnaryResponse, grpc.aio.UnaryUnaryCall[Any, Any]):
    """One request, one response."""


class UnaryStreamCall(_StreamResponse, grpc.aio.UnaryStreamCall[Any, Any]):
    """One request, a stream of responses."""


class StreamUnaryCall(_StreamRequest, _UnaryResponse, grpc.aio.StreamUnaryCall[Any, Any]):
    """A stream of requests, one response."""


class StreamStreamCall(_StreamRequest, _StreamResponse, grpc.aio.StreamStreamCall[Any, Any]):
    """Streams both ways."""
