"""Health (grpc.health.v1): NOT_SERVING until the backends answer, and while draining."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

import grpc.aio
from grpc_health.v1 import health as library
from grpc_health.v1 import health_pb2, health_pb2_grpc

from services.rpc.registration import register

__all__ = ["Health", "Probe", "Readiness"]

_log = logging.getLogger(__name__)

Probe = Callable[[], Awaitable[object]]
"""Returns when a backend answers, raises when it does not."""

_SERVING = health_pb2.HealthCheckResponse.SERVING
_NOT_SERVING = health_pb2.HealthCheckResponse.NOT_SERVING


class _Servicer(library.aio.HealthServicer):  # type: ignore[name-defined,misc]
    """The library's servicer; its watches end when the server stops.

    An open Watch would otherwise hold up every stop for the whole grace time.
    """

    def __init__(self) -> None:
        super().__init__()
        self._stopping = asyncio.Event()

    async def Watch(  # noqa: N802
        self, request: health_pb2.HealthCheckRequest, context: Any
    ) -> None:
        watch = asyncio.ensure_future(super().Watch(request, context))
        stop = asyncio.ensure_future(self._stopping.wait())
        try:
            await asyncio.wait((watch, stop), return_when=asyncio.FIRST_COMPLETED)
        finally:
            stop.cancel()
            watch.cancel()
            await asyncio.gather(watch, stop, return_exceptions=True)

    def end_watches(self) -> None:
        self._stopping.set()


class Health:
    """The status of a process, over gRPC and for HTTP probes.

    All services share one status: they stand on the same backends.
    """

    def __init__(self) -> None:
        self._servicer = _Servicer()
        self._services = {""}
        self._ready = False
        self._draining = False

    @property
    def ready(self) -> bool:
        """Whether new work is welcome."""
        return self._ready and not self._draining

    def attach(self, server: grpc.aio.Server) -> tuple[str, ...]:
        """Register the health service; returns its method names."""
        return register(server, health_pb2_grpc.add_HealthServicer_to_server, self._servicer)

    async def watch_over(self, service: str) -> None:
        """Give `service` (its full name) a status of its own to ask for."""
        self._services.add(service)
        await self._servicer.set(service, _SERVING if self.ready else _NOT_SERVING)

    async def set_ready(self, ready: bool) -> None:
        """SERVING or NOT_SERVING for all services. Without effect once draining."""
        self._ready = ready
        for service in sorted(self._services):
            await self._servicer.set(service, _SERVING if ready else _NOT_SERVING)

    async def drain(self) -> None:
        """NOT_SERVING for good."""
        self._draining = True
        await self._servicer.enter_graceful_shutdown()

    def end_watches(self) -> None:
        """Let open Watch streams end (with OK)."""
        self._servicer.end_watches()


class Readiness:
    """Polls the probes and sets the health. Run it as a task with `run()`."""

    def __init__(
        self,
        health: Health,
        *,
        probes: Mapping[str, Probe],
        interval: float = 2.0,
        timeout: float = 2.0,
    ) -> None:
        self._health = health
        self._probes = dict(probes)
        self._interval = interval
        self._timeout = timeout
        self._failing: tuple[str, ...] = tuple(self._probes)

    @property
    def failing(self) -> tuple[str, ...]:
        """Names of the probes that failed last time; all of them before the first."""
        return self._failing

    async def run(self) -> None:
        """Poll until cancelled."""
        while True:
            await self.poll()
            await asyncio.sleep(self._interval)

    async def poll(self) -> bool:
        """Ask every probe once, side by side; True when all answered."""
        answers = await asyncio.gather(*(self._ask(name) for name in self._probes))
        failing = tuple(name for name, fine in zip(self._probes, answers, strict=True) if not fine)
        if failing != self._failing or self._health.ready == bool(failing):
            _log.info("readiness: %s", f"waiting for {', '.join(failing)}" if failing else "ready")
        self._failing = failing
        await self._health.set_ready(not failing)
        return not failing

    async def _ask(self, name: str) -> bool:
        try:
            async with asyncio.timeout(self._timeout):
                await self._probes[name]()
        except Exception as error:  # any failure of a backend means "not ready"
            _log.debug("probe %s: %s", name, type(error).__name__)
            return False
        return True
