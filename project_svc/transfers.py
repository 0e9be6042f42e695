"""AuthorizeFile: one decision with everything that storage needs for a transfer."""

from __future__ import annotations

from workspace.project.v1.document_pb2 import (
    DerivedArtifact,
    DerivedArtifactStatus,
    Document,
    DocumentStatus,
    FileInfo,
)
from workspace.project.v1.document_service_pb2 import (
    AuthorizeFileRequest,
    AuthorizeFileResponse,
    FilePurpose,
)
from workspace.project.v1.history_pb2 import MetadataRecordType

from project_svc.access import invalid_state
from project_svc.answers import permission_values
from project_svc.derived import artifact_state, find_artifact
from project_svc.document_changes import DocumentAccess, DocumentChanges, require_usable
from project_svc.document_files import expected_revision, not_found
from project_svc.document_rows import METADATA, document_pk, status_of
from project_svc.revisions import CURRENT_FILE_REASONS, file_not_available
from project_svc.scans import scan
from services.model.indexes import Index
from services.model.paths import document_prefix, home_of
from services.model.permissions import VIEW, WRITE
from services.records.record import Record

__all__ = ["Transfers"]

_UPLOAD = FilePurpose.FILE_PURPOSE_UPLOAD
_READABLE = (DocumentStatus.DOCUMENT_STATUS_AVAILABLE, DocumentStatus.DOCUMENT_STATUS_ARCHIVED)
_LIFECYCLE = MetadataRecordType.METADATA_RECORD_TYPE_LIFECYCLE
_NEVER_ENDING = 1_000_000


class Transfers:
    """Decides transfers of the user behind a storage call."""

    def __init__(self, *, changes: DocumentChanges) -> None:
        self._changes = changes

    async def authorize(self, request: AuthorizeFileRequest) -> AuthorizeFileResponse:
        """Raises PERMISSION_DENIED without `write` (upload) or `view`,
        FILE_NOT_AVAILABLE without a file to read, INVALID_STATE when an upload
        is not expected, NOT_FOUND for an artifact that is not there."""
        upload = request.purpose == _UPLOAD
        seen = await self._changes.require(request.document_id, WRITE if upload else VIEW)
        answer = self._common(seen, request)
        artifact = await self._artifact(request)
        if artifact is not None:
            answer.artifact.CopyFrom(self._changes.shown(artifact))
        if upload:
            require_usable(seen.document, seen.access.project)
            answer.next_file_revision = _next(seen.document, artifact)
        else:
            answer.file.CopyFrom(await self._file(seen.document, artifact, request.file_revision))
            answer.file.storage_provider = self._changes.provider
        return answer

    def _common(
        self, seen: DocumentAccess, request: AuthorizeFileRequest
    ) -> AuthorizeFileResponse:
        project = seen.access.project
        home = home_of(account_id=project.account_id, workspace_id=project.workspace_id)
        folder = f"derived/{request.artifact_id}/" if request.artifact_id else "raw/"
        answer = AuthorizeFileResponse(
            document=self._changes.shown(seen.record),
            storage_prefix=document_prefix(home, project.project_id, request.document_id) + folder,
            permissions=permission_values(seen.access.permissions),
            grant_revision=seen.access.grant_revision,
            user_id=seen.access.user_id,
        )
        if project.account_id:
            answer.account_id = project.account_id
        else:
            answer.workspace_id = project.workspace_id
        return answer

    async def _artifact(self, request: AuthorizeFileRequest) -> Record[DerivedArtifact] | None:
        if not request.artifact_id:
            return None
        found = await find_artifact(
            self._changes.records, request.document_id, request.artifact_id
        )
        if found is None:
            raise not_found(f"documents/{request.document_id}/artifacts/{request.artifact_id}")
        return found

    async def _file(
        self, document: Document, artifact: Record[DerivedArtifact] | None, revision: int
    ) -> FileInfo:
        current = artifact.message if artifact is not None else document
        gone = document.status not in _READABLE
        if artifact is not None:
            # Its own state counts, unless the document is in the trash.
            gone = (
                document.status
                in (DocumentStatus.DOCUMENT_STATUS_TRASHED, DocumentStatus.DOCUMENT_STATUS_PURGED)
                or current.status == DerivedArtifactStatus.DERIVED_ARTIFACT_STATUS_PURGED
            )
        if gone or not current.HasField("file"):
            raise file_not_available(document.document_id)
        if revision in (0, current.file.file_revision):
            return current.file
        found = None if artifact is not None else await self._earlier(document, revision)
        if found is None:
            raise file_not_available(document.document_id)
        return found

    async def _earlier(self, document: Document, revision: int) -> FileInfo | None:
        found = await scan(
            self._changes.records,
            METADATA,
            Index.BASE,
            document_pk(document.document_id),
            prefix="METADATA#",
            limit=1,
            budget=_NEVER_ENDING,
            weight=lambda r: int(
                r.message.record_type == _LIFECYCLE
                and r.message.reason in CURRENT_FILE_REASONS
                and r.message.file.file_revision == revision
            ),
            descending=True,
        )
        return found.records[0].message.file if found.records else None


def _next(document: Document, artifact: Record[DerivedArtifact] | None) -> int:
    if artifact is not None:
        awaiting = DerivedArtifactStatus.DERIVED_ARTIFACT_STATUS_AWAITING_FILE
        if artifact.message.status != awaiting:
            raise artifact_state(artifact.message, "create a new artifact")
        return 1
    expected = expected_revision(document)
    if not expected:
        resource = f"documents/{document.document_id}"
        if document.HasField("pending_file"):
            raise invalid_state(resource, "scanning", "wait until its file is released")
        raise invalid_state(resource, status_of(document), "call CreateRevision first")
    return expected
