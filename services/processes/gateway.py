"""A gateway on its own: what clients reach, without stores, keys or credentials.

It serves every RPC that is not for services alone, over gRPC and as HTTP/JSON, by
forwarding it; who may do what is decided by the service where the call ends.
"""

from __future__ import annotations

import socket
from collections.abc import Sequence

import grpc.aio
from starlette.routing import BaseRoute

from services.http.gateway import Gateway
from services.http.object_proxy import ObjectProxy
from services.http.server import HttpServer, bind_http
from services.processes.installed import installed
from services.processes.lifecycle import Lifecycle, closing
from services.processes.peering import Peering
from services.rpc.descriptors import import_contracts
from services.rpc.policy import KERNEL_POLICY, Policy, merge_policies, public_methods
from services.rpc.stack import build_edge_interceptors
from services.telemetry.metrics import RpcMetrics
from services.telemetry.traces import open_tracing

__all__ = ["GatewayProcess", "find_policies", "published"]


def find_policies() -> list[Policy]:
    """The policy tables of the installed `*_svc` packages, by entry point."""
    return installed("workspace.policies")


def published(policy: Policy) -> list[str]:
    """What a gateway forwards: methods that others than services may call."""
    return [method for method, rule in policy.items() if rule.for_people]


class GatewayProcess(Lifecycle):
    """A process with the target `gateway` alone. See `Lifecycle`."""

    async def _start(self) -> None:
        settings, tls = self.settings, self._tls()
        sock, self.http_url = bind_http(settings.http_host, settings.http_port, tls=tls)
        self._closers.append(closing(sock.close))
        self.peering = Peering(settings, self.targets, local=None)
        self._closers.append(self.peering.close)
        policy = merge_policies(*find_policies())
        await self._serve(published(policy))
        await self._serve_http(sock, policy)
        await self.rpc.readiness.poll()

    async def _serve(self, methods: list[str]) -> None:
        tracing = open_tracing(None, service_name="workspace-gateway")
        self._closers.append(closing(tracing.close))
        interceptors = build_edge_interceptors(
            metrics=RpcMetrics(self.registry), tracing=tracing
        )
        self.rpc = self._rpc_server(
            interceptors, {**self.certificate_probes(), **self.peering.probes()}
        )
        import_contracts(methods)
        self.rpc.forward(methods, self._channel)
        self._closers.append(self.rpc.stop)
        await self.rpc.start()

    async def _serve_http(self, sock: socket.socket, policy: Policy) -> None:
        gateway = Gateway(
            self._channel,
            self.rpc.methods,
            max_body_bytes=self.settings.max_message_bytes,
            extra_routes=self._object_routes(),
            ready=self._is_ready,
            metrics_registry=self.shown if self.settings.metrics_port is None else None,
            public=public_methods(merge_policies(KERNEL_POLICY, policy)),
        )
        http = HttpServer(gateway.asgi, sock, tls=self._tls())
        await http.start()
        self._http = http
        self._closers.append(http.stop)

    def _object_routes(self) -> Sequence[BaseRoute]:
        """Signed requests for a store that nobody else reaches."""
        if not self.settings.object_proxy:
            return []
        proxy = ObjectProxy(
            origin=self.settings.object_proxy, bucket=self.settings.aws_s3_bucket
        )
        self._closers.append(proxy.close)
        return proxy.routes

    def _channel(self, service: str) -> grpc.aio.Channel:
        return self.peering.channel(service, asking="")

    async def _is_ready(self) -> bool:
        return self.health.ready
