"""The composition root: settings in, a running process out.

All servicers of a process sit on one list of interceptors, reached over a
socket by clients and in-process by each other and by the gateway. A process
that has some targets of the deployment only opens the same stores, serves its
own part, and calls the others over the network (`peering.py`).
"""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import logging
import socket
import time
from collections.abc import Callable, Sequence
from typing import Any

import grpc.aio
from starlette.routing import BaseRoute

from services.backends import (
    open_data_dir,
    open_keyring,
    open_mail,
    open_objects,
    open_records,
)
from services.events.due import DueWork
from services.events.feed import Feed
from services.events.publishers import Publisher, open_publishers
from services.events.relay import Relay, RelayMetrics
from services.http.dataplane import dataplane_routes
from services.http.gateway import Gateway
from services.http.server import HttpServer, bind_http
from services.kernel import Kernel, ServiceModule
from services.model.errors import Reason, WorkspaceError
from services.objects.filesystem import FilesystemDriver
from services.objects.store import ObjectStore
from services.objects.tokens import UrlSigner
from services.private_files import load_or_create_secret
from services.processes.installed import installed
from services.processes.lifecycle import Lifecycle, closing
from services.processes.peering import Peering
from services.processes.targets import SERVICES, Target, service_identity, target_of
from services.records.expiry import ExpirySweep
from services.records.incarnation_watch import IncarnationWatch
from services.records.instance import Instance
from services.records.mutation import Mutations
from services.records.port import Key
from services.records.store import RecordStore
from services.rpc.authentication import Authenticator
from services.rpc.consistency import ConsistencyTokens
from services.rpc.health import Probe
from services.rpc.local import LocalServer
from services.rpc.policy import KERNEL_POLICY, Policy, merge_policies, public_methods
from services.rpc.rates import CallRates
from services.rpc.registration import register
from services.rpc.sealed_tokens import SealedPageTokens
from services.rpc.stack import build_interceptors
from services.rpc.validation import Validator
from services.secrets.keys import KeysInSecret, open_keys, require_keys
from services.secrets.resolve import resolve_secrets
from services.settings import Settings
from services.telemetry.metrics import RpcMetrics
from services.telemetry.traces import open_tracing
from services.tokens.admission import UserAdmission

__all__ = ["WorkspaceProcess", "find_services"]

_log = logging.getLogger("workspace.process")
_DUE_SECONDS = 5.0
Build = Callable[[Kernel, Any], ServiceModule]


def find_services() -> list[Build]:
    """The build functions of the installed `*_svc` packages, by entry point."""
    return installed("workspace.services")


class WorkspaceProcess(Lifecycle):
    """A process with the services, or some of them. See `Lifecycle`."""

    def __init__(self, settings: Settings) -> None:
        super().__init__(settings)
        self.modules: list[ServiceModule] = []
        self.keys: KeysInSecret | None = None

    def channel(self, target: str, *, asking: str) -> grpc.aio.Channel:
        """A channel to a service of the deployment, as another service."""
        return self.peering.channel(target, asking=asking)

    async def _start(self) -> None:
        settings = self.settings = await resolve_secrets(self.settings)
        open_data_dir(settings.data_dir)
        self.keys = await open_keys(settings)
        if self.keys is not None:
            self._closers.append(self.keys.close)
        if not self.targets.everything:
            await require_keys(settings)
        # The folder first: of two processes on one folder the second must not
        # be sent away with "the port is in use; take another".
        records, instance = await open_records(settings)
        self._closers.append(records.close)
        sock = self._bind_http()
        self.kernel = await self._open_kernel(records, instance)
        self.local = LocalServer()
        self.peering = Peering(settings, self.targets, local=self.local)
        self._closers.append(self.peering.close)
        self.modules = [build(self.kernel, self.channel) for build in find_services()]
        self.relays = await self._open_relays()
        await self._serve()
        if sock is not None:
            await self._serve_http(sock)
        self._start_background()
        await self.rpc.readiness.poll()

    def _bind_http(self) -> socket.socket | None:
        if not self.targets.publishes:
            return None
        settings = self.settings
        sock, self.http_url = bind_http(settings.http_host, settings.http_port, tls=self._tls())
        self._closers.append(closing(sock.close))
        return sock

    async def _open_kernel(self, records: RecordStore, instance: Instance) -> Kernel:
        public_url = self.settings.public_url or self.http_url
        keys_dir = self.settings.data_dir / "keys"
        secret = load_or_create_secret(keys_dir / "instance.key")
        self.signer = UrlSigner(open_keyring(self.settings))
        self.object_driver = await open_objects(self.settings, self.signer, public_url)
        self._closers.append(self.object_driver.close)
        feed = Feed(records, now=time.time)
        self._closers.append(closing(feed.close))
        mail = open_mail(self.settings)
        if mail is not None:
            self._closers.append(mail.close)
        consistency = ConsistencyTokens(_derive(secret, "consistency"), instance.instance_id)
        return Kernel(
            settings=self.settings,
            records=records,
            objects=ObjectStore(self.object_driver),
            mutations=Mutations(
                records, instance_key=_derive(secret, "ids"), consistency=consistency
            ),
            page_tokens=SealedPageTokens(_derive(secret, "pages")),
            consistency=consistency,
            instance_id=instance.instance_id,
            instance_key=_derive(secret, "instance"),
            keys_dir=keys_dir,
            now=time.time,
            feed=feed,
            due=DueWork(records, now=time.time),
            mail=mail,
            public_url=public_url,
            metrics=self.registry,
        )

    async def _serve(self) -> None:
        settings = self.settings
        tracing = open_tracing(None, service_name="workspace")
        self._closers.append(closing(tracing.close))
        interceptors = build_interceptors(
            policy=self._policy(),
            authenticator=self._authenticator(),
            admission=UserAdmission(self.kernel.records),
            validator=Validator(),
            metrics=RpcMetrics(self.registry),
            tracing=tracing,
            services=_service_names(settings),
            rates=_rates(settings),
        )
        self.local.intercept(interceptors)
        self.rpc = self._rpc_server(
            interceptors, self._probes(), listens=self.targets.served or self.targets.publishes
        )
        self._register()
        self._closers.append(self.rpc.stop)
        await self.rpc.start()

    def _register(self) -> None:
        """Each service on the socket, in the process, or where it is."""
        for module in self.modules:
            target = target_of(module.name)
            methods = [method for method in module.policy if module.policy[method].for_people]
            if self._has(module):
                for registration in module.registrations:
                    register(self.local, registration.add, registration.servicer)
            if target is None or target in self.targets.served:
                for registration in module.registrations:
                    self.rpc.register(registration.add, registration.servicer)
            elif self.targets.publishes:
                self.rpc.forward(methods, self._for_clients)

    def _has(self, module: ServiceModule) -> bool:
        """Whether its servicers are in this process; what is no service of ours (of a
        test) is everywhere."""
        target = target_of(module.name)
        return target is None or target in self.targets.inside

    def _for_clients(self, service: str) -> grpc.aio.Channel:
        return self.peering.channel(service, asking="")

    async def _serve_http(self, sock: socket.socket) -> None:
        shown = self.shown if self.settings.metrics_port is None else None
        gateway = Gateway(
            self._for_clients,
            self.rpc.methods,
            max_body_bytes=self.settings.max_message_bytes,
            extra_routes=self._data_routes(),
            ready=self._is_ready,
            metrics_registry=shown,
            public=public_methods(self._policy()),
        )
        http = HttpServer(gateway.asgi, sock, tls=self._tls())
        await http.start()
        self._closers.append(http.stop)
        self._http = http

    def _data_routes(self) -> Sequence[BaseRoute]:
        """The data plane for files that we keep ourselves; other stores have their own."""
        if not isinstance(self.object_driver, FilesystemDriver):
            return []
        return dataplane_routes(self.object_driver, self.signer, is_revoked=self._is_revoked)

    async def _open_relays(self) -> list[Relay]:
        """A relay for each consumer; it is owed all events from now on."""
        kernel, metrics = self.kernel, RelayMetrics(self.registry)
        publishers: Sequence[Publisher] = ()
        if self.targets.relays:  # only there are their credentials
            publishers = open_publishers(self.settings, instance_id=kernel.instance_id)
        self._closers.extend(each.close for each in publishers)
        consumers = [each for module in self.modules for each in module.consumers]
        relays = [
            Relay(each, records=kernel.records, feed=kernel.feed, metrics=metrics, now=kernel.now)
            for each in (*consumers, *publishers)
        ]
        for relay in relays:
            await relay.register()
        return relays

    def _start_background(self) -> None:
        """Each service's loops, cancelled before the stores close."""
        loops = [work for module in self.modules if self._has(module) for work in module.background]
        if self.targets.relays:
            loops += [work for module in self.modules for work in module.chores]
            loops += [self._run_due, *(relay.run for relay in self.relays)]
            loops.append(ExpirySweep(self.kernel.records.driver).run)
        loops += [self.keys.run] if self.keys is not None else []
        loops.append(IncarnationWatch(self.kernel.records).run)
        tasks = [asyncio.ensure_future(work()) for work in loops]

        async def cancel() -> None:
            left = set(tasks)
            while left:  # a library may swallow a cancellation
                for task in left:
                    task.cancel()
                _, left = await asyncio.wait(left, timeout=1)
            await asyncio.gather(*tasks, return_exceptions=True)
            await self.kernel.due.close()

        self._closers.append(cancel)

    async def _run_due(self) -> None:
        """Due work of all services, every few seconds."""
        handlers = {kind: do for module in self.modules for kind, do in module.due.items()}
        while True:
            try:
                await self.kernel.due.run(handlers)
            except WorkspaceError:
                _log.warning("due work waits: the record store does not answer")
            except Exception:  # whatever it is, what is due must not wait for a restart
                _log.exception("due work failed; it goes on")
            await asyncio.sleep(_DUE_SECONDS)

    def _policy(self) -> Policy:
        return merge_policies(KERNEL_POLICY, *(module.policy for module in self.modules))

    def _authenticator(self) -> Authenticator:
        for module in self.modules:
            if module.authenticator is not None:
                return module.authenticator
        raise WorkspaceError(
            Reason.ERROR_REASON_INVALID_STATE, "no installed service verifies tokens"
        )

    def _probes(self) -> dict[str, Probe]:
        return {
            "records": self._probe_records,
            "objects": self._probe_objects,
            **self.certificate_probes(),
            **self.peering.probes(),
        }

    async def _probe_records(self) -> None:
        await self.kernel.records.driver.get(Key("INSTANCE", "INSTANCE"))

    async def _probe_objects(self) -> None:
        await self.object_driver.probe()

    async def _is_revoked(self, principal: str, scope: str, revision: int) -> bool:
        """Whether a signed URL lost its ground; without a judge it has."""
        for module in self.modules:
            if module.url_revocation is not None:
                return await module.url_revocation(principal, scope, revision)
        return True

    async def _is_ready(self) -> bool:
        return self.rpc.health.ready


def _derive(secret: bytes, purpose: str) -> bytes:
    """A key of its own for each purpose (HKDF-expand of one block, RFC 5869)."""
    return hmac.new(secret, f"workspace:{purpose}\x01".encode(), hashlib.sha256).digest()


def _service_names(settings: Settings) -> dict[str, str]:
    """What certificates prove, as names of services."""
    domain = settings.peer_trust_domain
    return {service_identity(domain, target): f"{target}_svc" for target in SERVICES}


def _rates(settings: Settings) -> CallRates:
    return CallRates(
        user_calls=settings.user_calls_per_minute,
        address_calls=settings.address_calls_per_minute,
        proved=[service_identity(settings.peer_trust_domain, target) for target in Target],
    )
