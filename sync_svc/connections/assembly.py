"""Assembles the connections of one process."""

from __future__ import annotations

from dataclasses import dataclass

from workspace.identity.v1 import identity_service_pb2_grpc
from workspace.project.v1 import project_service_pb2_grpc

from services.backends import wall_millis
from services.kernel import Kernel, Peers
from sync_svc.connections.access import ConnectionAccess
from sync_svc.connections.connections import ActiveRun, Connections
from sync_svc.connections.in_file import FileRegistry
from sync_svc.connections.in_records import RecordRegistry
from sync_svc.connections.manifests import Manifests
from sync_svc.connections.registry import ConnectionRegistry
from sync_svc.connections.stores import own_stores
from sync_svc.connections.testing import Tester, Testing
from sync_svc.surfaces.opening import SurfaceOpener

__all__ = ["MANIFESTS_FILE", "ConnectionParts", "build_connections", "open_registry"]

MANIFESTS_FILE = "connections.json"
_ME = "sync_svc"


@dataclass(frozen=True, slots=True)
class ConnectionParts:
    """What the rest of the package needs of the connections."""

    registry: ConnectionRegistry
    access: ConnectionAccess
    connections: Connections
    opener: SurfaceOpener
    manifests: Manifests
    testing: Testing


def open_registry(kernel: Kernel) -> ConnectionRegistry:
    """The file of an embedded workspace, else records."""
    if kernel.settings.records == "sqlite":
        return FileRegistry(kernel.settings.data_dir / MANIFESTS_FILE, kernel.records)
    return RecordRegistry(kernel.records)


def build_connections(kernel: Kernel, peers: Peers, *, active_run: ActiveRun) -> ConnectionParts:
    """`active_run` says which run holds a connection ('': none)."""
    registry = open_registry(kernel)
    access = ConnectionAccess(
        identity=identity_service_pb2_grpc.IdentityServiceStub(peers("identity", asking=_ME)),
        projects=project_service_pb2_grpc.ProjectServiceStub(peers("project", asking=_ME)),
    )
    connections = Connections(registry=registry, access=access, now=kernel.now)
    opener = SurfaceOpener(
        own_instance_id=kernel.instance_id, data_dir=kernel.settings.data_dir,
        wall_ms=wall_millis, own=own_stores(kernel.settings),
    )
    manifests = Manifests(
        kernel=kernel, registry=registry, access=access, connections=connections,
        active_run=active_run,
    )  # fmt: skip
    tester = Tester(opening=opener, now=kernel.now)
    testing = Testing(kernel=kernel, connections=connections, tester=tester)
    return ConnectionParts(registry, access, connections, opener, manifests, testing)
