"""Assembles the services of documents and history."""

from __future__ import annotations

from typing import TYPE_CHECKING

from workspace.project.v1 import document_service_pb2_grpc, history_service_pb2_grpc

from project_svc.access import Access
from project_svc.activity import ActivityLists
from project_svc.candidates import Candidates
from project_svc.derived import DerivedArtifacts
from project_svc.document_changes import DocumentChanges
from project_svc.document_files import DocumentFiles
from project_svc.document_lists import DocumentLists
from project_svc.document_names import PlaceClaims
from project_svc.document_places import DocumentPlaces
from project_svc.documents import Documents
from project_svc.history import History
from project_svc.links import Links
from project_svc.revisions import Revisions
from project_svc.servicers.document import DocumentServicer
from project_svc.servicers.history import HistoryServicer
from project_svc.transfers import Transfers
from project_svc.visible import VisibleProjects
from services.kernel import Kernel, Registration

if TYPE_CHECKING:  # the generated classes exist for type checkers only
    from workspace.identity.v1.identity_service_pb2_grpc import IdentityServiceAsyncStub

__all__ = ["document_registrations"]


def document_registrations(
    kernel: Kernel,
    access: Access,
    *,
    identity: IdentityServiceAsyncStub,
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
    history = HistoryServicer(  # type: ignore[abstract]
        history=History(changes=changes), activity=ActivityLists(changes=changes)
    )
    return [
        Registration(
            document_service_pb2_grpc.add_DocumentServiceServicer_to_server,
            _documents(kernel, changes, visible),
            "workspace.project.v1.DocumentService",
        ),
        Registration(
            history_service_pb2_grpc.add_HistoryServiceServicer_to_server,
            history,
            "workspace.project.v1.HistoryService",
        ),
    ]


def _documents(
    kernel: Kernel, changes: DocumentChanges, visible: VisibleProjects
) -> DocumentServicer:
    claims = PlaceClaims(records=kernel.records, now=kernel.now)
    lists = DocumentLists(changes=changes, visible=visible)
    # What is not implemented is not registered: gRPC answers UNIMPLEMENTED.
    return DocumentServicer(  # type: ignore[abstract]
        documents=Documents(changes=changes, claims=claims),
        lists=lists,
        places=DocumentPlaces(changes=changes, claims=claims),
        revisions=Revisions(changes=changes),
        derived=DerivedArtifacts(changes=changes),
        links=Links(changes=changes, lists=lists),
        transfers=Transfers(changes=changes),
        files=DocumentFiles(changes=changes),
    )
