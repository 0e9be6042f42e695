"""A socket server that never looks at the path of a call that it does not serve.

grpcio decodes the path of such a call as UTF-8 in its serving loop, where a path that is no
text ends the loop, and with it every call of the process, whoever sent it (ADR 0030). Here
all methods are registered by name, gRPC's core matches them byte by byte, and what is left
over is UNIMPLEMENTED, whatever its path is.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any, cast

import grpc
import grpc.aio
from grpc._cython import cygrpc
from grpc.aio import _server as library

from services.rpc.arrival import ArrivalInterceptor
from services.rpc.limits import Limits

__all__ = ["socket_server"]


def socket_server(
    interceptors: Sequence[grpc.aio.ServerInterceptor],
    limits: Limits,
    *,
    so_reuseport: bool = False,
) -> grpc.aio.Server:
    """As `grpc.aio.server`, within `limits`; every server with a port is made here. It
    serves what `add_registered_method_handlers` names, and nothing else."""
    arrival = ArrivalInterceptor(limits.receive_timeout)
    server: Any = _Server((arrival, *interceptors), limits, so_reuseport)
    return cast("grpc.aio.Server", server)


class _Server(library.Server):
    """The library's server around our core; its own constructor takes no other."""

    def __init__(
        self,
        interceptors: tuple[grpc.aio.ServerInterceptor, ...],
        limits: Limits,
        so_reuseport: bool,
    ) -> None:
        self._loop = cygrpc.get_working_loop()
        options = limits.server_options(so_reuseport=so_reuseport)
        self._server: Any = _Core(
            self._loop, None, (), interceptors,
            library._augment_channel_arguments(options, None), limits.max_concurrent_rpcs,
        )  # fmt: skip

    def add_generic_rpc_handlers(self, generic_rpc_handlers: Any) -> None:
        """Generated code registers by name, too: that is what counts. These are asked
        with the path as text, which this server never makes of it."""


class _Core(cygrpc.AioServer):  # type: ignore[misc]
    """The core's server; what it does for paths that nobody registered is replaced."""

    def _make_request_call_future(self, method: bytes | None) -> Any:
        """Called by the serving loop for each method, and with None for all other paths."""
        if method is not None:
            return super()._make_request_call_future(method)
        return asyncio.ensure_future(self._answer_unknown())

    async def _answer_unknown(self) -> None:
        """Ends with the server: in the error that the serving loop expects then."""
        nothing = cygrpc._MethodResolver([], {})
        loop, tasks = asyncio.get_running_loop(), set[asyncio.Task[None]]()
        while True:
            try:
                state = await self._request_call()
            except cygrpc._RequestCallError:
                if self.is_running():
                    continue
                raise
            answer = cygrpc._handle_rpc("", nothing, (), state, loop, False)
            task = loop.create_task(cygrpc._schedule_rpc_coro(answer, state, loop, ""))
            tasks.add(task)
            task.add_done_callback(tasks.discard)
