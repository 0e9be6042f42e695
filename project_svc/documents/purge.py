"""Purging documents: by an owner, by retention, with their project.

Two steps that may be cut anywhere, under a due row that is there before them:

1. The document becomes a stub: one commit with its last lifecycle record. It
   needs the end of the retention and no legal hold.
2. Holds are read again, then the bytes are deleted through storage: of every
   file that history ever named here, and of the derived artifacts, which become
   stubs after it.

History stays. The handler reads what is there and goes on from it, so it does
the whole purge of a document whose retention ended without anybody's call.
"""

from __future__ import annotations

import uuid
from collections.abc import AsyncIterator, Iterable
from typing import TYPE_CHECKING, Any

import grpc.aio
from workspace.project.v1.document_pb2 import (
    DerivedArtifact,
    DerivedArtifactStatus,
    Document,
    DocumentStatus,
    FileInfo,
)
from workspace.project.v1.document_service_pb2 import (
    PurgeDocumentRequest,
    PurgeDocumentResponse,
)
from workspace.project.v1.history_pb2 import MetadataRecordType
from workspace.project.v1.project_pb2 import Project, ProjectStatus
from workspace.storage.v1.storage_service_pb2 import DeleteObjectRequest

from project_svc.access.gate import ProjectAccess, invalid_state
from project_svc.documents.changes import CallersEdit, DocumentChanges
from project_svc.documents.rows import (
    DERIVED,
    DOCUMENT,
    METADATA,
    activity_on,
    copy_home,
    document_key,
    document_pk,
    status_of,
    take_snapshot,
)
from project_svc.projects.holds import (
    has_open_conflict,
    is_held,
    postponed,
    require_no_conflict,
    require_no_hold,
    require_retained,
)
from services.model.errors import Reason
from services.model.families import Family
from services.model.indexes import Index
from services.model.paths import StorageKey, home_of, parse_storage_key
from services.model.permissions import OWNER
from services.model.times import from_timestamp, to_timestamp
from services.records.record import Activity, Record, Write
from services.rpc.errors import error_info, peer_status

if TYPE_CHECKING:  # the generated class exists for type checkers only
    from workspace.storage.v1.storage_service_pb2_grpc import StorageServiceAsyncStub

__all__ = ["DOCUMENT_PURGE", "GUARD_SECONDS", "HELD_SECONDS", "DocumentPurge"]

DOCUMENT_PURGE = "document.purge"
"""Kind of due work; the subject is the document id."""
GUARD_SECONDS = 60.0
"""How long after its row an effect is sure to have happened, or never will."""
HELD_SECONDS = 3600.0
"""How often a hold is looked at again."""

_TRASHED = DocumentStatus.DOCUMENT_STATUS_TRASHED
_PURGED = DocumentStatus.DOCUMENT_STATUS_PURGED
_ARTIFACT_PURGED = DerivedArtifactStatus.DERIVED_ARTIFACT_STATUS_PURGED
_PROJECT_PURGED = ProjectStatus.PROJECT_STATUS_PURGED
_LIFECYCLE = MetadataRecordType.METADATA_RECORD_TYPE_LIFECYCLE
_ACTOR = "service:project_svc"
_REQUEST_IDS = uuid.UUID("0b6f2c1e-3a44-4e0b-8d4f-1f0c5a9be7d2")
_PAGE = 200
_WRITES = 50
_STUB = (
    "document_id",
    "project_id",
    "account_id",
    "team_id",
    "workspace_id",
    "owner_type",
    "owner_id",
    "name",
    "relative_path",
    "document_type",
    "classification",
    "file_extension",
    "created_by",
    "created_at",
    "updated_by",
    "updated_at",
    "trashed_at",
    "trashed_by",
    "purge_after",
    "copied_from",
)


class DocumentPurge:
    """The use case of PurgeDocument, and the due work of both steps."""

    def __init__(self, *, changes: DocumentChanges, storage: StorageServiceAsyncStub) -> None:
        self._changes = changes
        self._records = changes.records
        self._due = changes.kernel.due
        self._storage = storage

    async def purge(self, request: PurgeDocumentRequest) -> PurgeDocumentResponse:
        """The document as a stub; its bytes go within seconds. Raises
        INVALID_STATE unless it is in the trash and while a conflict of sync is
        open, HELD under a hold or before `purge_after`."""

        async def decide(edit: CallersEdit) -> list[Write[Any]]:
            document, resource = edit.document, f"documents/{request.document_id}"
            if document.status != _TRASHED:
                raise invalid_state(
                    resource, status_of(document), "only what is in the trash is purged"
                )
            require_no_hold(edit.access)
            require_retained(resource, document.purge_after, edit.now)
            await require_no_conflict(
                self._records, document.project_id, resource, document.document_id
            )
            await self._soon(request.document_id, GUARD_SECONDS)
            _empty(document)
            return [edit.snapshot(_LIFECYCLE, "purged")]

        answer = await self._changes.run(
            request,
            PurgeDocumentResponse,
            permission=OWNER,
            event="document.purged",
            decide=decide,
        )
        await self._soon(request.document_id)
        return answer

    async def run(self, document_id: str) -> float | None:
        """Due work: both steps, as far as they are to be done now. Answers when
        to look again (unix seconds)."""
        record = await self._records.get(DOCUMENT, document_key(document_id))
        if record is None:
            return None
        found = await self._found(record.message)
        if found is None:
            return None
        if record.message.status != _PURGED:
            again = self._not_yet(record.message, found)
            if again is not None:
                return again or None
            if await self._is_contested(record.message):
                return self._postponed(document_id)
            await self._end(record, found.project)
            found = await self._found(record.message)
        if found is None or is_held(found):
            return self._changes.kernel.now() + HELD_SECONDS
        if await self._is_contested(record.message):
            return self._postponed(document_id)
        return await self._remove(record.message, found.project)

    def _not_yet(self, document: Document, found: ProjectAccess) -> float | None:
        """None: end it now. 0: not at all. Else when to look again."""
        now = self._changes.kernel.now()
        if found.project.status != _PROJECT_PURGED:
            # Without an end of its retention, as a merge may show it, nothing ends.
            if document.status != _TRASHED or not document.HasField("purge_after"):
                return 0.0
            until = from_timestamp(document.purge_after).timestamp()
            if until > now:
                return until
        return now + HELD_SECONDS if is_held(found) else None

    async def _is_contested(self, document: Document) -> bool:
        return await has_open_conflict(
            self._records, document.project_id, document.document_id
        )

    def _postponed(self, document_id: str) -> float:
        return postponed(f"documents/{document_id}", self._changes.kernel.now())

    async def _found(self, document: Document) -> ProjectAccess | None:
        """The project and the facts of its home. The user matters for neither."""
        user_id = document.trashed_by or document.created_by
        return await self._changes.access.of(user_id, document.project_id)

    async def _soon(self, document_id: str, seconds: float = 0.0) -> None:
        await self._due.schedule(
            DOCUMENT_PURGE, document_id, self._changes.kernel.now() + seconds
        )

    async def _end(self, record: Record[Document], project: Project) -> None:
        """Step 1 without a caller."""
        document, now = record.edit(), self._changes.after(record)
        _empty(document)
        copy_home(document, project)
        document.updated_at.CopyFrom(to_timestamp(now))
        note = take_snapshot(
            _LIFECYCLE,
            document,
            record_id=f"m_{uuid.uuid4().hex}",
            now=now,
            actor=_ACTOR,
            reason="purged",
        )
        await self._records.commit(
            record.key.pk,
            [Write(DOCUMENT, document, base=record), Write(METADATA, note)],
            activity=activity_on("document.purged", document, project),
        )

    async def _remove(self, document: Document, project: Project) -> float | None:
        """Step 2. A key that a pending upload still names is tried again."""
        pending = False
        for key in sorted(await self._keys(document, project)):
            pending |= not await self._delete(key)
        await self._end_artifacts(document, project)
        return self._changes.kernel.now() + HELD_SECONDS if pending else None

    async def _keys(self, document: Document, project: Project) -> set[str]:
        """Keys under this document that history or an artifact names, in the
        home where they were and in the one where a relocation put them."""
        home = home_of(account_id=project.account_id, workspace_id=project.workspace_id)
        keys: set[str] = set()
        async for file in self._files(document.document_id):
            key = parse_storage_key(file.storage_key)
            if key.document_id == document.document_id:
                moved = StorageKey(
                    home, key.project_id, key.document_id, key.filename, key.artifact_id
                )
                keys |= {str(key), str(moved)}
        return keys

    async def _files(self, document_id: str) -> AsyncIterator[FileInfo]:
        async for record in self._rows(METADATA, document_id, "METADATA#"):
            for file in _named(record.message, "file"):
                yield file
        async for record in self._rows(DERIVED, document_id, "DERIVED#"):
            for file in _named(record.message, "file", "pending_file"):
                yield file

    async def _delete(self, key: str) -> bool:
        """Whether the object is gone."""
        request = DeleteObjectRequest(
            storage_key=key, request_id=str(uuid.uuid5(_REQUEST_IDS, key))
        )
        try:
            await self._storage.DeleteObject(request)
        except grpc.aio.AioRpcError as error:
            if _is_pending(error):
                return False
            raise
        return True

    async def _end_artifacts(self, document: Document, project: Project) -> None:
        ended = [
            Write(DERIVED, self._stub(record), base=record)
            async for record in self._rows(DERIVED, document.document_id, "DERIVED#")
            if record.message.status != _ARTIFACT_PURGED
        ]
        for at in range(0, len(ended), _WRITES):
            await self._records.commit(
                document_pk(document.document_id),
                ended[at : at + _WRITES],
                activity=Activity(
                    "artifact.purged",
                    f"documents/{document.document_id}",
                    account_id=project.account_id,
                    project_id=project.project_id,
                ),
            )

    def _stub(self, record: Record[DerivedArtifact]) -> DerivedArtifact:
        artifact = record.edit()
        artifact.status = _ARTIFACT_PURGED
        for name in ("file", "pending_file", "attributes"):
            artifact.ClearField(name)
        artifact.updated_at.CopyFrom(to_timestamp(self._changes.now()))
        return artifact

    async def _rows(
        self, family: Family, document_id: str, prefix: str
    ) -> AsyncIterator[Record[Any]]:
        after: str | None = None
        while True:
            page = await self._records.query(
                family,
                Index.BASE,
                document_pk(document_id),
                prefix=prefix,
                limit=_PAGE,
                after=after,
            )
            for record in page.records:
                yield record
            if page.next is None:
                return
            after = page.next


def _empty(document: Document) -> None:
    """What stays of a purged document: who, where and when."""
    stub = Document(status=_PURGED)
    for field, value in document.ListFields():
        if field.name not in _STUB:
            continue
        if field.message_type is None:
            setattr(stub, field.name, value)
        else:
            getattr(stub, field.name).CopyFrom(value)
    document.CopyFrom(stub)


def _named(message: Any, *fields: str) -> Iterable[FileInfo]:
    return [getattr(message, name) for name in fields if getattr(message, name).storage_key]


def _is_pending(error: grpc.aio.AioRpcError) -> bool:
    status = peer_status(error)
    info = error_info(status) if status is not None else None
    return info is not None and info.reason == Reason.Name(Reason.ERROR_REASON_INVALID_STATE)
