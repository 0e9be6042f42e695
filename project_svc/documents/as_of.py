"""GetDocumentAsOf: an earlier state of a document, exactly.

Every change of a document writes the whole record into a metadata record of the
same commit, at strictly growing times (`DocumentChanges.after`): the state at a
time is the snapshot of the last such record until then. Events are not needed;
they leave large values out. The copies of home and team are those of the
project then, told by the events of its own partition.
"""

from __future__ import annotations

from datetime import datetime, timedelta

from google.protobuf.json_format import MessageToDict, ParseDict
from workspace.common.v1.activity_pb2 import ActivityEvent
from workspace.project.v1.document_pb2 import Document, DocumentStatus
from workspace.project.v1.document_service_pb2 import (
    GetDocumentAsOfRequest,
    GetDocumentAsOfResponse,
)
from workspace.project.v1.history_pb2 import MetadataRecord, MetadataRecordType
from workspace.project.v1.project_pb2 import Project, ProjectStatus

from project_svc.access.facts import project_pk
from project_svc.documents.changes import DocumentAccess, DocumentChanges
from project_svc.documents.rows import METADATA, copy_home, document_pk, fill_provider
from services.model.errors import Reason, WorkspaceError, invalid_field
from services.model.families import FAMILIES
from services.model.indexes import Index
from services.model.permissions import VIEW
from services.model.times import from_timestamp, key_time, to_micros
from services.records.record import Record

__all__ = ["DocumentsAsOf"]

_EVENT = FAMILIES["activity_event"]
_SERVERS = (
    MetadataRecordType.METADATA_RECORD_TYPE_CURATED,
    MetadataRecordType.METADATA_RECORD_TYPE_LIFECYCLE,
)
_BY_CALLERS = frozenset({"extracted", "curated"})
_PAGE = 20
_EVENTS_A_READ = 200
_TICK = timedelta(microseconds=1)


class DocumentsAsOf:
    """The use case of GetDocumentAsOf."""

    def __init__(self, *, changes: DocumentChanges) -> None:
        self._changes = changes
        self._records = changes.records

    async def get(self, request: GetDocumentAsOfRequest) -> GetDocumentAsOfResponse:
        """The document as it was. Raises NOT_FOUND for a time before it."""
        seen = await self._changes.require(request.document_id, VIEW)
        at = _moment(request)
        record = await self._state(request.document_id, at)
        if record is None:
            raise _not_yet(request.document_id, at)
        document = _document(record.message)
        copy_home(document, await self._project(seen, at))
        fill_provider(document, self._changes.provider)
        return GetDocumentAsOfResponse(
            document=document,
            metadata_record_id=record.message.metadata_record_id,
            file_kept=document.HasField("file") and _keeps_files(seen),
        )

    async def _state(self, document_id: str, at: datetime) -> Record[MetadataRecord] | None:
        """The last whole snapshot until `at`."""
        after: str | None = None
        while True:
            page = await self._records.query(
                METADATA,
                Index.BASE,
                document_pk(document_id),
                prefix="METADATA#",
                upper=f"METADATA#{key_time(at + _TICK)}",
                limit=_PAGE,
                after=after,
                descending=True,
            )
            for record in page.records:
                if _is_state(record.message):
                    return record
            if page.next is None:
                return None
            after = page.next

    async def _project(self, seen: DocumentAccess, at: datetime) -> Project:
        """The project as it was: what its first later change found."""
        after: str | None = None
        project = seen.access.project
        millis = to_micros(at) // 1000
        while True:
            page = await self._records.query(
                _EVENT,
                Index.BASE,
                project_pk(project.project_id),
                prefix="EVENT#",
                lower=f"EVENT#{millis:013d}",
                limit=_EVENTS_A_READ,
                after=after,
            )
            for record in page.records:
                before = _before(record.message) if _is_later(record.message, at) else None
                if before is not None:
                    return before
            if page.next is None:
                return project
            after = page.next


def _moment(request: GetDocumentAsOfRequest) -> datetime:
    """The time that was asked for, below the last key time there can be."""
    try:
        at = from_timestamp(request.time)
    except (ValueError, OverflowError):
        raise invalid_field("time", "is no time of the years 1 to 9999; correct it") from None
    return min(at, datetime.max.replace(tzinfo=at.tzinfo) - _TICK)


def _not_yet(document_id: str, at: datetime) -> WorkspaceError:
    return WorkspaceError(
        Reason.ERROR_REASON_NOT_FOUND,
        f"documents/{document_id} did not exist at {key_time(at)}; give a later time",
        metadata={"resource": f"documents/{document_id}"},
    )


def _is_state(record: MetadataRecord) -> bool:
    """Whether the server took this snapshot of the whole document, at a change."""
    return (
        record.record_type in _SERVERS
        and record.reason not in _BY_CALLERS
        and record.HasField("snapshot")
    )


def _document(record: MetadataRecord) -> Document:
    members = MessageToDict(record.snapshot)
    return ParseDict(members, Document(), ignore_unknown_fields=True)


def _is_later(event: ActivityEvent, at: datetime) -> bool:
    return from_timestamp(event.occurred_at) > at


def _before(event: ActivityEvent) -> Project | None:
    for change in event.changes:
        if change.family == "project" and change.HasField("before"):
            return ParseDict(MessageToDict(change.before), Project(), ignore_unknown_fields=True)
    return None


def _keeps_files(seen: DocumentAccess) -> bool:
    """Bytes go with the purge of document or project, never before."""
    purged = seen.access.project.status == ProjectStatus.PROJECT_STATUS_PURGED
    return seen.document.status != DocumentStatus.DOCUMENT_STATUS_PURGED and not purged
