"""An in-process gRPC server: generated registration and the socket server's interceptors."""

from __future__ import annotations

import asyncio
import contextvars
import functools
import logging
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import grpc
import grpc.aio

from services.rpc.limits import Limits
from services.rpc.local.context import LocalContext, MessageTooLargeError, RequestIterator
from services.rpc.local.exchange import Exchange
from services.rpc.local.metadata import metadata_size

__all__ = ["LocalServer"]

_log = logging.getLogger(__name__)

if TYPE_CHECKING:  # the stubs are generic, the classes are not
    Handler = grpc.RpcMethodHandler[Any, Any]
    _Continuation = Callable[[grpc.HandlerCallDetails], Awaitable[Handler | None]]


class _Details(grpc.HandlerCallDetails):
    """Call details while a chain is built: known is the method, nothing of one call."""

    def __init__(self, method: str) -> None:
        self.method = method

    @property
    def invocation_metadata(self) -> Any:
        # A chain is built once per method: a decision by metadata made here
        # would be applied to every later caller. Fail instead.
        raise RuntimeError("read context.invocation_metadata() in the handler, not the details")

    @invocation_metadata.setter
    def invocation_metadata(self, _value: Any) -> None:
        raise RuntimeError("call details are read-only")


class LocalServer(grpc.aio.Server):
    """Serves `LocalChannel`s of this process.

    Each call runs in a task of its own with an empty context, through
    `interceptors` (the same objects as on the socket server, outermost first).
    The chain of a method is built once. `maximum_concurrent_rpcs` None: no
    limit (the entrances limit already).
    """

    def __init__(
        self,
        *,
        interceptors: Sequence[grpc.aio.ServerInterceptor] = (),
        limits: Limits | None = None,
        maximum_concurrent_rpcs: int | None = None,
    ) -> None:
        self._interceptors = tuple(interceptors)
        self._limits = limits or Limits()
        self._maximum = maximum_concurrent_rpcs
        self._registered: dict[str, Handler] = {}
        self._generic: list[grpc.GenericRpcHandler] = []
        self._chains: dict[str, Handler] = {}
        self._running: dict[asyncio.Task[None], Exchange] = {}
        self._stopping = False
        self._stopped = asyncio.Event()

    def intercept(self, interceptors: Sequence[grpc.aio.ServerInterceptor]) -> None:
        """Set the interceptors of a server whose channels had to be handed out
        before they could be built (services that call each other). Only before
        the first registration, so that nothing is ever served without them.
        """
        if self._registered or self._generic:
            raise grpc.aio.UsageError("set the interceptors before anything is registered")
        self._interceptors = tuple(interceptors)

    # Registration, as generated code does it

    def add_generic_rpc_handlers(
        self, generic_rpc_handlers: Iterable[grpc.GenericRpcHandler]
    ) -> None:
        self._generic.extend(generic_rpc_handlers)
        self._chains.clear()

    def add_registered_method_handlers(
        self, service_name: str, method_handlers: Mapping[str, Handler]
    ) -> None:
        for name, handler in method_handlers.items():
            self._registered[f"/{service_name}/{name}"] = handler
        self._chains.clear()

    def add_insecure_port(self, address: str) -> int:
        raise grpc.aio.UsageError(f"{address}: an in-process server has no ports; use RpcServer")

    def add_secure_port(self, address: str, server_credentials: grpc.ServerCredentials) -> int:
        del server_credentials
        return self.add_insecure_port(address)

    # Life

    async def start(self) -> None:
        """Calls are served from construction on; here for symmetry with sockets."""

    async def stop(self, grace: float | None) -> None:
        """Refuse new calls, give the running ones `grace` seconds, cancel the rest."""
        self._stopping = True
        if self._running and grace:
            await asyncio.wait(self._running, timeout=grace)
        for exchange in list(self._running.values()):
            exchange.stop("Cancelling all calls")
        if self._running:
            await asyncio.wait(self._running)
        self._stopped.set()

    async def wait_for_termination(self, timeout: float | None = None) -> bool:
        """True when `timeout` seconds passed before the server had stopped."""
        try:
            await asyncio.wait_for(self._stopped.wait(), timeout)
        except TimeoutError:
            return True
        return False

    # Serving

    def begin(self, exchange: Exchange) -> None:
        """Start serving `exchange`; refusals finish it at once."""
        if self._refuse(exchange):
            return
        task = exchange.loop.create_task(self._serve(exchange), context=contextvars.Context())
        exchange.task = task
        self._running[task] = exchange
        task.add_done_callback(self._forget)

    def accepts(self, exchange: Exchange, raw: bytes) -> bool:
        """Whether a request message fits; if not, the call ends here."""
        maximum = self._limits.max_receive_bytes
        if len(raw) <= maximum:
            return True
        details = f"SERVER: Received message larger than max ({len(raw)} vs. {maximum})"
        exchange.finish(grpc.StatusCode.RESOURCE_EXHAUSTED, details, discard=True)
        if exchange.task is not None:
            exchange.task.cancel()
        return False

    def _refuse(self, exchange: Exchange) -> bool:
        if self._stopping:
            return exchange.finish(grpc.StatusCode.UNAVAILABLE, "the server is stopping")
        exhausted = grpc.StatusCode.RESOURCE_EXHAUSTED
        if self._maximum is not None and len(self._running) >= self._maximum:
            return exchange.finish(exhausted, "Concurrent RPC limit exceeded!")
        if metadata_size(exchange.metadata) > self._limits.max_metadata_bytes:
            return exchange.finish(exhausted, "received metadata size exceeds hard limit")
        return exchange.request is not None and not self.accepts(exchange, exchange.request)

    def _forget(self, task: asyncio.Task[None]) -> None:
        exchange = self._running.pop(task)
        if task.cancelled():  # also when it was cancelled before its first step
            exchange.finish(grpc.StatusCode.CANCELLED, "the handler was cancelled")

    async def _serve(self, exchange: Exchange) -> None:
        context = LocalContext(exchange, max_send=self._limits.max_send_bytes)
        try:
            handler = self._chains.get(exchange.method) or await self._build(exchange.method)
            if handler is None:
                exchange.finish(grpc.StatusCode.UNIMPLEMENTED, "Method not found!")
                return
            await _handle(handler, exchange, context)
            _finish(exchange, context)
        except grpc.aio.AbortError:
            _finish(exchange, context)
        except MessageTooLargeError as error:
            exchange.finish(grpc.StatusCode.RESOURCE_EXHAUSTED, f"SERVER: {error}")
        except Exception as error:  # whatever a handler raises becomes its status
            _log.error("%s: unexpected %s", exchange.method, type(error).__name__)
            _fail(exchange, context, error)
        finally:
            context.end()

    async def _build(self, method: str) -> Handler | None:
        chain: _Continuation = self._find
        for interceptor in reversed(self._interceptors):
            chain = functools.partial(interceptor.intercept_service, chain)
        handler = await chain(_Details(method))
        if handler is not None:
            self._chains[method] = handler
        return handler

    async def _find(self, details: grpc.HandlerCallDetails) -> Handler | None:
        handler = self._registered.get(details.method)
        if handler is not None:
            return handler
        found = (generic.service(details) for generic in self._generic)
        return next((handler for handler in found if handler is not None), None)


async def _handle(handler: Handler, exchange: Exchange, context: LocalContext) -> None:
    if handler.response_streaming == (exchange.responses is None) or (
        handler.request_streaming == (exchange.requests is None)
    ):
        raise TypeError(f"{exchange.method}: stub and servicer disagree about streaming")
    context.deserializer = handler.request_deserializer
    context.serializer = handler.response_serializer
    call: Any = _function(handler)
    result = call(_request(handler, exchange, context), context)
    if handler.response_streaming:
        await _stream(result, context)
        return
    response = await result
    if context.aborted is None and context.code() in (None, grpc.StatusCode.OK):
        exchange.response = context.encode(response)


def _function(handler: Handler) -> Any:
    if handler.request_streaming:
        return handler.stream_stream if handler.response_streaming else handler.stream_unary
    return handler.unary_stream if handler.response_streaming else handler.unary_unary


def _request(handler: Handler, exchange: Exchange, context: LocalContext) -> Any:
    if handler.request_streaming:
        return RequestIterator(context)
    raw = exchange.request
    return handler.request_deserializer(raw or b"") if handler.request_deserializer else raw


async def _stream(result: Any, context: LocalContext) -> None:
    """Send what an async generator yields; a coroutine writes by itself."""
    if not hasattr(result, "__aiter__"):
        await result
        return
    try:
        async for message in result:
            await context.write(message)
    finally:
        close = getattr(result, "aclose", None)
        if close is not None:
            await close()


def _finish(exchange: Exchange, context: LocalContext) -> None:
    code = context.code() or grpc.StatusCode.OK
    if exchange.initial is None:
        exchange.initial = ()
    exchange.finish(code, context.details(), context.trailing_metadata())


def _fail(exchange: Exchange, context: LocalContext, error: Exception) -> None:
    """What grpc.aio answers; the error interceptor keeps the text from getting here."""
    code = context.code() or grpc.StatusCode.UNKNOWN
    if code is grpc.StatusCode.OK:
        code = grpc.StatusCode.UNKNOWN
    details = f"Unexpected {type(error)}: {error}"
    exchange.finish(code, details, context.trailing_metadata())
