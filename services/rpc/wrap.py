"""Rewrapping of method handlers, once for all interceptors.

gRPC knows four handler kinds and two ways to write a streaming handler (async
generator, or coroutine that calls `context.write`). Interceptors see two:
`Unary` (a coroutine function) and `Stream` (an async generator function).
"""

from __future__ import annotations

import inspect
from abc import abstractmethod
from collections.abc import AsyncGenerator, Awaitable, Callable
from typing import TYPE_CHECKING, Any, ClassVar, TypeAlias, cast

import grpc
import grpc.aio

if TYPE_CHECKING:
    Handler: TypeAlias = grpc.RpcMethodHandler[Any, Any]
    Context: TypeAlias = grpc.aio.ServicerContext[Any, Any]
else:
    Handler = grpc.RpcMethodHandler
    Context = grpc.aio.ServicerContext

__all__ = [
    "CallInterceptor",
    "Context",
    "Handler",
    "Stream",
    "Unary",
    "as_generator",
    "wrap_handler",
]

Unary: TypeAlias = Callable[[Any, Context], Awaitable[Any]]
Stream: TypeAlias = Callable[[Any, Context], AsyncGenerator[Any, None]]
Codec: TypeAlias = Callable[[Any], Any]

_FACTORIES: dict[tuple[bool, bool], tuple[str, Callable[..., Handler]]] = {
    (False, False): ("unary_unary", grpc.unary_unary_rpc_method_handler),
    (False, True): ("unary_stream", grpc.unary_stream_rpc_method_handler),
    (True, False): ("stream_unary", grpc.stream_unary_rpc_method_handler),
    (True, True): ("stream_stream", grpc.stream_stream_rpc_method_handler),
}


def wrap_handler(
    handler: Handler,
    unary: Callable[[Unary], Unary],
    stream: Callable[[Stream], Stream],
    *,
    request_deserializer: Codec | None = None,
    response_serializer: Codec | None = None,
) -> Handler:
    """`handler` with its behaviour wrapped; kind and (de)serializers are kept.

    `unary` wraps handlers with one response, `stream` those with many. A codec
    that is given replaces the handler's own.
    """
    name, factory = _FACTORIES[bool(handler.request_streaming), bool(handler.response_streaming)]
    behaviour = getattr(handler, name)
    wrapped = stream(as_generator(behaviour)) if handler.response_streaming else unary(behaviour)
    return factory(
        wrapped,
        request_deserializer or handler.request_deserializer,
        response_serializer or handler.response_serializer,
    )


def as_generator(behaviour: Any) -> Stream:
    """A streaming behaviour of either style as an async generator function."""
    if inspect.isasyncgenfunction(behaviour):
        return cast("Stream", behaviour)

    async def generate(request: Any, context: Context) -> AsyncGenerator[Any, None]:
        result = behaviour(request, context)
        if hasattr(result, "__aiter__"):
            async for item in result:
                yield item
        else:
            await result  # it writes through the context

    return generate


class CallInterceptor(grpc.aio.ServerInterceptor):
    """A server interceptor that wraps each method once and remembers it.

    The cache holds registered methods only: for any other path the lookup
    answers None, and gRPC says UNIMPLEMENTED.
    """

    name: ClassVar[str]

    def __init__(self) -> None:
        self._wrapped: dict[str, tuple[Handler, Handler]] = {}

    async def intercept_service(
        self,
        continuation: Callable[[grpc.HandlerCallDetails], Awaitable[Handler | None]],
        handler_call_details: grpc.HandlerCallDetails,
    ) -> Handler | None:
        """The wrapped handler of the method, or None where there is none."""
        handler = await continuation(handler_call_details)
        if handler is None:
            return None
        method = handler_call_details.method
        known = self._wrapped.get(method)
        if known is not None and known[0] is handler:
            return known[1]
        wrapped = self.wrap(method, handler)
        self._wrapped[method] = (handler, wrapped)
        return wrapped

    @abstractmethod
    def wrap(self, method: str, handler: Handler) -> Handler:
        """`handler` with this interceptor's part around it."""
