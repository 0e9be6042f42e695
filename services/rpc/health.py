"""Health (grpc.health.v1): NOT_SERVING until the backends answer, and while draining."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

import grpc
import grpc.aio
from grpc_health.v1 import health as library
from grpc_health.v1 import health_pb2, health_pb2_grpc

from services.model.errors import WorkspaceError
from services.rpc.registration import register

__all__ = ["ACCEPTING", "LIVENESS", "Health", "Probe", "Readiness"]

LIVENESS = "liveness"
"""A name to ask for that is SERVING as long as the process answers at all: what
restarts processes must not look at their backends."""

ACCEPTING = "accepting"
"""A name to ask for that is SERVING until the process drains: what balances over several
processes leaves one by that. Whether their backends answer does not count, or two that
wait for each other at their start would never be reached."""

_log = logging.getLogger(__name__)
_REPEAT_SECONDS = 30.0
_SOON = 0.5
"""Between two looks at a backend that others may wait for (s)."""
_MOST_WATCHES = 250

Probe = Callable[[], Awaitable[object]]
"""Returns when a backend answers, raises when it does not."""

_SERVING = health_pb2.HealthCheckResponse.SERVING
_NOT_SERVING = health_pb2.HealthCheckResponse.NOT_SERVING


class _Steady:
    """The context of a watch, which never ends within a write: gRPC would be asked for two
    things at once, and log an error."""

    def __init__(self, context: Any) -> None:
        self._context = context
        self.writing = asyncio.Lock()

    async def write(self, message: health_pb2.HealthCheckResponse) -> None:
        async with self.writing:
            await self._context.write(message)


class _Servicer(library.aio.HealthServicer):  # type: ignore[name-defined,misc]
    """The library's servicer; its watches end when the server stops.

    An open Watch would otherwise hold up every stop for the whole grace time. Each keeps a
    place of the server, and anybody may ask: there are `most_watches` at a time. Further
    clients are told that there are none, and go on without (gRFC A17).
    """

    def __init__(self) -> None:
        super().__init__()
        self._stopping = asyncio.Event()
        self._watches = 0
        self.most_watches = _MOST_WATCHES

    async def Watch(  # noqa: N802
        self, request: health_pb2.HealthCheckRequest, context: Any
    ) -> None:
        if self._watches >= self.most_watches:
            await context.abort(grpc.StatusCode.UNIMPLEMENTED, "Too many watch already; use Check.")
        self._watches += 1
        try:
            await self._watch(request, context)
        finally:
            self._watches -= 1

    async def _watch(self, request: health_pb2.HealthCheckRequest, context: Any) -> None:
        steady = _Steady(context)
        watch = asyncio.ensure_future(super().Watch(request, steady))
        stop = asyncio.ensure_future(self._stopping.wait())
        try:
            await asyncio.wait((watch, stop), return_when=asyncio.FIRST_COMPLETED)
            async with steady.writing:
                watch.cancel()
        finally:
            stop.cancel()
            watch.cancel()
            await asyncio.gather(watch, stop, return_exceptions=True)

    def begin_watches(self) -> None:
        self._stopping.clear()

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

    def attach(
        self, server: grpc.aio.Server, *, most_watches: int = _MOST_WATCHES
    ) -> tuple[str, ...]:
        """Register the health service; returns its method names. One status may be
        asked for at several servers, and watched by the least of their `most_watches`."""
        self._servicer.most_watches = min(self._servicer.most_watches, most_watches)
        self._servicer.begin_watches()
        return register(server, health_pb2_grpc.add_HealthServicer_to_server, self._servicer)

    async def watch_over(self, service: str) -> None:
        """Give `service` (its full name) a status of its own to ask for."""
        self._services.add(service)
        await self._servicer.set(service, _SERVING if self.ready else _NOT_SERVING)

    async def set_ready(self, ready: bool) -> None:
        """SERVING or NOT_SERVING for all services. Without effect once draining."""
        self._ready = ready
        await self._servicer.set(LIVENESS, _SERVING)
        await self._servicer.set(ACCEPTING, _NOT_SERVING if self._draining else _SERVING)
        for service in sorted(self._services):
            await self._servicer.set(service, _SERVING if self.ready else _NOT_SERVING)

    async def drain(self) -> None:
        """NOT_SERVING for good; alive all the same."""
        self._draining = True
        await self.set_ready(False)

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
        self._told: tuple[str, ...] | None = None
        self._told_at = 0.0

    @property
    def failing(self) -> tuple[str, ...]:
        """Names of the probes that failed last time; all of them before the first."""
        return self._failing

    async def run(self) -> None:
        """Poll until cancelled."""
        while True:
            ready = await self.poll()
            await asyncio.sleep(self._interval if ready else min(self._interval, _SOON))

    async def poll(self) -> bool:
        """Ask every probe once, side by side; True when all answered."""
        answers = await asyncio.gather(*(self._ask(name) for name in self._probes))
        reasons = {name: why for name, why in zip(self._probes, answers, strict=True) if why}
        self._tell(reasons)
        self._failing = tuple(reasons)
        await self._health.set_ready(not reasons)
        return not reasons

    def _tell(self, reasons: Mapping[str, str]) -> None:
        """One line when what is waited for changes; a reason that goes on changing
        its words, once in a while."""
        names, now = tuple(reasons), time.monotonic()
        words = tuple(reasons.values())
        recent = words == self._told or now - self._told_at < _REPEAT_SECONDS
        if names == self._failing and self._told is not None and recent:
            return
        self._told, self._told_at = words, now
        if not reasons:
            _log.info("readiness: ready")
            return
        text = "; ".join(f"{name}: {why}" for name, why in reasons.items())
        _log.warning("readiness: waiting for %s", text)

    async def _ask(self, name: str) -> str:
        """Why the probe fails; '' when it does not."""
        try:
            async with asyncio.timeout(self._timeout):
                await self._probes[name]()
        except TimeoutError:
            return "no answer in time"
        except WorkspaceError as error:
            return error.message
        except Exception as error:  # any failure of a backend means "not ready"
            return type(error).__name__  # its text may hold anything
        return ""
