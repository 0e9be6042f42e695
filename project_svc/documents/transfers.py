"""AuthorizeFile, for one or many: a decision with all that storage needs for a transfer."""

from __future__ import annotations

from collections.abc import Mapping

import grpc.aio
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
    BatchAuthorizeFilesRequest,
    BatchAuthorizeFilesResponse,
    FilePurpose,
)
from workspace.project.v1.history_pb2 import MetadataRecordType

from project_svc.access.answers import permission_values
from project_svc.access.gate import ProjectAccess, invalid_state, is_gone
from project_svc.documents.changes import DocumentAccess, DocumentChanges, require_usable
from project_svc.documents.derived import artifact_state, find_artifact
from project_svc.documents.files import expected_revision, not_found
from project_svc.documents.revisions import CURRENT_FILE_REASONS, RELOCATED_FILE, file_not_available
from project_svc.documents.rows import DOCUMENT, METADATA, document_key, document_pk, status_of
from project_svc.scans import scan
from services.model.errors import WorkspaceError, permission_denied
from services.model.indexes import Index
from services.model.paths import document_prefix, home_of
from services.model.permissions import VIEW, WRITE
from services.records.record import Record
from services.rpc.context import current_call
from services.rpc.errors import to_status

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
        is not expected, NOT_FOUND for an artifact or revision that is not there."""
        upload = request.purpose == _UPLOAD
        seen = await self._changes.require(request.document_id, WRITE if upload else VIEW)
        answer = self._common(seen, request.artifact_id)
        answer.document.CopyFrom(self._changes.shown(seen.record))
        artifact = await self._artifact(request)
        if artifact is not None:
            answer.artifact.CopyFrom(self._changes.shown(artifact))
        if upload:
            require_usable(seen.document, seen.access.project)
            answer.next_file_revision = _next(seen.document, artifact)
        else:
            answer.file.CopyFrom(await self._file(seen, artifact, request.file_revision))
            answer.file.storage_provider = self._changes.provider
        return answer

    async def batch(self, request: BatchAuthorizeFilesRequest) -> BatchAuthorizeFilesResponse:
        """Downloads of current files, one outcome per document. The documents
        are read by one strong read, each project is decided once."""
        keys = [document_key(document_id) for document_id in request.document_ids]
        records = await self._changes.records.batch_get(DOCUMENT, keys)
        projects = {record.message.project_id for record in records if record is not None}
        held = await self._changes.access.of_each(current_call().user_id, projects)
        answer = BatchAuthorizeFilesResponse()
        for document_id, record in zip(request.document_ids, records, strict=True):
            result = answer.results.add(document_id=document_id)
            try:
                result.decision.CopyFrom(await self._download(document_id, record, held))
            except (WorkspaceError, grpc.aio.AioRpcError) as error:
                result.error.CopyFrom(to_status(error, current_call().request_id))
        return answer

    async def _download(
        self,
        document_id: str,
        record: Record[Document] | None,
        held: Mapping[str, ProjectAccess | Exception],
    ) -> AuthorizeFileResponse:
        resource = f"documents/{document_id}"
        if record is None:
            raise permission_denied("view", resource)
        found = held.get(record.message.project_id)
        if isinstance(found, Exception):
            raise found
        access = self._changes.access.admit(found, VIEW, resource=resource, active=False)
        seen = DocumentAccess(record, access)
        answer = self._common(seen, "")
        document = seen.document
        answer.document.document_id = document.document_id
        answer.document.project_id = document.project_id
        answer.document.name = document.name
        answer.file.CopyFrom(await self._file(seen, None, 0))
        answer.file.storage_provider = self._changes.provider
        return answer

    def _common(self, seen: DocumentAccess, artifact_id: str) -> AuthorizeFileResponse:
        """Everything but the document and what depends on the purpose."""
        project, document_id = seen.access.project, seen.document.document_id
        quota = seen.access.user.raw[project.account_id or project.workspace_id]
        home = home_of(account_id=project.account_id, workspace_id=project.workspace_id)
        folder = f"derived/{artifact_id}/" if artifact_id else "raw/"
        answer = AuthorizeFileResponse(
            storage_prefix=document_prefix(home, project.project_id, document_id) + folder,
            permissions=permission_values(seen.access.permissions),
            grant_revision=seen.access.grant_revision,
            user_id=seen.access.user_id,
            quota_bytes=quota.quota_bytes,
            quota_documents=quota.quota_documents,
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
        self, seen: DocumentAccess, artifact: Record[DerivedArtifact] | None, revision: int
    ) -> FileInfo:
        document = seen.document
        current = artifact.message if artifact is not None else document
        gone = document.status not in _READABLE
        if artifact is not None:
            # Its own state counts, unless the document is in the trash.
            gone = (
                document.status
                in (DocumentStatus.DOCUMENT_STATUS_TRASHED, DocumentStatus.DOCUMENT_STATUS_PURGED)
                or current.status == DerivedArtifactStatus.DERIVED_ARTIFACT_STATUS_PURGED
            )
        # With its project, a document is in the trash itself: restoring brings both back.
        gone = gone or is_gone(seen.access.project)
        if gone or not current.HasField("file"):
            raise file_not_available(document.document_id)
        if revision in (0, current.file.file_revision):
            return current.file
        if artifact is None and document.pending_file.file_revision == revision:
            raise file_not_available(document.document_id)  # it is being scanned
        found = None if artifact is not None else await self._earlier(document, revision)
        if found is None:
            raise not_found(f"documents/{document.document_id}/revisions/{revision}")
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
                and r.message.reason in (*CURRENT_FILE_REASONS, RELOCATED_FILE)
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
