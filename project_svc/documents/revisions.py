"""File revisions of a document: reserving the next, listing those that were."""

from __future__ import annotations

from typing import Any

from workspace.project.v1.document_pb2 import DocumentStatus
from workspace.project.v1.document_service_pb2 import (
    CreateRevisionRequest,
    CreateRevisionResponse,
    ListRevisionsRequest,
    ListRevisionsResponse,
)
from workspace.project.v1.history_pb2 import MetadataRecord, MetadataRecordType

from project_svc.access.gate import require_active
from project_svc.documents.changes import CallersEdit, DocumentChanges, require_status
from project_svc.documents.rows import METADATA, document_pk, shown
from project_svc.scans import scan
from services.model.errors import Reason, WorkspaceError
from services.model.indexes import Index
from services.model.permissions import VIEW, WRITE
from services.records.record import Record, Write
from services.rpc.context import current_call
from services.rpc.page_tokens import page_size

__all__ = ["CURRENT_FILE_REASONS", "RELOCATED_FILE", "Revisions", "file_not_available"]

CURRENT_FILE_REASONS = frozenset({"file_attached", "file_released"})
"""Reasons of lifecycle records whose file became the current one."""
RELOCATED_FILE = "relocated_file"
"""Reason of a lifecycle record that says where such a file is since."""
_AWAITING = DocumentStatus.DOCUMENT_STATUS_AWAITING_FILE
_LIFECYCLE = MetadataRecordType.METADATA_RECORD_TYPE_LIFECYCLE


class Revisions:
    """Use cases of file revisions."""

    def __init__(self, *, changes: DocumentChanges) -> None:
        self._changes = changes

    async def create(self, request: CreateRevisionRequest) -> CreateRevisionResponse:
        """Reserve the next file revision; one that is reserved is answered again.

        Raises FILE_NOT_AVAILABLE before the first file, INVALID_STATE unless
        the document is available and no file is being scanned.
        """

        async def decide(edit: CallersEdit) -> list[Write[Any]]:
            document = edit.document
            require_active(edit.project)
            if document.status == _AWAITING:
                raise file_not_available(document.document_id)
            require_status(document, DocumentStatus.DOCUMENT_STATUS_AVAILABLE)
            if document.HasField("pending_file"):
                raise _scanning(document.document_id)
            if document.reserved_file_revision:
                return []
            document.reserved_file_revision = document.file.file_revision + 1
            return [edit.snapshot(_LIFECYCLE, "revision_reserved", note=request.note)]

        return await self._changes.run(
            request,
            CreateRevisionResponse,
            permission=WRITE,
            event="document.revision_reserved",
            decide=decide,
        )

    async def list(self, request: ListRevisionsRequest) -> ListRevisionsResponse:
        """Files that were current, newest first."""
        call, tokens = current_call(), self._changes.kernel.page_tokens
        await self._changes.require(request.document_id, VIEW)
        found = await scan(
            self._changes.records,
            METADATA,
            Index.BASE,
            document_pk(request.document_id),
            prefix="METADATA#",
            limit=page_size(request),
            position=tokens.open(call.method, call.user_id, request, request.page_token),
            weight=_is_revision,
            descending=True,
        )
        provider = self._changes.provider
        answer = ListRevisionsResponse(files=[shown(r, provider).file for r in found.records])
        if found.next:
            answer.next_page_token = tokens.issue(call.method, call.user_id, request, found.next)
        return answer


def file_not_available(document_id: str) -> WorkspaceError:
    """There is no file yet that could be downloaded."""
    return WorkspaceError(
        Reason.ERROR_REASON_FILE_NOT_AVAILABLE,
        f"documents/{document_id} has no available file; upload one, or wait for its release",
        metadata={"document_id": document_id},
    )


def _scanning(document_id: str) -> WorkspaceError:
    return WorkspaceError(
        Reason.ERROR_REASON_INVALID_STATE,
        f"documents/{document_id} has a file that is being scanned; wait until it is released",
        metadata={"resource": f"documents/{document_id}", "state": "scanning"},
    )


def _is_revision(record: Record[MetadataRecord]) -> int:
    message = record.message
    return int(
        message.record_type == _LIFECYCLE
        and message.reason in CURRENT_FILE_REASONS
        and message.HasField("file")
    )
