"""`grpc.aio.Channel` to a `LocalServer`: generated stubs work on it unchanged."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from types import TracebackType
from typing import Any, Self
from weakref import WeakSet

import grpc
import grpc.aio

from services.rpc.local import call as calls
from services.rpc.local.exchange import Exchange
from services.rpc.local.metadata import checked
from services.rpc.local.server import LocalServer
from services.rpc.propagation import STREAM_TIMEOUT, UNARY_TIMEOUT, outgoing

__all__ = ["LocalChannel"]

Serializer = Callable[[Any], bytes]
Deserializer = Callable[[bytes], Any]


class LocalChannel(grpc.aio.Channel):
    """Calls `server` in this process, as the service named `service`.

    The name is the verified identity that handlers see in
    `context.auth_context()["workspace_service"]`; '' is no service (the HTTP
    gateway, the command line). Messages are serialised and parsed both ways.
    Calls run under min(own timeout, what is left of the current call).
    """

    def __init__(self, server: LocalServer, *, service: str) -> None:
        self._server = server
        self._service = service
        self._active: WeakSet[Exchange] = WeakSet()
        self._closed = asyncio.Event()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc_val: BaseException | None,
        exc_tb: TracebackType | None,
    ) -> bool | None:
        await self.close()
        return None

    async def close(self, grace: float | None = None) -> None:
        """Cancel running calls after `grace` seconds; later calls are refused."""
        self._closed.set()
        running = [exchange for exchange in self._active if exchange.code is None]
        if running and grace:
            waits = [asyncio.ensure_future(exchange.wait()) for exchange in running]
            _, late = await asyncio.wait(waits, timeout=grace)
            for wait in late:
                wait.cancel()
        for exchange in running:
            exchange.cancel()

    def get_state(self, try_to_connect: bool = False) -> grpc.ChannelConnectivity:
        del try_to_connect
        states = grpc.ChannelConnectivity
        return states.SHUTDOWN if self._closed.is_set() else states.READY

    async def wait_for_state_change(self, last_observed_state: grpc.ChannelConnectivity) -> None:
        if self.get_state() is last_observed_state:
            await self._closed.wait()

    async def channel_ready(self) -> None:
        if self._closed.is_set():
            raise grpc.aio.UsageError("Channel is closed.")

    def unary_unary(
        self,
        method: str,
        request_serializer: Serializer | None = None,
        response_deserializer: Deserializer | None = None,
        _registered_method: bool | None = False,
    ) -> grpc.aio.UnaryUnaryMultiCallable[Any, Any]:
        return _UnaryUnary(self, method, request_serializer, response_deserializer)

    def unary_stream(
        self,
        method: str,
        request_serializer: Serializer | None = None,
        response_deserializer: Deserializer | None = None,
        _registered_method: bool | None = False,
    ) -> grpc.aio.UnaryStreamMultiCallable[Any, Any]:
        return _UnaryStream(self, method, request_serializer, response_deserializer)

    def stream_unary(
        self,
        method: str,
        request_serializer: Serializer | None = None,
        response_deserializer: Deserializer | None = None,
        _registered_method: bool | None = False,
    ) -> grpc.aio.StreamUnaryMultiCallable[Any, Any]:
        return _StreamUnary(self, method, request_serializer, response_deserializer)

    def stream_stream(
        self,
        method: str,
        request_serializer: Serializer | None = None,
        response_deserializer: Deserializer | None = None,
        _registered_method: bool | None = False,
    ) -> grpc.aio.StreamStreamMultiCallable[Any, Any]:
        return _StreamStream(self, method, request_serializer, response_deserializer)

    def accepts(self, exchange: Exchange, raw: bytes) -> bool:
        """Whether a further request message fits the server's limit."""
        return self._server.accepts(exchange, raw)

    def begin(
        self,
        method: str,
        request: bytes | None,
        response_streaming: bool,
        timeout: float | None,
        metadata: Any,
        credentials: grpc.CallCredentials | None,
    ) -> Exchange:
        """Start one call. Raises grpc.aio.UsageError on a closed channel."""
        if self._closed.is_set():
            raise grpc.aio.UsageError("Channel is closed.")
        if credentials is not None:
            raise grpc.aio.UsageError("call credentials need a TLS channel; send metadata")
        streaming = response_streaming or request is None
        default = STREAM_TIMEOUT if streaming else UNARY_TIMEOUT
        timeout, entries = outgoing(timeout, metadata, default=default)
        exchange = Exchange(
            method=method,
            service=self._service,
            metadata=checked(entries),
            timeout=timeout,
            request=request,
            response_streaming=response_streaming,
        )
        if timeout <= 0:
            exchange.expire()
        else:
            self._server.begin(exchange)
        self._active.add(exchange)
        return exchange


class _Callable:
    """One method of a stub. `wait_for_ready` and `compression` mean nothing here."""

    __slots__ = ("_channel", "_deserializer", "_method", "_serializer")

    def __init__(
        self,
        channel: LocalChannel,
        method: str | bytes,
        serializer: Serializer | None,
        deserializer: Deserializer | None,
    ) -> None:
        self._channel = channel
        self._method = method.decode() if isinstance(method, bytes) else method
        self._serializer = serializer
        self._deserializer = deserializer

    def _encode(self, request: Any) -> bytes:
        raw: bytes = self._serializer(request) if self._serializer else request
        return raw


class _UnaryUnary(_Callable, grpc.aio.UnaryUnaryMultiCallable[Any, Any]):
    def __call__(
        self,
        request: Any,
        *,
        timeout: float | None = None,
        metadata: Any = None,
        credentials: grpc.CallCredentials | None = None,
        **_hints: Any,
    ) -> calls.UnaryUnaryCall:
        raw = self._encode(request)
        exchange = self._channel.begin(self._method, raw, False, timeout, metadata, credentials)
        return calls.UnaryUnaryCall(exchange, self._deserializer)


class _UnaryStream(_Callable, grpc.aio.UnaryStreamMultiCallable[Any, Any]):
    def __call__(
        self,
        request: Any,
        *,
        timeout: float | None = None,
        metadata: Any = None,
        credentials: grpc.CallCredentials | None = None,
        **_hints: Any,
    ) -> calls.UnaryStreamCall:
        raw = self._encode(request)
        exchange = self._channel.begin(self._method, raw, True, timeout, metadata, credentials)
        return calls.UnaryStreamCall(exchange, self._deserializer)


class _StreamUnary(_Callable, grpc.aio.StreamUnaryMultiCallable[Any, Any]):
    def __call__(
        self,
        request_iterator: Any = None,
        timeout: float | None = None,
        metadata: Any = None,
        credentials: grpc.CallCredentials | None = None,
        *_more: Any,
        **_hints: Any,
    ) -> calls.StreamUnaryCall:
        exchange = self._channel.begin(self._method, None, False, timeout, metadata, credentials)
        writer = calls.Writer(exchange, self._serializer, self._channel.accepts)
        return calls.StreamUnaryCall(exchange, self._deserializer, writer, request_iterator)


class _StreamStream(_Callable, grpc.aio.StreamStreamMultiCallable[Any, Any]):
    def __call__(
        self,
        request_iterator: Any = None,
        timeout: float | None = None,
        metadata: Any = None,
        credentials: grpc.CallCredentials | None = None,
        *_more: Any,
        **_hints: Any,
    ) -> calls.StreamStreamCall:
        exchange = self._channel.begin(self._method, None, True, timeout, metadata, credentials)
        writer = calls.Writer(exchange, self._serializer, self._channel.accepts)
        return calls.StreamStreamCall(exchange, self._deserializer, writer, request_iterator)
