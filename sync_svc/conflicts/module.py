"""The use cases about conflicts, put together."""

from __future__ import annotations

from dataclasses import dataclass

from workspace.identity.v1 import identity_service_pb2_grpc
from workspace.project.v1 import document_service_pb2_grpc, permission_service_pb2_grpc

from services.kernel import Kernel, Peers
from sync_svc.conflicts.access import ConflictAccess
from sync_svc.conflicts.copies import LoserCopies
from sync_svc.conflicts.listing import Conflicts
from sync_svc.conflicts.project_resolving import ProjectResolving
from sync_svc.conflicts.resolving import Resolving
from sync_svc.conflicts.rights import Rights

__all__ = ["ConflictCases", "build_conflicts"]

_ME = "sync_svc"


@dataclass(frozen=True, slots=True)
class ConflictCases:
    """What the servicer of SyncService calls for its four RPCs about conflicts."""

    conflicts: Conflicts
    resolving: Resolving
    project: ProjectResolving


def build_conflicts(kernel: Kernel, peers: Peers) -> ConflictCases:
    """The four use cases of one process."""
    identity = identity_service_pb2_grpc.IdentityServiceStub(peers("identity", asking=_ME))
    permissions = permission_service_pb2_grpc.PermissionServiceStub(peers("project", asking=_ME))
    documents = document_service_pb2_grpc.DocumentServiceStub(peers("project", asking=_ME))
    access = ConflictAccess(permissions=permissions, identity=identity)
    conflicts = Conflicts(kernel=kernel, access=access)
    resolving = Resolving(
        kernel=kernel,
        access=access,
        conflicts=conflicts,
        copies=LoserCopies(documents),
        rights=Rights(records=kernel.records, access=access, identity=identity),
    )
    project = ProjectResolving(
        kernel=kernel, access=access, conflicts=conflicts, resolving=resolving
    )
    return ConflictCases(conflicts, resolving, project)
