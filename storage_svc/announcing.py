"""Announcing a file: the upload record, its key and its expiry.

The key is never the client's: prefix and file revision come from project_svc,
the last part is the safe form of the name. The first file keeps its plain name
unless an earlier upload left other bytes there; then it gets the suffix of a
revision, because nothing is ever overwritten.
"""

from __future__ import annotations

from dataclasses import dataclass

from google.protobuf.timestamp_pb2 import Timestamp
from workspace.project.v1.document_service_pb2 import AuthorizeFileResponse
from workspace.storage.v1.storage_service_pb2 import (
    CreateMultipartUploadRequest,
    CreateUploadRequest,
)
from workspace.storage.v1.upload_pb2 import Upload, UploadStatus

from services.model.errors import Reason, WorkspaceError
from services.model.names import safe_filename, validate_document_name
from services.model.paths import parse_storage_key, revision_filename
from services.objects.store import ObjectStore
from services.rpc.context import current_call
from storage_svc.gate import revision_number
from storage_svc.revocation import principal_of, scope_of
from storage_svc.transfers import Bearer
from storage_svc.upload_rows import moment

__all__ = ["PENDING_SECONDS", "Announcement", "Announcing", "bearer_of"]

PENDING_SECONDS = 24 * 3600
"""How long an upload may stay pending unless asked otherwise."""
_OCTETS = "application/octet-stream"

Announcement = CreateUploadRequest | CreateMultipartUploadRequest


def bearer_of(decision: AuthorizeFileResponse, permission: str, epoch: str) -> Bearer:
    """For whom a URL is signed, by the decision it rests on, in which epoch."""
    document = decision.document
    scope = scope_of(permission, document.project_id, epoch, document.document_id)
    caller = current_call().caller
    token_id = caller.token_id if caller is not None and caller.scope is not None else ""
    principal = principal_of(decision.user_id, token_id)
    return Bearer(principal, scope, revision_number(decision.grant_revision))


@dataclass(frozen=True, slots=True)
class Announcing:
    """Makes upload records; stores nothing."""

    objects: ObjectStore

    async def upload(
        self,
        request: Announcement,
        decision: AuthorizeFileResponse,
        *,
        upload_id: str,
        now: float,
        seconds: int,
    ) -> Upload:
        """The record of a pending upload that expires after `seconds`.
        Raises INVALID_FIELD for a name that is no file name."""
        validate_document_name("filename", request.filename)
        return Upload(
            upload_id=upload_id,
            document_id=request.document_id,
            artifact_id=request.artifact_id,
            project_id=decision.document.project_id,
            filename=request.filename,
            content_type=request.content_type or _OCTETS,
            size_bytes=request.size_bytes,
            sha256=request.sha256,
            storage_key=await self._key(request, decision, upload_id),
            status=UploadStatus.UPLOAD_STATUS_PENDING,
            created_by=decision.user_id,
            created_at=moment(now),
            expires_at=Timestamp(seconds=int(now) + seconds),
            file_revision=decision.next_file_revision,
        )

    async def _key(
        self, request: Announcement, decision: AuthorizeFileResponse, upload_id: str
    ) -> str:
        revision = max(1, decision.next_file_revision)
        marked = decision.storage_prefix + revision_filename(request.filename, revision, upload_id)
        plain = decision.storage_prefix + safe_filename(request.filename)
        key = plain if revision == 1 and await self._is_free(plain, request) else marked
        return str(parse_storage_key(key))

    async def _is_free(self, key: str, request: Announcement) -> bool:
        """Nothing there, or the very bytes that are announced."""
        try:
            info = await self.objects.head(key)
        except WorkspaceError as error:
            if error.reason != Reason.ERROR_REASON_NOT_FOUND:
                raise
            return True
        return (info.size, info.sha256) == (request.size_bytes, request.sha256)
