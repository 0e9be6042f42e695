"""Every call has a deadline: the client's, clamped, or the default.

The server enforces it itself, since a client may ask for years (gRPC accepts
`99999999H`) and a peer over the local channel has no core that would cancel.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import dataclass
from typing import Any, ClassVar

from services.model.errors import Reason, WorkspaceError
from services.rpc.request_id import served_call
from services.rpc.wrap import CallInterceptor, Context, Handler, Stream, Unary, wrap_handler

__all__ = ["DeadlineInterceptor", "DeadlineLimits", "effective_seconds"]

# The largest timeout the wire can carry is 99999999 hours (3.6e11 s). What is
# above is gRPC's way of saying "none": 9.22e18 on the sync stack, None on aio.
_NO_DEADLINE = 1e12

# A write that is still waiting this long after the deadline has a reader that
# does not read. Its task is cancelled; no status could reach that client.
_STALLED_WRITE_GRACE = 5.0


@dataclass(frozen=True, slots=True)
class DeadlineLimits:
    """Seconds: default and maximum of unary calls, maximum (and default) of streams."""

    default_unary: float = 10.0
    max_unary: float = 30.0
    max_stream: float = 900.0


def effective_seconds(remaining: float | None, *, default: float, maximum: float) -> float:
    """How long a call may run: `remaining` clamped to [0, maximum], or `default`."""
    if remaining is None or remaining >= _NO_DEADLINE:
        return default
    return min(max(remaining, 0.0), maximum)


def _exceeded() -> WorkspaceError:
    return WorkspaceError(
        Reason.ERROR_REASON_DEADLINE_EXCEEDED,
        "The deadline passed before the answer; repeat the call with the same request_id.",
    )


def _start(context: Context, default: float, maximum: float) -> float:
    """Note the deadline in the call; answers the seconds that are left."""
    seconds = effective_seconds(context.time_remaining(), default=default, maximum=maximum)
    served_call().deadline = time.monotonic() + seconds
    return seconds


async def _next(items: AsyncGenerator[Any, None], deadline: float) -> Any:
    try:
        async with asyncio.timeout(deadline - time.monotonic()) as scope:
            return await anext(items)
    except TimeoutError:
        if scope.expired():
            raise _exceeded() from None
        raise


class DeadlineInterceptor(CallInterceptor):
    """Ends a call at its deadline with DEADLINE_EXCEEDED."""

    name: ClassVar[str] = "deadline"

    def __init__(self, limits: DeadlineLimits) -> None:
        super().__init__()
        self._limits = limits

    def wrap(self, _method: str, handler: Handler) -> Handler:
        """Streams in either direction get the stream limit."""
        limits = self._limits
        streaming = bool(handler.request_streaming or handler.response_streaming)
        default = limits.max_stream if streaming else limits.default_unary
        maximum = limits.max_stream if streaming else limits.max_unary

        def unary(inner: Unary) -> Unary:
            async def serve(request: Any, context: Context) -> Any:
                seconds = _start(context, default, maximum)
                try:
                    async with asyncio.timeout(seconds) as scope:
                        return await inner(request, context)
                except TimeoutError:
                    if scope.expired():
                        raise _exceeded() from None
                    raise

            return serve

        def stream(inner: Stream) -> Stream:
            async def serve(request: Any, context: Context) -> AsyncGenerator[Any, None]:
                deadline = time.monotonic() + _start(context, default, maximum)
                async with aclosing(inner(request, context)) as items:
                    while True:
                        try:
                            item = await _next(items, deadline)
                        except StopAsyncIteration:
                            return
                        # The timeout must not span the yield: there the task
                        # is inside gRPC's write, which is not ours to catch.
                        watchdog = _cancel_stalled(deadline)
                        try:
                            yield item
                        finally:
                            watchdog.cancel()

            return serve

        return wrap_handler(handler, unary, stream)


def _cancel_stalled(deadline: float) -> asyncio.TimerHandle:
    task = asyncio.current_task()
    assert task is not None
    delay = deadline - time.monotonic() + _STALLED_WRITE_GRACE
    return asyncio.get_running_loop().call_later(max(delay, 0.0), task.cancel)
