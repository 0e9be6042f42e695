"""Methods of other processes, served here: each call goes on to the service that has it.

A gateway forwards what clients send, with their address and nothing else of its own: it has
no service identity towards the services, so they decide by the client's bearer alone.
"""

from __future__ import annotations

import time
from collections.abc import AsyncGenerator, Callable, Iterable, Mapping
from typing import Any

import grpc
import grpc.aio

from services.model.errors import Reason, WorkspaceError
from services.rpc.descriptors import method_descriptor
from services.rpc.errors import peer_status
from services.rpc.rates import CLIENT_HEADER, host_of
from services.rpc.request_id import served_call
from services.rpc.wrap import Context, Handler

__all__ = ["ChannelFor", "forward"]

ChannelFor = Callable[[str], grpc.aio.Channel]
_FORWARDED = frozenset({"authorization"})
"""What of the metadata goes on as it came; request id and trace are of the call."""


def forward(
    server: grpc.aio.Server, methods: Iterable[str], channel_for: ChannelFor
) -> tuple[str, ...]:
    """Serve `methods` (full names, unary or with a server stream) through the channels
    of their services; returns those. A channel is asked for once for each service."""
    found: dict[str, dict[str, Handler]] = {}
    for method in methods:
        service, _, name = method.removeprefix("/").rpartition("/")
        found.setdefault(service, {})[name] = _handler(method, channel_for(service))
    for service, handlers in found.items():
        _add(server, service, handlers)
    return tuple(f"/{service}/{name}" for service, names in found.items() for name in names)


def _add(server: grpc.aio.Server, service: str, handlers: Mapping[str, Handler]) -> None:
    generic = grpc.method_handlers_generic_handler(service, dict(handlers))
    server.add_generic_rpc_handlers((generic,))
    server.add_registered_method_handlers(service, handlers)


def _handler(method: str, channel: grpc.aio.Channel) -> Handler:
    """Messages go through as bytes: what is in them is counted and decoded where the call
    ends, behind authentication (elements.py)."""
    descriptor = method_descriptor(method)
    if descriptor.client_streaming:
        raise ValueError(f"{method}: client streams are not forwarded")
    if descriptor.server_streaming:
        return grpc.unary_stream_rpc_method_handler(_stream(channel.unary_stream(method)))
    return grpc.unary_unary_rpc_method_handler(_unary(channel.unary_unary(method)))


def _unary(call: Any) -> Callable[[Any, Context], Any]:
    async def serve(request: Any, context: Context) -> Any:
        try:
            return await call(request, **_inherited(context))
        except grpc.aio.AioRpcError as error:
            raise _told(error) from None

    return serve


def _stream(call: Any) -> Callable[[Any, Context], AsyncGenerator[Any, None]]:
    async def serve(request: Any, context: Context) -> AsyncGenerator[Any, None]:
        messages = call(request, **_inherited(context))
        try:
            async for message in messages:
                yield message
        except grpc.aio.AioRpcError as error:
            raise _told(error) from None
        finally:
            messages.cancel()

    return serve


def _told(error: grpc.aio.AioRpcError) -> Exception:
    """What gRPC itself refuses there for its size, or because too much runs, is not
    UNAVAILABLE here: clients would repeat it."""
    exhausted = error.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
    if not exhausted or peer_status(error) is not None:
        return error
    return WorkspaceError(
        Reason.ERROR_REASON_LIMIT_EXCEEDED,
        "The message is too large or the service is busy; send less, or repeat later.",
    )


def _inherited(context: Context) -> dict[str, Any]:
    call = served_call()
    metadata = [entry for entry in call.metadata if entry[0] in _FORWARDED]
    metadata.append((CLIENT_HEADER, host_of(context.peer())))  # it counts there (rates.py)
    return {"metadata": tuple(metadata), "timeout": call.deadline - time.monotonic()}
