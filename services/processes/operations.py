"""The two ports for those who operate a process: probes, and metrics.

Nothing secret passes there and nothing can be done, so they are without TLS: probes
of Kubernetes cannot do it. They answer before the process serves anything.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import grpc
import grpc.aio
from prometheus_client import CollectorRegistry
from starlette.applications import Starlette

from services.http.health import health_routes
from services.http.metrics import metrics_route
from services.http.server import HttpServer, bind_http
from services.rpc.addresses import address_of
from services.rpc.health import Health
from services.rpc.limits import Limits
from services.rpc.server import bind_port
from services.rpc.unknown_paths import socket_server
from services.settings import Settings

__all__ = ["Operations"]


class _NoWatches(grpc.aio.ServerInterceptor):
    """Watches stay open, and anybody may ask: they would take the room of the probes,
    and who restarts processes would take them for dead."""

    async def intercept_service(
        self,
        continuation: Callable[[grpc.HandlerCallDetails], Awaitable[Any]],
        handler_call_details: grpc.HandlerCallDetails,
    ) -> Any:
        """UNIMPLEMENTED for `Watch`."""
        method = str(handler_call_details.method)
        return None if method.endswith("/Watch") else await continuation(handler_call_details)


class Operations:
    """Serves what of `settings.probe_port` and `settings.metrics_port` is set."""

    def __init__(self, settings: Settings, health: Health, registry: CollectorRegistry) -> None:
        self._settings = settings
        self._health = health
        self._registry = registry
        self._probes: grpc.aio.Server | None = None
        self._metrics: HttpServer | None = None

    async def start(self) -> tuple[int | None, int | None]:
        """The bound ports of probes and metrics. Raises INVALID_STATE when one is taken."""
        settings, probes, metrics = self._settings, None, None
        if settings.probe_port is not None:
            probes = await self._start_probes(settings.operations_host, settings.probe_port)
        if settings.metrics_port is not None:
            metrics = await self._start_metrics(settings.operations_host, settings.metrics_port)
        return probes, metrics

    async def stop(self) -> None:
        """Close the ports."""
        if self._metrics is not None:
            await self._metrics.stop(0)
        if self._probes is not None:
            await self._probes.stop(None)

    async def _start_probes(self, host: str, port: int) -> int:
        server = socket_server((_NoWatches(),), Limits(max_concurrent_rpcs=100))
        self._probes = server
        self._health.attach(server)
        await self._health.set_ready(False)
        bound = bind_port(server, address_of(host, port), None, option="WM_PROBE_PORT")
        await server.start()
        return bound

    async def _start_metrics(self, host: str, port: int) -> int:
        async def ready() -> bool:
            return self._health.ready

        sock, _ = bind_http(host, port, option="WM_METRICS_PORT", harmless=True)
        app = Starlette(routes=[*health_routes(ready), metrics_route(self._registry)])
        self._metrics = HttpServer(app, sock)
        await self._metrics.start()
        return self._metrics.port
