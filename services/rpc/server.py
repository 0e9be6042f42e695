"""The socket server: listeners, health, reflection, drain."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import signal
from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import grpc
import grpc.aio
from grpc_reflection.v1alpha import reflection

from services.model.errors import Reason, WorkspaceError
from services.rpc.addresses import is_local, literal
from services.rpc.drain import DrainInterceptor
from services.rpc.forwarding import ChannelFor, forward
from services.rpc.hang_up import close_listeners, hang_up
from services.rpc.health import Health, Probe, Readiness
from services.rpc.limits import Limits
from services.rpc.registration import register
from services.rpc.tls import ServerTls
from services.rpc.unknown_paths import socket_server

__all__ = ["Listener", "RpcServer", "bind_port", "stop_signals"]

_log = logging.getLogger(__name__)
_TICK = 0.02
"""Seconds between two looks for connections that are idle while draining."""


@dataclass(frozen=True, slots=True)
class Listener:
    """Where to listen: `host:port` (port 0: any) or `unix:/path`; TLS beyond loopback."""

    address: str
    tls: ServerTls | None = None


class RpcServer:
    """A gRPC server with the limits, health and drain of this product.

    Construct it inside of a running event loop, `register` servicers, then
    `start`. `drain_delay` (seconds) is how long load balancers need to notice
    the health status, `grace` how long running calls may take after that. `health`
    is given where another port shows it, too. Without listeners it only keeps it.
    """

    def __init__(
        self,
        *,
        listeners: Sequence[Listener],
        interceptors: Sequence[grpc.aio.ServerInterceptor] = (),
        limits: Limits | None = None,
        probes: Mapping[str, Probe] | None = None,
        probe_interval: float = 2.0,
        reflection: bool = False,
        so_reuseport: bool = False,
        drain_delay: float = 0.0,
        grace: float = 10.0,
        health: Health | None = None,
    ) -> None:
        limits = limits or Limits()
        self._listeners = tuple(listeners)
        self._reflection = reflection
        self._drain_delay = drain_delay
        self._grace = grace
        self._most_watches = max(limits.max_concurrent_rpcs // 4, 1)
        self._methods: list[str] = []
        self._ports: tuple[int, ...] = ()
        self._watcher: asyncio.Task[None] | None = None
        self._calls = DrainInterceptor()
        self._server = socket_server(
            (self._calls, *interceptors), limits, so_reuseport=so_reuseport
        )
        self.health = health or Health()
        self.readiness = Readiness(self.health, probes=probes or {}, interval=probe_interval)

    @property
    def ports(self) -> tuple[int, ...]:
        """Bound ports in the order of the listeners; empty before `start`."""
        return self._ports

    @property
    def methods(self) -> tuple[str, ...]:
        """Full names of the registered methods, without health and reflection."""
        return tuple(self._methods)

    def register(self, add_fn: Callable[[Any, Any], None], servicer: object) -> tuple[str, ...]:
        """Register what `servicer` implements (see `registration.register`)."""
        added = register(self._server, add_fn, servicer)
        self._methods += added
        return added

    def forward(self, methods: Iterable[str], channel_for: ChannelFor) -> tuple[str, ...]:
        """Serve methods of other processes (see `forwarding.forward`)."""
        added = forward(self._server, methods, channel_for)
        self._methods += added
        return added

    async def start(self) -> None:
        """Bind, serve, and begin to poll the probes.

        Raises WorkspaceError (INVALID_STATE) when an address is taken, or
        beyond loopback without TLS; nothing is served then.
        """
        for listener in self._listeners:
            _require_safe(listener)
        await self._add_kernel_services()
        try:
            self._ports = tuple(_bind(self._server, listener) for listener in self._listeners)
        except WorkspaceError:
            await self._server.stop(None)  # lets go of the ports bound so far
            raise
        await self._server.start()
        self._watcher = asyncio.create_task(self.readiness.run(), name="readiness")

    async def stop(self, grace: float | None = None) -> None:
        """Stop now (None) or after at most `grace` seconds. May be called again."""
        self.health.end_watches()
        if self._watcher is not None:
            self._watcher.cancel()
            await asyncio.gather(self._watcher, return_exceptions=True)
        await self._server.stop(grace)

    async def drain(self) -> None:
        """Health down, wait for the balancers, let running calls finish, stop.

        Clients see UNAVAILABLE at most: what is new after the wait is refused, and a
        connection ends as soon as nothing runs on it, at the latest after `grace`.
        """
        _log.info("draining: health down, stopping in %g s", self._drain_delay)
        await self.health.drain()
        await asyncio.sleep(self._drain_delay)
        await self._hang_up()
        await self.stop()

    async def _hang_up(self) -> None:
        """End the connections before gRPC does (see `hang_up`)."""
        ports, loop = frozenset(self._ports) - {0, 1}, asyncio.get_running_loop()
        end = loop.time() + self._grace
        close_listeners(ports)
        self._calls.refuse()
        self.health.end_watches()
        await asyncio.sleep(_TICK)  # for what gRPC had accepted, and not yet shown to us
        while hang_up(ports, self._calls.is_idle) or self._calls.running:
            if loop.time() >= end:
                hang_up(ports, lambda _: True)
                break
            await asyncio.sleep(_TICK)

    async def run(self) -> int:
        """Serve until SIGTERM or SIGINT, drain, and return the exit code 0."""
        async with stop_signals() as stop:
            await self.start()
            await stop.wait()
            await self.drain()
        return 0

    async def _add_kernel_services(self) -> None:
        services = sorted({method.split("/")[1] for method in self._methods})
        kernel = self.health.attach(self._server, most_watches=self._most_watches)
        for service in services:
            await self.health.watch_over(service)
        await self.health.set_ready(False)
        if self._reflection:
            names = [*services, kernel[0].split("/")[1], reflection.SERVICE_NAME]
            reflection.enable_server_reflection(names, self._server)  # type: ignore[no-untyped-call]


@contextlib.asynccontextmanager
async def stop_signals(
    signals: Sequence[signal.Signals] = (signal.SIGTERM, signal.SIGINT),
) -> AsyncIterator[asyncio.Event]:
    """An event that the signals set; the previous handling comes back on exit."""
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    previous = {number: signal.getsignal(number) for number in signals}
    for number in signals:
        loop.add_signal_handler(number, stop.set)
    try:
        yield stop
    finally:
        for number, handler in previous.items():
            loop.remove_signal_handler(number)
            signal.signal(number, signal.SIG_DFL if handler is None else handler)


def _require_safe(listener: Listener) -> None:
    if listener.tls is None and not is_local(listener.address):
        raise WorkspaceError(
            Reason.ERROR_REASON_INVALID_STATE,
            f"refusing to listen on {listener.address} without TLS: bearer tokens would travel "
            "in the clear; configure a certificate and key, or listen on 127.0.0.1",
            metadata={"address": listener.address},
        )


def _bind(server: grpc.aio.Server, listener: Listener) -> int:
    credentials = listener.tls.credentials() if listener.tls else None
    return bind_port(server, listener.address, credentials, option="--grpc-port")


def bind_port(
    server: grpc.aio.Server,
    address: str,
    credentials: grpc.ServerCredentials | None,
    *,
    option: str,
) -> int:
    """The bound port. Raises INVALID_STATE naming `option` when it is taken."""
    address = literal(address)
    try:
        if credentials is None:
            return server.add_insecure_port(address)
        return server.add_secure_port(address, credentials)
    except RuntimeError as error:
        raise WorkspaceError(
            Reason.ERROR_REASON_INVALID_STATE,
            f"cannot listen on {address}: the port is in use or not allowed; stop the other "
            f"process or choose another port with {option}",
            metadata={"address": address},
        ) from error
