"""Channels to the services of the deployment: in this process, or over the network."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path

import grpc
import grpc.aio
from grpc_health.v1 import health_pb2, health_pb2_grpc
from workspace.common.v1 import error_reason_pb2

from services.model.errors import Reason, WorkspaceError, invalid_field
from services.processes.targets import Target, Targets, target_of
from services.rpc.channels import PeerChannel, load_service_config, open_channel
from services.rpc.local import LocalChannel, LocalServer
from services.rpc.tls import ClientTls
from services.settings import Settings

__all__ = ["PeerReached", "Peering"]


class Peering:
    """`channel` is the `Peers` of the kernel. `local` serves `targets.inside`."""

    def __init__(self, settings: Settings, targets: Targets, *, local: LocalServer | None) -> None:
        self._settings = settings
        self._targets = targets
        self._local = local
        self._remote: dict[tuple[Target, str], PeerChannel] = {}
        self._config = ""

    def channel(self, target: str, *, asking: str) -> grpc.aio.Channel:
        """A channel to the service `target`, as the service `asking` ('': as nobody).
        Every process builds all packages: what is called by packages that it does not
        serve needs no address, and answers UNIMPLEMENTED."""
        peer = target_of(target)
        if self._local is not None and (peer is None or self._is_inside(peer)):
            return PeerChannel(LocalChannel(self._local, service=asking))
        if peer is None:
            raise ValueError(f"{target} is no service of this deployment")
        if (peer, asking) not in self._remote:
            self._remote[peer, asking] = self._open(peer, asking)
        return self._remote[peer, asking]

    def _is_inside(self, peer: Target) -> bool:
        if peer in self._targets.inside:
            return True
        return peer not in self._targets.peers and not self._named(peer)

    def probes(self) -> dict[str, Callable[[], Awaitable[None]]]:
        """A probe for each peer that this process calls, by name."""
        return {
            f"peer {target}": PeerReached(
                self.channel(target, asking=""), str(target), self._address(target)
            ).probe
            for target in sorted(self._targets.peers)
        }

    async def close(self) -> None:
        """End the channels over the network, and the calls on them."""
        remote, self._remote = list(self._remote.values()), {}
        await asyncio.gather(*(channel.close() for channel in remote))

    def _open(self, peer: Target, asking: str) -> PeerChannel:
        settings = self._settings
        self._config = self._config or load_service_config(
            [_contracts()], follow_health=True
        )
        tls = None
        if settings.peer_ca is not None:
            tls = ClientTls(
                ca_file=settings.peer_ca,
                cert_file=settings.peer_certificate or settings.tls_certificate,
                key_file=settings.peer_key or settings.tls_key,
            )
        return open_channel(
            self._address(peer), tls=tls, service_config=self._config, asking=asking
        )

    def _address(self, peer: Target) -> str:
        address = self._named(peer)
        if not address:
            raise invalid_field(f"WM_PEER_{peer.upper()}", f"says where {peer} answers; set it")
        return address

    def _named(self, peer: Target) -> str:
        return str(getattr(self._settings, f"peer_{peer}"))


class PeerReached:
    """A probe that fails until the peer was reached once; whether it is ready itself
    does not count, or two that need each other would wait for ever. Later a peer that
    is down costs the calls that need it, not the readiness of everybody (ADR 0026)."""

    def __init__(self, channel: grpc.aio.Channel, name: str, address: str) -> None:
        self._check = health_pb2_grpc.HealthStub(channel).Check  # type: ignore[no-untyped-call]
        self._where = f"{name} at {address}"
        self._reached = False

    async def probe(self) -> None:
        """Raises BACKEND_UNAVAILABLE with what the connection says."""
        if self._reached:
            return
        try:
            await self._check(health_pb2.HealthCheckRequest(), timeout=1.5)
        except grpc.aio.AioRpcError as error:
            raise WorkspaceError(
                Reason.ERROR_REASON_BACKEND_UNAVAILABLE,
                f"{self._where} is not reached: {error.details()}",
                metadata={"backend": "peer"},
            ) from None
        self._reached = True


def _contracts() -> Path:
    """Where the retry policies are: beside the generated modules."""
    return Path(error_reason_pb2.__file__).parents[2]
