"""The outermost interceptor: gives each call an id and the record of itself.

An `x-request-id` of the client is kept when it is safe to log, and is returned
in the trailing metadata either way.
"""

from __future__ import annotations

import math
import re
import uuid
from collections.abc import AsyncGenerator, Iterable
from contextlib import aclosing
from dataclasses import dataclass, field
from typing import Any, ClassVar

import grpc

from services.rpc.context import Call, current_call, set_current_call
from services.rpc.wrap import CallInterceptor, Context, Handler, Stream, Unary, wrap_handler

__all__ = [
    "REQUEST_ID_HEADER",
    "Metadata",
    "RequestIdInterceptor",
    "ServedCall",
    "request_id_of",
    "served_call",
]

REQUEST_ID_HEADER = "x-request-id"
# Logged without redaction: no character that an address, a URL or a signed token
# needs, and neither the beginning of a JWT nor an access key id.
_SAFE = re.compile(r"(?!.*(?:\beyJ|AKIA|ASIA))[A-Za-z0-9-]{1,64}")

Metadata = tuple[tuple[str, str | bytes], ...]


@dataclass(slots=True)
class ServedCall(Call):
    """The call plus what the interceptors tell each other: the metadata it
    came with (read once) and how it ended."""

    metadata: Metadata = field(default=(), repr=False)
    code: grpc.StatusCode = grpc.StatusCode.OK
    reason: str = ""


def served_call() -> ServedCall:
    """The call being served, as the interceptors know it.

    Raises LookupError when the request id interceptor has not run.
    """
    call = current_call()
    if isinstance(call, ServedCall):
        return call
    raise LookupError("the request id interceptor must come first")


def request_id_of(metadata: Iterable[tuple[str, str | bytes]]) -> str:
    """The client's id when there is exactly one and it is safe, else a new UUID."""
    found = [value for key, value in metadata if key == REQUEST_ID_HEADER]
    if len(found) == 1 and isinstance(found[0], str) and _SAFE.fullmatch(found[0]):
        return found[0]
    return str(uuid.uuid4())


def _begin(method: str, context: Context) -> None:
    metadata: Metadata = tuple((key, value) for key, value in context.invocation_metadata() or ())
    request_id = request_id_of(metadata)
    set_current_call(ServedCall(request_id, method, math.inf, metadata=metadata))
    context.set_trailing_metadata(((REQUEST_ID_HEADER, request_id),))


class RequestIdInterceptor(CallInterceptor):
    """Creates the `ServedCall` that everything after it reads."""

    name: ClassVar[str] = "request_id"

    def wrap(self, method: str, handler: Handler) -> Handler:
        """Begin the call before the handler runs."""

        def unary(inner: Unary) -> Unary:
            async def serve(request: Any, context: Context) -> Any:
                _begin(method, context)
                return await inner(request, context)

            return serve

        def stream(inner: Stream) -> Stream:
            async def serve(request: Any, context: Context) -> AsyncGenerator[Any, None]:
                _begin(method, context)
                async with aclosing(inner(request, context)) as items:
                    async for item in items:
                        yield item

            return serve

        return wrap_handler(handler, unary, stream)
