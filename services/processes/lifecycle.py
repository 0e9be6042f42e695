"""Starting, waiting, draining and stopping, the same for every process of a deployment."""

from __future__ import annotations

import asyncio
import logging
from abc import abstractmethod
from collections.abc import Awaitable, Callable, Mapping, Sequence

import grpc.aio
from prometheus_client import CollectorRegistry

from services.http.server import HttpServer
from services.model.errors import Reason, WorkspaceError
from services.objects.port import StoreUnavailable
from services.processes.operations import Operations
from services.processes.target_settings import check_listeners
from services.processes.targets import Targets
from services.records.port import DriverUnavailable
from services.rpc.addresses import address_of
from services.rpc.certificate_watch import CertificateProbe
from services.rpc.health import Health, Probe
from services.rpc.limits import Limits
from services.rpc.server import Listener, RpcServer, stop_signals
from services.rpc.tls import ServerTls
from services.settings import Settings

__all__ = ["Lifecycle", "closing"]

_log = logging.getLogger("workspace.process")
_RETRY_SECONDS = 1.0
_DAMAGED = ("SQLITE_CORRUPT", "SQLITE_NOTADB")
_PASSING = frozenset(
    {
        Reason.ERROR_REASON_BACKEND_UNAVAILABLE,
        Reason.ERROR_REASON_CONFLICTING_WRITE,
        Reason.ERROR_REASON_INVALID_STATE,
    }
)
"""Reasons that may go by themselves: a database that starts, a migration, a certificate,
many processes that start at once. A setting that is wrong stays wrong."""


class Lifecycle:
    """One process: `start`, then `grpc_address` and `http_url` say where it answers;
    `stop` is idempotent. Subclasses open what they serve in `_start`, each thing with
    its end in `_closers`."""

    def __init__(self, settings: Settings) -> None:
        self.settings = self._given = settings
        self.targets = Targets.parse(settings.targets)
        self.registry = CollectorRegistry()
        self.shown = CollectorRegistry()
        """What /metrics shows: `registry`, which each try to start makes anew."""
        self.health = Health()
        self.probe_port: int | None = None
        self.metrics_port: int | None = None
        self.rpc: RpcServer
        self.http_url = ""
        self._closers: list[Callable[[], Awaitable[object]]] = []
        self._http: HttpServer | None = None

    @abstractmethod
    async def _start(self) -> None:
        """Open the stores, bind the ports, serve."""

    async def start(self) -> None:
        """Serve. With a probe port it waits for what is not there yet, saying so to
        probes and in the log; without, that is an error, and nothing is left."""
        check_listeners(self.settings)
        try:
            operations = Operations(self.settings, self.health, self.shown)
            self._closers.append(operations.stop)
            self.probe_port, self.metrics_port = await operations.start()
            if self.settings.probe_port is None:
                await self._try_start()
            else:
                await self._start_patiently()
        except BaseException:
            await self.stop()
            raise

    async def stop(self) -> None:
        """Close everything in reverse order of opening."""
        await self._close(0)

    async def run(self, started: Callable[[], None] | None = None) -> int:
        """Serve until SIGTERM or SIGINT, drain, exit code 0. With `started` it starts
        first, as long as that takes, and calls it then."""
        async with stop_signals() as stop:
            if started is None or await self._start_until(stop):
                if started is not None:
                    started()
                await stop.wait()
                await self._drain()
        await self.stop()
        return 0

    @property
    def grpc_address(self) -> str:
        """`host:port`; '' where nothing is served."""
        ports = self.rpc.ports
        return address_of(self.settings.grpc_host, ports[0]) if ports else ""

    async def _drain(self) -> None:
        """Both ports at once: neither needs the other."""
        draining = [self.rpc.drain()]
        if self._http is not None:
            draining.append(self._http.drain(self.settings.drain_delay))
        await asyncio.gather(*draining)

    async def _start_until(self, stop: asyncio.Event) -> bool:
        starting, stopping = asyncio.ensure_future(self.start()), asyncio.ensure_future(stop.wait())
        try:
            await asyncio.wait({starting, stopping}, return_when=asyncio.FIRST_COMPLETED)
            if not starting.done():
                return False
            await starting
            return True
        finally:
            starting.cancel()
            stopping.cancel()
            await asyncio.gather(starting, stopping, return_exceptions=True)

    async def _try_start(self) -> None:
        self.settings = self._given  # a secret that it refers to may be another one now
        self.registry = registry = CollectorRegistry()
        self.shown.register(registry)  # it collects, too
        self._closers.append(closing(lambda: self.shown.unregister(registry)))
        await self._start()

    async def _start_patiently(self) -> None:
        opened, told = len(self._closers), ""
        while True:
            try:
                await self._try_start()
            except (WorkspaceError, DriverUnavailable, StoreUnavailable) as error:
                await self._close(opened)
                await self.health.set_ready(False)  # it may have been, a moment ago
                reason = _passing(error)
                if reason != told:
                    told = reason
                    _log.warning("not ready, it goes on when this is mended: %s", told)
                await asyncio.sleep(_RETRY_SECONDS)
            else:
                return

    async def _close(self, left: int) -> None:
        while len(self._closers) > left:
            closer = self._closers.pop()
            try:
                await closer()
            except Exception:
                _log.exception("closing failed")

    def _rpc_server(
        self,
        interceptors: Sequence[grpc.aio.ServerInterceptor],
        probes: Mapping[str, Probe],
        *,
        listens: object = True,
    ) -> RpcServer:
        """The gRPC side as the settings want it; a relay alone serves nobody."""
        settings = self.settings
        address = address_of(settings.grpc_host, settings.grpc_port)
        return RpcServer(
            listeners=[Listener(address, self._tls())] if listens else [],
            interceptors=interceptors,
            limits=Limits(
                max_concurrent_rpcs=settings.max_concurrent_rpcs,
                max_connection_age=settings.max_connection_age,
            ),
            probes=probes,
            reflection=settings.reflection,
            drain_delay=settings.drain_delay,
            grace=settings.drain_grace,
            health=self.health,
        )

    def certificate_probes(self) -> dict[str, Probe]:
        """Readiness goes down with the certificates: what is shown to clients, and
        what is shown to peers, which has to name the targets of this process."""
        settings = self.settings
        names = self.targets.identities(settings.peer_trust_domain)
        found: dict[str, CertificateProbe] = {}
        if settings.tls_certificate and settings.tls_key:
            shown_to_peers = settings.peer_ca is not None and settings.peer_certificate is None
            found["certificate"] = CertificateProbe(
                settings.tls_certificate, settings.tls_key,
                settings.tls_client_ca or settings.peer_ca,
                names if shown_to_peers else frozenset(), registry=self.registry,
            )  # fmt: skip
        if settings.peer_certificate and settings.peer_key:
            gauge = found["certificate"].expires if found else None
            found["peer certificate"] = CertificateProbe(
                settings.peer_certificate, settings.peer_key, settings.peer_ca, names,
                registry=self.registry, expires=gauge,
            )  # fmt: skip
        return dict(found)

    def _tls(self) -> ServerTls | None:
        certificate, key = self.settings.tls_certificate, self.settings.tls_key
        if certificate is None or key is None:
            return None
        return ServerTls(
            cert_file=certificate, key_file=key, client_ca_file=self.settings.tls_client_ca
        )


def _passing(error: WorkspaceError | DriverUnavailable | StoreUnavailable) -> str:
    """What is waited for, and its remedy; raises what does not pass."""
    if isinstance(error, WorkspaceError):
        if error.reason not in _PASSING:
            raise error
        return error.message
    if isinstance(error, StoreUnavailable):
        return f"the object store: {error}; check WM_OBJECTS and that it runs"
    if getattr(error.__cause__, "sqlite_errorname", "").startswith(_DAMAGED):
        raise error
    remedy = error.remedy or "check WM_RECORDS and what belongs to it, and that it runs"
    return f"the record store: {error}; {remedy}"


def closing(close: Callable[[], object]) -> Callable[[], Awaitable[None]]:
    """A closer of something that closes without waiting."""

    async def run() -> None:
        close()

    return run
