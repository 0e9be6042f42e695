"""Assembles the services of documents and history."""

from __future__ import annotations

from typing import TYPE_CHECKING

from workspace.project.v1 import document_service_pb2_grpc

from project_svc.access.candidates import Candidates
from project_svc.access.gate import Access
from project_svc.access.visible import VisibleProjects
from project_svc.documents.as_of import DocumentsAsOf
from project_svc.documents.batch_updates import BatchUpdates
from project_svc.documents.changes import DocumentChanges
from project_svc.documents.copies import DocumentCopies
from project_svc.documents.derived import DerivedArtifacts
from project_svc.documents.documents import Documents
from project_svc.documents.files import DocumentFiles
from project_svc.documents.indexing import Indexing
from project_svc.documents.links import Links
from project_svc.documents.lists import DocumentLists
from project_svc.documents.names import PlaceClaims
from project_svc.documents.places import DocumentPlaces
from project_svc.documents.purge import DocumentPurge
from project_svc.documents.relocated_files import RelocatedFiles
from project_svc.documents.revisions import Revisions
from project_svc.documents.search import Search
from project_svc.documents.transfers import Transfers
from project_svc.history.module import history_registration
from project_svc.history.webhook_rows import UploadHolds
from project_svc.servicers.document import DocumentServicer
from services.kernel import Kernel, Registration

if TYPE_CHECKING:  # the generated classes exist for type checkers only
    from workspace.identity.v1.identity_service_pb2_grpc import IdentityServiceAsyncStub
    from workspace.storage.v1.storage_service_pb2_grpc import StorageServiceAsyncStub

__all__ = ["document_registrations"]


def document_registrations(
    kernel: Kernel,
    access: Access,
    *,
    identity: IdentityServiceAsyncStub,
    storage: StorageServiceAsyncStub,
    indexing: Indexing,
) -> list[Registration]:
    """DocumentService and HistoryService on the gate of this process."""
    changes = DocumentChanges(kernel=kernel, access=access)
    visible = VisibleProjects(
        access=access,
        candidates=Candidates(kernel.records),
        identity=identity,
        page_tokens=kernel.page_tokens,
        consistency=kernel.consistency,
    )
    return [
        Registration(
            document_service_pb2_grpc.add_DocumentServiceServicer_to_server,
            _documents(kernel, changes, visible, storage, indexing),
            "workspace.project.v1.DocumentService",
        ),
        history_registration(changes),
    ]


def _documents(
    kernel: Kernel,
    changes: DocumentChanges,
    visible: VisibleProjects,
    storage: StorageServiceAsyncStub,
    indexing: Indexing,
) -> DocumentServicer:
    claims = PlaceClaims(records=kernel.records, now=kernel.now)
    holds = UploadHolds(kernel.records).of_project
    lists = DocumentLists(changes=changes, visible=visible)
    documents = Documents(changes=changes, claims=claims, links=indexing.links)
    return DocumentServicer(
        documents=documents,
        copies=DocumentCopies(changes=changes, storage=storage),
        batches=BatchUpdates(changes=changes, documents=documents),
        search=Search(changes=changes, lists=lists, indexing=indexing),
        lists=lists,
        places=DocumentPlaces(changes=changes, claims=claims),
        revisions=Revisions(changes=changes),
        derived=DerivedArtifacts(changes=changes, holds=holds),
        links=Links(changes=changes, index=indexing.links),
        transfers=Transfers(changes=changes),
        files=DocumentFiles(changes=changes, holds=holds),
        as_of=DocumentsAsOf(changes=changes),
        purge=DocumentPurge(changes=changes, storage=storage),
        relocated=RelocatedFiles(changes=changes),
    )
