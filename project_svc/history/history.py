"""History: metadata records and write events. Nothing here changes a row."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from google.protobuf.struct_pb2 import Struct
from workspace.project.v1.document_pb2 import Document
from workspace.project.v1.history_pb2 import (
    MetadataRecord,
    MetadataRecordType,
    WriteEvent,
    WriteEventKind,
)
from workspace.project.v1.history_service_pb2 import (
    AppendMetadataRecordRequest,
    AppendMetadataRecordResponse,
    CreateWriteEventRequest,
    CreateWriteEventResponse,
    ListMetadataRecordsRequest,
    ListMetadataRecordsResponse,
    ListWriteEventsRequest,
    ListWriteEventsResponse,
)

from project_svc.access.facts import project_pk
from project_svc.access.gate import ProjectAccess, require_active
from project_svc.documents.changes import DocumentChanges, require_present
from project_svc.documents.rows import (
    METADATA,
    WRITE_EVENT,
    check_struct,
    document_pk,
    metadata_record,
    snapshot_of,
)
from project_svc.scans import Scanned, scan
from services.model.families import Family
from services.model.indexes import Index
from services.model.permissions import COMMENT, REVIEW, VIEW, WRITE
from services.records.deciding import Still, deciding
from services.records.mutation import Mutation
from services.records.record import Activity, Head, Record, Write
from services.rpc.context import current_call
from services.rpc.page_tokens import page_size

__all__ = ["History"]

_EXTRACTION = MetadataRecordType.METADATA_RECORD_TYPE_EXTRACTION
_WRITE_CONTEXT = MetadataRecordType.METADATA_RECORD_TYPE_WRITE_CONTEXT
_SNAPSHOT_BYTES = 64 * 1024
_CONTEXT_BYTES = 16 * 1024
_NEEDS = {
    WriteEventKind.WRITE_EVENT_KIND_NOTE: COMMENT,
    WriteEventKind.WRITE_EVENT_KIND_MAPPING_DECISION: REVIEW,
}


@dataclass(frozen=True, slots=True)
class _Subject:
    """What a row of history is about: a document, or a project itself.
    Commits are made on condition of `head`, so that what was checked holds."""

    access: ProjectAccess
    document: Document | None
    head: Head
    still: Still

    @property
    def document_id(self) -> str:
        return self.document.document_id if self.document else ""

    @property
    def pk(self) -> str:
        return self.head.pk

    @property
    def snapshot(self) -> Struct:
        return snapshot_of(self.document or self.access.project)

    def require_open(self) -> None:
        """Raises INVALID_STATE in the trash or purged, and unless the project
        is active."""
        if self.document is None:
            require_active(self.access.project)
        else:
            require_present(self.document, self.access.project)

    def activity(self, event: str) -> Activity:
        project = self.access.project
        resource = f"projects/{project.project_id}"
        if self.document is not None:
            resource = f"documents/{self.document_id}"
        return Activity(
            event, resource, account_id=project.account_id, project_id=project.project_id
        )


class History:
    """Use cases of metadata records and write events."""

    def __init__(self, *, changes: DocumentChanges) -> None:
        self._changes = changes
        self._records = changes.records

    async def append(self, request: AppendMetadataRecordRequest) -> AppendMetadataRecordResponse:
        """An extraction or curated record as it is given.

        Raises LIMIT_EXCEEDED over 64 KiB, INVALID_STATE in the trash.
        """
        extraction = request.record_type == _EXTRACTION
        mutation = self._changes.begin(request)

        async def attempt() -> AppendMetadataRecordResponse:
            subject = await self._subject(request, WRITE if extraction else REVIEW)
            if done := await mutation.replay(subject.pk, AppendMetadataRecordResponse):
                return done
            check_struct(
                "snapshot", request.snapshot, most=_SNAPSHOT_BYTES, limit="snapshot_bytes"
            )
            subject.require_open()
            record = self._record(
                subject,
                mutation,
                request.record_type,
                reason="extracted" if extraction else "curated",
                snapshot=request.snapshot,
                note=request.note,
            )
            return await mutation.commit(
                subject.pk,
                [Write(METADATA, record)],
                activity=subject.activity("metadata_record.appended"),
                answer=lambda records: AppendMetadataRecordResponse(
                    metadata_record=self._changes.shown(records[0])
                ),
                if_head=subject.head,
                still=subject.still,
            )

        return await deciding(attempt)

    async def write(self, request: CreateWriteEventRequest) -> CreateWriteEventResponse:
        """A note or mapping decision with its `write_context` record: one commit.

        Raises INVALID_STATE in the trash or purged.
        """
        mutation = self._changes.begin(request)

        async def attempt() -> CreateWriteEventResponse:
            subject = await self._subject(request, _NEEDS[request.kind])
            if done := await mutation.replay(subject.pk, CreateWriteEventResponse):
                return done
            if request.HasField("document_context"):
                check_struct("document_context", request.document_context, most=_CONTEXT_BYTES)
            subject.require_open()
            context = self._record(
                subject,
                mutation,
                _WRITE_CONTEXT,
                reason="write_event",
                snapshot=subject.snapshot,
            )
            event = self._event(request, subject, mutation, context)
            return await mutation.commit(
                subject.pk,
                [Write(WRITE_EVENT, event), Write(METADATA, context)],
                activity=subject.activity("write_event.created"),
                answer=self._written,
                if_head=subject.head,
                still=subject.still,
            )

        return await deciding(attempt)

    async def records(self, request: ListMetadataRecordsRequest) -> ListMetadataRecordsResponse:
        """Metadata records, newest first."""
        partition = await self._readable(request)
        found = await self._page(
            request,
            METADATA,
            Index.BASE,
            partition,
            "METADATA#",
            lambda r: int(request.record_type in (0, r.message.record_type)),
        )
        return ListMetadataRecordsResponse(
            metadata_records=map(self._changes.shown, found.records),
            next_page_token=self._token(request, found),
        )

    async def writes(self, request: ListWriteEventsRequest) -> ListWriteEventsResponse:
        """Write events of a document, or of a project with its documents,
        newest first."""
        partition = await self._readable(request)
        found = await self._page(
            request,
            WRITE_EVENT,
            Index.BASE if request.document_id else Index.PROJECT,
            partition,
            "WRITE#",
            lambda r: int(request.kind in (0, r.message.kind)),
        )
        return ListWriteEventsResponse(
            write_events=map(self._changes.shown, found.records),
            next_page_token=self._token(request, found),
        )

    def _written(self, records: Sequence[Record[Any]]) -> CreateWriteEventResponse:
        return CreateWriteEventResponse(
            write_event=self._changes.shown(records[0]),
            metadata_record=self._changes.shown(records[1]),
        )

    def _record(
        self,
        subject: _Subject,
        mutation: Mutation,
        kind: MetadataRecordType.ValueType,
        *,
        reason: str,
        snapshot: Struct,
        note: str = "",
    ) -> MetadataRecord:
        return metadata_record(
            kind,
            record_id=mutation.new_id("m"),
            project_id=subject.access.project.project_id,
            document_id=subject.document_id,
            now=self._changes.now(),
            actor=subject.access.user_id,
            reason=reason,
            note=note,
            snapshot=snapshot,
        )

    def _event(
        self,
        request: CreateWriteEventRequest,
        subject: _Subject,
        mutation: Mutation,
        context: MetadataRecord,
    ) -> WriteEvent:
        event = WriteEvent(
            write_event_id=mutation.new_id("w"),
            document_id=subject.document_id,
            project_id=context.project_id,
            timestamp=context.timestamp,
            kind=request.kind,
            text=request.text,
            actor=subject.access.user_id,
            metadata_record_id=context.metadata_record_id,
            links=request.links,
        )
        if request.HasField("document_context"):
            event.document_context.CopyFrom(request.document_context)
        return event

    async def _subject(
        self, request: AppendMetadataRecordRequest | CreateWriteEventRequest, permission: int
    ) -> _Subject:
        access = self._changes.access
        if request.document_id:
            head = await self._records.head(document_pk(request.document_id))
            seen = await self._changes.require(request.document_id, permission)
            still = access.still(seen.access, permission, resource=seen.resource)
            return _Subject(seen.access, seen.document, head, still)
        found = await access.require(request.project_id, permission, active=False)
        return _Subject(found, None, found.head, access.still(found, permission))

    async def _readable(
        self, request: ListMetadataRecordsRequest | ListWriteEventsRequest
    ) -> str:
        """The partition to read, once the caller may."""
        if request.document_id:
            await self._changes.require(request.document_id, VIEW)
            return document_pk(request.document_id)
        await self._changes.access.require(request.project_id, VIEW)
        return project_pk(request.project_id)

    async def _page(
        self,
        request: ListMetadataRecordsRequest | ListWriteEventsRequest,
        family: Family,
        index: Index,
        partition: str,
        prefix: str,
        weight: Any,
    ) -> Scanned:
        call = current_call()
        return await scan(
            self._records,
            family,
            index,
            partition,
            prefix=prefix,
            limit=page_size(request),
            position=self._changes.kernel.page_tokens.open(
                call.method, call.user_id, request, request.page_token
            ),
            weight=weight,
            descending=True,
        )

    def _token(
        self, request: ListMetadataRecordsRequest | ListWriteEventsRequest, found: Scanned
    ) -> str:
        if not found.next:
            return ""
        call = current_call()
        return self._changes.kernel.page_tokens.issue(
            call.method, call.user_id, request, found.next
        )
