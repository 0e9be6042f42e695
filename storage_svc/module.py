"""Assembles the services of this package from the kernel and the peers."""

from __future__ import annotations

from workspace.identity.v1 import identity_service_pb2_grpc
from workspace.project.v1 import (
    document_service_pb2_grpc,
    permission_service_pb2_grpc,
    project_service_pb2_grpc,
)
from workspace.storage.v1 import catalog_service_pb2_grpc, storage_service_pb2_grpc

from services.kernel import Kernel, Peers, Registration, ServiceModule
from services.tokens.machine import MachineTokenVerifier
from storage_svc import old_objects, relocation, upload_rows
from storage_svc.arrivals import Arrivals
from storage_svc.catalog import Catalog
from storage_svc.collection import Collector
from storage_svc.completion import Completion
from storage_svc.copies import ObjectCopies
from storage_svc.downloads import Downloads
from storage_svc.epochs import Epochs
from storage_svc.gate import ProjectGate
from storage_svc.home_usage import HomeUsages
from storage_svc.multipart import MultipartUploads
from storage_svc.old_objects import OldObjects
from storage_svc.people import People
from storage_svc.policy import POLICY
from storage_svc.ready import DocumentReady, Readiness
from storage_svc.relocating import Relocating
from storage_svc.relocation import Relocator
from storage_svc.revocation import Revocation
from storage_svc.revoking import Revoking
from storage_svc.servicers.catalog import CatalogServicer
from storage_svc.servicers.storage import StorageServicer
from storage_svc.stored import StoredObjects
from storage_svc.uploads import Uploads
from storage_svc.usage import Ledger

__all__ = ["build", "build_gate"]

_ME = "storage_svc"


def build_gate(peers: Peers) -> ProjectGate:
    """The calls to project_svc on their own."""
    documents = document_service_pb2_grpc.DocumentServiceStub(peers("project", asking=_ME))
    permissions = permission_service_pb2_grpc.PermissionServiceStub(peers("project", asking=_ME))
    projects = project_service_pb2_grpc.ProjectServiceStub(peers("project", asking=_ME))
    return ProjectGate(documents=documents, permissions=permissions, projects=projects)


def build(
    kernel: Kernel, peers: Peers, *, ready: DocumentReady | None = None
) -> ServiceModule:
    """The storage services of one process. `ready`: a scanner beside it."""
    gate = build_gate(peers)
    ledger = Ledger(kernel.records, now=kernel.now)
    completion = Completion(kernel=kernel, gate=gate, ledger=ledger, ready=ready)
    collector = Collector(kernel=kernel, completion=completion, gate=gate, ledger=ledger)
    epochs = Epochs(kernel.records)
    old = OldObjects(kernel=kernel, gate=gate, ledger=ledger)
    arrivals = Arrivals(kernel, ledger=ledger, old=old)
    relocator = Relocator(kernel=kernel, gate=gate, ledger=ledger, old=old)
    machine_tokens = MachineTokenVerifier(kernel.records, now=kernel.now)
    people = People(identity_service_pb2_grpc.IdentityServiceStub(peers("identity", asking=_ME)))
    storage = StorageServicer(
        uploads=Uploads(kernel=kernel, gate=gate, ledger=ledger),
        multipart=MultipartUploads(kernel=kernel, gate=gate, ledger=ledger),
        completion=completion,
        downloads=Downloads(kernel=kernel, gate=gate),
        stored=StoredObjects(kernel=kernel, gate=gate, ledger=ledger),
        relocating=Relocating(kernel=kernel, gate=gate, relocator=relocator),
        revoking=Revoking(kernel=kernel, gate=gate, people=people, epochs=epochs),
        readiness=Readiness(kernel=kernel, gate=gate),
        usage=HomeUsages(kernel=kernel, ledger=ledger),
        copies=ObjectCopies(kernel=kernel, ledger=ledger, old=old),
    )
    catalog = CatalogServicer(Catalog(kernel.settings))
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
        background=(relocator.run,),
        chores=(collector.run, arrivals.follower.run),
        due={
            upload_rows.DUE_KIND: collector.look,
            relocation.DUE_KIND: relocator.look,
            old_objects.DUE_KIND: old.look,
            **arrivals.due,
        },
        url_revocation=Revocation(
            gate, epoch_of=epochs.of, token_works=machine_tokens.works
        ).is_revoked,
    )
