"""Files of documents: what storage asks before a transfer and tells after it.

AttachFile is idempotent by upload id: an upload that history knows is answered
or refused by what it became, never attached twice. For the first file of a
document there is no history to ask, so that an import stays at one commit and
point reads.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import Any

from workspace.project.v1.document_pb2 import Document, DocumentStatus, FileInfo
from workspace.project.v1.document_service_pb2 import (
    AttachFileRequest,
    AttachFileResponse,
    FileDisposition,
)
from workspace.project.v1.history_pb2 import MetadataRecordType

from project_svc.access.gate import invalid_state
from project_svc.documents.changes import DocumentChanges, Edit, wrong_state
from project_svc.documents.revisions import CURRENT_FILE_REASONS
from project_svc.documents.rows import DOCUMENT, METADATA, document_key, document_pk, stored_file
from project_svc.scans import scan
from services.model.errors import Reason, WorkspaceError, invalid_field
from services.model.indexes import Index
from services.model.paths import homeless, parse_storage_key
from services.model.times import to_timestamp
from services.records.deciding import deciding
from services.records.record import Record
from services.records.store import RecordStore
from services.rpc.context import current_call

__all__ = [
    "DocumentFiles",
    "Holds",
    "arrived_file",
    "expected_revision",
    "file_of_upload",
    "make_current",
    "never_holds",
    "not_found",
    "require_same",
    "settled_otherwise",
]

_AWAITING = DocumentStatus.DOCUMENT_STATUS_AWAITING_FILE
_SCANNING = DocumentStatus.DOCUMENT_STATUS_SCANNING
_AVAILABLE = DocumentStatus.DOCUMENT_STATUS_AVAILABLE
_ARCHIVED = DocumentStatus.DOCUMENT_STATUS_ARCHIVED
_GONE = (DocumentStatus.DOCUMENT_STATUS_TRASHED, DocumentStatus.DOCUMENT_STATUS_PURGED)
_RELEASE = FileDisposition.FILE_DISPOSITION_AVAILABLE
_HOLD = FileDisposition.FILE_DISPOSITION_HOLD
_REJECT = FileDisposition.FILE_DISPOSITION_REJECTED
_ARRIVED = FileDisposition.FILE_DISPOSITION_ARRIVED
_LIFECYCLE = MetadataRecordType.METADATA_RECORD_TYPE_LIFECYCLE
_NEVER_ENDING = 1_000_000

Holds = Callable[[str], Awaitable[bool]]
"""Whether a hook of the project, or of its account, holds its uploads."""


async def never_holds(_project_id: str) -> bool:
    """No hook holds anything."""
    return False


class DocumentFiles:
    """Attaches files that storage has completed."""

    def __init__(self, *, changes: DocumentChanges, holds: Holds = never_holds) -> None:
        self._changes = changes
        self._records = changes.records
        self._holds = holds

    async def attach(self, request: AttachFileRequest) -> AttachFileResponse:
        """Attach, hold, release or refuse the file of an upload.

        Raises NOT_FOUND, CHECKSUM_MISMATCH when the upload brought another file
        before, INVALID_STATE when the document cannot take it.
        """
        pk = document_pk(request.document_id)
        mutation = self._changes.begin(request)

        async def attempt() -> AttachFileResponse:
            record = await self._records.get(DOCUMENT, document_key(request.document_id))
            if record is None:
                raise not_found(f"documents/{request.document_id}")
            if done := await mutation.replay(pk, AttachFileResponse):
                return done
            view = await self._changes.access.facts.project(record.message.project_id)
            if view is None:
                raise not_found(f"projects/{record.message.project_id}")
            edit = Edit(
                record, view.record.message, record.edit(), mutation, self._changes.after(record)
            )
            reason, file = await self._settle(edit, request)
            if not reason:
                return await self._changes.unchanged(self._answer, record)
            note = edit.snapshot(_LIFECYCLE, reason, file=file)
            return await self._changes.write(edit, [note], f"document.{reason}", self._answer)

        return await deciding(attempt)

    def _answer(self, records: Sequence[Record[Any]]) -> AttachFileResponse:
        return AttachFileResponse(document=self._changes.shown(records[0]))

    async def _settle(self, edit: Edit, request: AttachFileRequest) -> tuple[str, FileInfo]:
        """Edit the document; the reason for history ('' when nothing is to do)."""
        document = edit.document
        file = arrived_file(request, document.project_id, edit)
        if document.HasField("pending_file") and document.pending_file.upload_id == file.upload_id:
            require_same(document.pending_file, file)
            return _settle_held(edit, request.disposition), edit.before.pending_file
        if document.HasField("file") and document.file.upload_id == file.upload_id:
            require_same(document.file, file)
            if request.disposition not in (_RELEASE, _ARRIVED):
                raise settled_otherwise(file.upload_id, "available")
            return "", file
        expected = expected_revision(document)
        if expected != 1 and await self._is_old(document.document_id, file, request.disposition):
            return "", file
        if document.status in _GONE:
            raise wrong_state(document)
        file.file_revision = _require_expected(document, file, expected)
        held = request.disposition == _ARRIVED and await self._holds(document.project_id)
        return _take(document, file, _HOLD if held else request.disposition), file

    async def _is_old(
        self, document_id: str, file: FileInfo, disposition: FileDisposition.ValueType
    ) -> bool:
        """Whether this upload was settled like this before."""
        found = await file_of_upload(self._records, document_id, file.upload_id, "file_")
        if found is None:
            return False
        reason, earlier = found
        require_same(earlier, file)
        if disposition == _ARRIVED:
            disposition = _RELEASE  # it was taken then; one that was refused stays so
        if disposition != (_RELEASE if reason in CURRENT_FILE_REASONS else _REJECT):
            state = "available" if reason in CURRENT_FILE_REASONS else "rejected"
            raise settled_otherwise(file.upload_id, state)
        return True


def expected_revision(document: Document) -> int:
    """The file revision that an upload would have; 0: none is expected."""
    if document.HasField("pending_file"):
        return 0
    if document.status == _AWAITING:
        return document.reserved_file_revision or 1
    if document.status in (_AVAILABLE, _ARCHIVED):
        return document.reserved_file_revision
    return 0


def arrived_file(request: AttachFileRequest, project_id: str, edit: Edit) -> FileInfo:
    """The file as it is stored: who and when filled in, its key checked."""
    file = stored_file(request.file)
    key = parse_storage_key(file.storage_key)
    wanted = (project_id, request.document_id, request.artifact_id)
    if (key.project_id, key.document_id, key.artifact_id) != wanted:
        raise invalid_field("file.storage_key", "is of another document or artifact")
    file.filename = key.filename
    file.upload_id = request.upload_id
    if not file.uploaded_by:
        file.uploaded_by = current_call().user_id
    if not file.HasField("uploaded_at"):
        file.uploaded_at.CopyFrom(to_timestamp(edit.now))
    return file


def require_same(known: FileInfo, file: FileInfo) -> None:
    """Raises CHECKSUM_MISMATCH when the upload brought other bytes before."""
    # A relocation may have moved it to another home since.
    if (known.sha256, homeless(known.storage_key)) != (file.sha256, homeless(file.storage_key)):
        raise WorkspaceError(
            Reason.ERROR_REASON_CHECKSUM_MISMATCH,
            f"uploads/{file.upload_id} was attached with another file; start a new upload",
            metadata={"storage_key": known.storage_key},
        )


def settled_otherwise(upload_id: str, state: str) -> WorkspaceError:
    """The file of the upload has become something else already."""
    return invalid_state(f"uploads/{upload_id}", state, "that is final; start a new upload")


def not_found(resource: str) -> WorkspaceError:
    """For services, which may know what is there."""
    return WorkspaceError(
        Reason.ERROR_REASON_NOT_FOUND,
        f"{resource} does not exist; check the id",
        metadata={"resource": resource},
    )


async def file_of_upload(
    records: RecordStore, document_id: str, upload_id: str, reasons: str
) -> tuple[str, FileInfo] | None:
    """The last thing that history says of an upload: reason and file."""
    found = await scan(
        records,
        METADATA,
        Index.BASE,
        document_pk(document_id),
        prefix="METADATA#",
        limit=1,
        budget=_NEVER_ENDING,
        weight=lambda r: int(
            r.message.record_type == _LIFECYCLE
            and r.message.file.upload_id == upload_id
            and r.message.reason.startswith(reasons)
        ),
        descending=True,
    )
    if not found.records:
        return None
    message = found.records[0].message
    return message.reason, message.file


def _settle_held(edit: Edit, disposition: FileDisposition.ValueType) -> str:
    document = edit.document
    if disposition in (_HOLD, _ARRIVED):
        return ""
    if document.status in _GONE:
        raise wrong_state(document)
    if disposition == _RELEASE:
        make_current(document, edit.before.pending_file)
        return "file_released"
    _refuse(document, document.pending_file.file_revision)
    return "file_rejected"


def _take(document: Document, file: FileInfo, disposition: FileDisposition.ValueType) -> str:
    if disposition == _REJECT:
        _refuse(document, file.file_revision)
        return "file_rejected"
    document.reserved_file_revision = 0
    if disposition in (_RELEASE, _ARRIVED):
        make_current(document, file)
        return "file_attached"
    document.pending_file.CopyFrom(file)
    if document.status == _AWAITING:
        document.status = _SCANNING
    return "file_held"


def _refuse(document: Document, revision: int) -> None:
    """Numbers are not used twice: keys of raw objects are write-once."""
    document.ClearField("pending_file")
    document.reserved_file_revision = 0
    if not document.HasField("file"):
        document.status = _AWAITING
        document.reserved_file_revision = revision + 1


def make_current(document: Document, file: FileInfo) -> None:
    """Have the document show this file, available unless it is archived."""
    document.file.CopyFrom(file)
    document.ClearField("pending_file")
    document.size_bytes = file.size_bytes
    document.mime_type = file.content_type or document.mime_type
    document.storage_key = file.storage_key
    document.uploaded_by = file.uploaded_by
    document.uploaded_at.CopyFrom(file.uploaded_at)
    if document.status != _ARCHIVED:
        document.status = _AVAILABLE


def _require_expected(document: Document, file: FileInfo, expected: int) -> int:
    if not expected or file.file_revision not in (0, expected):
        remedy = (
            f"the next file revision is {expected}" if expected
            else "reserve a revision with CreateRevision first"
        )  # fmt: skip
        raise WorkspaceError(
            Reason.ERROR_REASON_INVALID_STATE,
            f"documents/{document.document_id} does not take this file; {remedy}",
            metadata={
                "resource": f"documents/{document.document_id}",
                "state": f"file_revision_{document.file.file_revision}",
            },
        )
    return expected


