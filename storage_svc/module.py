"""Assembles the services of this package from the kernel and the peers."""

from __future__ import annotations

from workspace.project.v1 import document_service_pb2_grpc, permission_service_pb2_grpc
from workspace.storage.v1 import catalog_service_pb2_grpc, storage_service_pb2_grpc

from services.kernel import Kernel, Peers, Registration, ServiceModule
from storage_svc.catalog import Catalog
from storage_svc.collection import Collector
from storage_svc.completion import Completion
from storage_svc.downloads import Downloads
from storage_svc.gate import ProjectGate
from storage_svc.multipart import MultipartUploads
from storage_svc.policy import POLICY
from storage_svc.revocation import Revocation
from storage_svc.servicers.catalog import CatalogServicer
from storage_svc.servicers.storage import StorageServicer
from storage_svc.stored import StoredObjects
from storage_svc.uploads import Uploads

__all__ = ["build", "build_gate"]

_ME = "storage_svc"


def build_gate(peers: Peers) -> ProjectGate:
    """The calls to project_svc on their own."""
    documents = document_service_pb2_grpc.DocumentServiceStub(peers("project", asking=_ME))
    permissions = permission_service_pb2_grpc.PermissionServiceStub(peers("project", asking=_ME))
    return ProjectGate(documents=documents, permissions=permissions)


def build(kernel: Kernel, peers: Peers) -> ServiceModule:
    """The storage services of one process."""
    gate = build_gate(peers)
    completion = Completion(kernel=kernel, gate=gate)
    storage = StorageServicer(  # type: ignore[abstract]  # what is not built is not served
        uploads=Uploads(kernel=kernel, gate=gate),
        multipart=MultipartUploads(kernel=kernel, gate=gate),
        completion=completion,
        downloads=Downloads(kernel=kernel, gate=gate),
        stored=StoredObjects(kernel=kernel, gate=gate),
    )
    catalog = CatalogServicer(Catalog(kernel.settings))  # type: ignore[abstract]
    registrations = [
        Registration(
            storage_service_pb2_grpc.add_StorageServiceServicer_to_server,
            storage,
            "workspace.storage.v1.StorageService",
        ),
        Registration(
            catalog_service_pb2_grpc.add_CatalogServiceServicer_to_server,
            catalog,
            "workspace.storage.v1.CatalogService",
        ),
    ]
    return ServiceModule(
        name=_ME,
        registrations=registrations,
        policy=POLICY,
        background=(Collector(kernel=kernel, completion=completion).run,),
        url_revocation=Revocation(gate).is_revoked,
    )
