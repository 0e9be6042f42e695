"""The last seconds of a server: what runs may finish, what arrives is sent elsewhere."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Any, ClassVar, NoReturn, cast

from services.model.errors import Reason, WorkspaceError
from services.rpc.errors import abort
from services.rpc.request_id import request_id_of
from services.rpc.wrap import CallInterceptor, Context, Handler, Stream, Unary, wrap_handler

__all__ = ["DrainInterceptor"]

_HEALTH = "/grpc.health.v1.Health/"


class DrainInterceptor(CallInterceptor):
    """The outermost interceptor of a socket server: knows what runs on which connection.

    From `refuse` on, new calls are UNAVAILABLE, and so are streams that have no end of
    their own (`Watch...`): their clients go on with their token where they are served.
    Health is asked until the end, and holds up nothing.
    """

    name: ClassVar[str] = "drain"

    def __init__(self) -> None:
        super().__init__()
        self._running: Counter[int] = Counter()
        self._waiting: set[asyncio.Timeout] = set()
        self._refusing = False

    @property
    def running(self) -> int:
        """Calls that are served now."""
        return self._running.total()

    def is_idle(self, port: int) -> bool:
        """Whether no call runs on connections from this `port` of a peer. The address is
        left out, of which gRPC and the kernel write some forms differently."""
        return not self._running[port]

    def refuse(self) -> None:
        """No new calls from now on."""
        if self._refusing:
            return
        self._refusing = True
        now = asyncio.get_running_loop().time()
        for scope in self._waiting:
            scope.reschedule(now)

    def wrap(self, method: str, handler: Handler) -> Handler:
        """Refuse, or count, and end watches when it is time."""
        if method.startswith(_HEALTH):
            return handler
        endless = method.rpartition("/")[2].startswith("Watch")

        def unary(inner: Unary) -> Unary:
            async def serve(request: Any, context: Context) -> Any:
                if self._refusing:
                    await _refuse(context)
                self._count(context)
                return await inner(request, context)

            return serve

        def stream(inner: Stream) -> Stream:
            async def serve(request: Any, context: Context) -> AsyncGenerator[Any, None]:
                if self._refusing:
                    await _refuse(context)
                self._count(context)
                items = inner(request, context)
                if endless:
                    items = self._until_refusing(items, context)
                async with aclosing(items):
                    async for item in items:
                        yield item

            return serve

        return wrap_handler(handler, unary, stream)

    def _count(self, context: Context) -> None:
        port = _port(context.peer())
        self._running[port] += 1

        def done(_: Any) -> None:  # after the status was sent
            self._running[port] -= 1
            if not self._running[port]:
                del self._running[port]

        context.add_done_callback(cast("Any", done))  # its stub takes no function

    async def _until_refusing(
        self, items: AsyncGenerator[Any, None], context: Context
    ) -> AsyncGenerator[Any, None]:
        async with aclosing(items):
            while not self._refusing:
                scope = asyncio.timeout(None)
                try:
                    item = await self._next(items, scope)
                except StopAsyncIteration:
                    return
                except TimeoutError:
                    if scope.expired():
                        break
                    raise
                yield item
        await _refuse(context)

    async def _next(self, items: AsyncGenerator[Any, None], scope: asyncio.Timeout) -> Any:
        """Never across a yield: there the task is inside of gRPC's write (deadline.py)."""
        async with scope:
            self._waiting.add(scope)
            try:
                return await anext(items)
            finally:
                self._waiting.discard(scope)


def _port(peer: str) -> int:
    """Of `ipv4:192.0.2.1:5000`; 0 for `unix:`."""
    last = peer.rpartition(":")[2]
    return int(last) if last.isdecimal() else 0


async def _refuse(context: Context) -> NoReturn:
    error = WorkspaceError(
        Reason.ERROR_REASON_BACKEND_UNAVAILABLE,
        "This process is about to end; repeat the call, and another one answers it.",
        metadata={"backend": "process"},
    )
    await abort(error, request_id_of(tuple(context.invocation_metadata() or ())), context)
