"""Due work of this package: what goes on by itself, after a crash too."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from project_svc.access.gate import Access
from project_svc.documents.changes import DocumentChanges
from project_svc.documents.copies import DOCUMENT_COPY, DocumentCopies
from project_svc.documents.denormalised import DENORMALISED, Denormalised
from project_svc.documents.purge import DOCUMENT_PURGE, DocumentPurge
from project_svc.projects.purge import PROJECT_PURGE, ProjectPurge
from services.events.due import DueHandler
from services.kernel import Kernel

if TYPE_CHECKING:  # the generated class exists for type checkers only
    from workspace.storage.v1.storage_service_pb2_grpc import StorageServiceAsyncStub

__all__ = ["due_work"]


def due_work(
    kernel: Kernel, access: Access, storage: StorageServiceAsyncStub
) -> Mapping[str, DueHandler]:
    """A handler for each kind of due work that this package schedules."""
    changes = DocumentChanges(kernel=kernel, access=access)
    return {
        DOCUMENT_COPY: DocumentCopies(changes=changes, storage=storage).run,
        DENORMALISED: Denormalised(kernel.records).run,
        DOCUMENT_PURGE: DocumentPurge(changes=changes, storage=storage).run,
        PROJECT_PURGE: ProjectPurge(kernel=kernel, access=access).run,
    }
