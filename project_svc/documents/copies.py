"""CopyDocument: a new document with the metadata, links and file of another.

1. A due row, then the copy's row with a lifecycle record that names the source's
   file: one commit, after the claim of its place as for any new document.
2. Due work: storage copies the bytes, create-only and verified.
3. The file is attached, on condition that the copy still awaits it.

2 and 3 may be repeated. Whoever uploads a file to the copy meanwhile wins.
"""

from __future__ import annotations

import logging
import uuid
from typing import TYPE_CHECKING

import grpc.aio
from workspace.project.v1.document_pb2 import Document, DocumentStatus, FileInfo
from workspace.project.v1.document_service_pb2 import (
    CopyDocumentRequest,
    CopyDocumentResponse,
    CopyDocumentVersionRequest,
    CopyDocumentVersionResponse,
)
from workspace.project.v1.history_pb2 import MetadataRecordType
from workspace.project.v1.project_pb2 import Project
from workspace.storage.v1.storage_service_pb2 import (
    CopyObjectRequest,
    GetHomeUsageRequest,
)

from project_svc.access.gate import ProjectAccess, require_active
from project_svc.documents.changes import DocumentAccess, DocumentChanges
from project_svc.documents.documents import CLIENT_SET, Documents, classification_word, extension_of
from project_svc.documents.files import make_current
from project_svc.documents.purge import GUARD_SECONDS
from project_svc.documents.revisions import file_not_available
from project_svc.documents.rows import (
    DOCUMENT,
    METADATA,
    activity_on,
    copy_home,
    document_key,
    document_pk,
    stored_file,
    take_snapshot,
)
from project_svc.scans import scan
from services.events.outbox import instance_of
from services.model.errors import Reason, WorkspaceError, invalid_field
from services.model.indexes import Index
from services.model.names import validate_document_name, validate_relative_path
from services.model.object_names import held_file
from services.model.paths import home_of, raw_key
from services.model.permissions import VIEW, WRITE
from services.model.times import to_timestamp
from services.records.codec import fields_of
from services.records.record import Record, Write
from services.rpc.errors import error_info, peer_status

if TYPE_CHECKING:  # the generated class exists for type checkers only
    from workspace.storage.v1.storage_service_pb2_grpc import StorageServiceAsyncStub

__all__ = ["DOCUMENT_COPY", "DocumentCopies"]

DOCUMENT_COPY = "document.copy"
"""Kind of due work; the subject is the id of the copy."""

_AWAITING = DocumentStatus.DOCUMENT_STATUS_AWAITING_FILE
_READABLE = (DocumentStatus.DOCUMENT_STATUS_AVAILABLE, DocumentStatus.DOCUMENT_STATUS_ARCHIVED)
_LIFECYCLE = MetadataRecordType.METADATA_RECORD_TYPE_LIFECYCLE
_COPIED = CLIENT_SET | {"links", "mime_type"}
_FULL_SECONDS = 3600.0
_NEVER_ENDING = 1_000_000
_log = logging.getLogger("workspace.project.copies")


class DocumentCopies:
    """The use case of CopyDocument, and its due work."""

    def __init__(
        self, *, changes: DocumentChanges, storage: StorageServiceAsyncStub
    ) -> None:
        self._changes = changes
        self._records = changes.records
        self._storage = storage

    async def copy(
        self, request: CopyDocumentRequest, documents: Documents
    ) -> CopyDocumentResponse:
        """The copy, which awaits its file. Raises ALREADY_EXISTS when its place
        is taken, FILE_NOT_AVAILABLE, CLASSIFICATION_LOWERED, QUOTA_EXCEEDED."""
        mutation = self._changes.begin(request)
        seen = await self._changes.require(request.document_id, VIEW)
        target = request.project_id or seen.document.project_id
        found = await self._changes.access.require(target, WRITE, active=False)
        document_id = mutation.new_id("d")
        if done := await mutation.replay(document_pk(document_id), CopyDocumentResponse):
            return done
        require_active(found.project)
        _require_file(seen)
        _require_protected(seen.access.project, found.project)
        await self._require_room(found, seen.document.file)
        document = self._new(request, seen.document, found, document_id)
        await self._soon(document_id, GUARD_SECONDS)
        answer = await documents.insert(
            mutation,
            document,
            found,
            CopyDocumentResponse,
            reason="copied",
            file=seen.document.file,
        )
        await self._soon(document_id)
        return answer

    async def copy_version(
        self, request: CopyDocumentVersionRequest, documents: Documents
    ) -> CopyDocumentVersionResponse:
        """A document of its own for one version of a document in conflict. Raises
        INVALID_FIELD, INVALID_STATE, ALREADY_EXISTS when its place is taken."""
        mutation = self._changes.begin(request)
        version = request.version
        found = await self._changes.access.require(version.project_id, WRITE, active=False)
        _require_version_of(request, found.project)
        document_id = mutation.new_id("d")
        if done := await mutation.replay(document_pk(document_id), CopyDocumentVersionResponse):
            return done
        require_active(found.project)
        file = version.file if held_file(fields_of(DOCUMENT, version)) else None
        wanted = CopyDocumentRequest(name=request.name)
        document = self._new(wanted, version, found, document_id)
        await self._soon(document_id, GUARD_SECONDS)
        answer = await documents.insert(
            mutation, document, found, CopyDocumentVersionResponse, reason="copied",
            file=file,
        )
        await self._soon(document_id)
        return answer

    async def run(self, document_id: str) -> float | None:
        """Due work: steps 2 and 3. Answers when to look again (unix seconds)."""
        record = await self._records.get(DOCUMENT, document_key(document_id))
        if record is None or record.message.status != _AWAITING:
            return None
        source = await self._source(record.message)
        found = await self._changes.access.of(
            record.message.created_by, record.message.project_id
        )
        if source is None or found is None:
            return None
        home = home_of(
            account_id=found.project.account_id, workspace_id=found.project.workspace_id
        )
        key = raw_key(home, found.project.project_id, document_id, record.message.name)
        try:
            await self._copy_object(found, source, key)
        except grpc.aio.AioRpcError as error:
            return self._after(document_id, error)
        await self._attach(record, found.project, source, key)
        return None

    def _after(self, document_id: str, error: grpc.aio.AioRpcError) -> float | None:
        """What a refusal of storage means: later, or that the copy goes on
        awaiting a file which people may upload."""
        reason = _reason(error)
        if reason == Reason.Name(Reason.ERROR_REASON_QUOTA_EXCEEDED):
            return self._changes.kernel.now() + _FULL_SECONDS
        if reason not in map(Reason.Name, _FINAL):
            raise error
        _log.warning("no bytes for the copy %s: %s", f"documents/{document_id}", reason)
        return None

    async def _copy_object(self, found: ProjectAccess, source: FileInfo, key: str) -> None:
        quota = found.user.raw[found.project.account_id or found.project.workspace_id]
        await self._storage.CopyObject(
            CopyObjectRequest(
                source_key=source.storage_key,
                target_key=key,
                sha256=source.sha256,
                size_bytes=source.size_bytes,
                quota_bytes=quota.quota_bytes,
                quota_documents=quota.quota_documents,
            )
        )

    async def _attach(
        self, record: Record[Document], project: Project, source: FileInfo, key: str
    ) -> None:
        """Step 3. A row that changed meanwhile is ETAG_MISMATCH: tried again."""
        document, now = record.edit(), self._changes.after(record)
        file = stored_file(source)
        file.storage_key, file.filename = key, key.rsplit("/", 1)[1]
        file.uploaded_at.CopyFrom(to_timestamp(now))
        file.uploaded_by = document.created_by
        file.file_revision = 1
        file.ClearField("upload_id")
        make_current(document, file)
        copy_home(document, project)
        document.updated_at.CopyFrom(to_timestamp(now))
        note = take_snapshot(
            _LIFECYCLE,
            document,
            record_id=f"m_{uuid.uuid4().hex}",
            now=now,
            actor="service:project_svc",
            reason="file_attached",
            file=file,
        )
        await self._records.commit(
            record.key.pk,
            [Write(DOCUMENT, document, base=record), Write(METADATA, note)],
            activity=activity_on("document.file_attached", document, project),
        )

    async def _source(self, document: Document) -> FileInfo | None:
        """The file that was current when the copy was made, where it is now. Only a
        record of this very instance tells: one that came by sync could name any file."""
        here = instance_of(self._records.actor)
        found = await scan(
            self._records,
            METADATA,
            Index.BASE,
            document_pk(document.document_id),
            prefix="METADATA#",
            limit=1,
            budget=_NEVER_ENDING,
            weight=lambda r: int(
                r.message.reason == "copied"
                and r.message.HasField("file")
                and instance_of(r.stamp.dot[0]) == here
            ),
        )
        if not found.records:
            return None
        file: FileInfo = found.records[0].message.file
        source = await self._records.get(DOCUMENT, document_key(document.copied_from))
        moved = source is not None and source.message.file.upload_id == file.upload_id
        return source.message.file if source is not None and moved else file

    async def _require_room(self, found: ProjectAccess, file: FileInfo) -> None:
        """An early word about the quota; storage decides when it copies."""
        home = found.project.account_id or found.project.workspace_id
        limits = found.user.raw[home]
        if not (limits.quota_bytes or limits.quota_documents):
            return
        usage = (await self._storage.GetHomeUsage(GetHomeUsageRequest(home_id=home))).total
        for name, maximum, taken, wanted in (
            ("bytes", limits.quota_bytes, usage.bytes + usage.reserved_bytes, file.size_bytes),
            ("documents", limits.quota_documents, usage.documents + usage.reserved_documents, 1),
        ):
            if maximum and taken + wanted > maximum:
                raise _no_room(name, maximum, max(0, maximum - taken))

    def _new(
        self,
        request: CopyDocumentRequest,
        source: Document,
        found: ProjectAccess,
        document_id: str,
    ) -> Document:
        project, now = found.project, to_timestamp(self._changes.now())
        document = Document()
        document.CopyFrom(source)
        for field, _ in source.ListFields():
            if field.name not in _COPIED:
                document.ClearField(field.name)  # type: ignore[arg-type]
        document.document_id = document_id
        document.project_id = project.project_id
        document.owner_type, document.owner_id = "project", project.project_id
        document.copied_from = source.document_id
        document.name, document.relative_path = source.name, source.relative_path
        if request.name:
            document.name = validate_document_name("name", request.name)
        if request.HasField("relative_path"):
            path = validate_relative_path("relative_path", request.relative_path)
            document.relative_path = path
        document.file_extension = extension_of(document.name)
        document.status = _AWAITING
        document.created_by = document.updated_by = found.user_id
        document.created_at.CopyFrom(now)
        document.updated_at.CopyFrom(now)
        copy_home(document, project)
        return document

    async def _soon(self, document_id: str, seconds: float = 0.0) -> None:
        kernel = self._changes.kernel
        await kernel.due.schedule(DOCUMENT_COPY, document_id, kernel.now() + seconds)


_FINAL = (Reason.ERROR_REASON_NOT_FOUND, Reason.ERROR_REASON_CHECKSUM_MISMATCH)


def _reason(error: grpc.aio.AioRpcError) -> str:
    status = peer_status(error)
    info = error_info(status) if status is not None else None
    return info.reason if info is not None else ""


def _require_file(seen: DocumentAccess) -> None:
    if seen.document.status not in _READABLE or not seen.document.HasField("file"):
        raise file_not_available(seen.document.document_id)


def _require_version_of(request: CopyDocumentVersionRequest, project: Project) -> None:
    if request.version.document_id != request.document_id:
        raise invalid_field("version.document_id", "must be the document_id of the request")
    if request.version.project_id != project.project_id:
        raise invalid_field("version.project_id", "must be the project of the document")


def _require_protected(source: Project, target: Project) -> None:
    """Raises CLASSIFICATION_LOWERED when the target allows less."""
    if target.data_classification < source.data_classification:
        raise WorkspaceError(
            Reason.ERROR_REASON_CLASSIFICATION_LOWERED,
            f"projects/{target.project_id} is less protected than the document's project; copy "
            "it into a project of the same classification",
            metadata={
                "from": classification_word(source.data_classification),
                "to": classification_word(target.data_classification),
            },
        )


def _no_room(name: str, maximum: int, remaining: int) -> WorkspaceError:
    return WorkspaceError(
        Reason.ERROR_REASON_QUOTA_EXCEEDED,
        f"the copy needs more {name}, {remaining} of {maximum} are left; purge what is not "
        "needed or ask a platform admin for a larger quota",
        metadata={"quota": name, "maximum": str(maximum), "remaining": str(remaining)},
    )
