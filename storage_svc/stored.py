"""Objects as the store has them: comparison with the record, and removal."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from workspace.project.v1.document_pb2 import FileInfo
from workspace.project.v1.document_service_pb2 import AuthorizeFileResponse, FilePurpose
from workspace.storage.v1.object_info_pb2 import ObjectInfo
from workspace.storage.v1.storage_service_pb2 import (
    DeleteObjectRequest,
    DeleteObjectResponse,
    GetObjectInfoRequest,
    GetObjectInfoResponse,
)
from workspace.storage.v1.upload_pb2 import FileStatus, FileSummary, Upload, UploadStatus

from services.kernel import Kernel
from services.model.errors import Reason, WorkspaceError
from services.model.paths import homeless, parse_storage_key
from services.model.times import key_time
from services.objects import port
from services.records.port import Index
from services.records.record import Activity
from services.records.store import RecordStore
from storage_svc.digests import digest_of
from storage_svc.downloads import file_name
from storage_svc.gate import ProjectGate
from storage_svc.upload_rows import UPLOADS, moment
from storage_svc.usage import Ledger

__all__ = ["StoredObjects", "pending_upload_of", "uploads_naming"]

_HOLDS = frozenset([UploadStatus.UPLOAD_STATUS_PENDING, UploadStatus.UPLOAD_STATUS_COMPLETED])
_PENDING_DAYS = 8
"""An upload is pending for a week at most; a day for the end of its completion."""


async def pending_upload_of(
    records: RecordStore, project_id: str, key: str, *, now: float
) -> Upload | None:
    """An upload that may still bring `key`. Only those are read that were announced
    recently enough: removing a large project asks this for each of its files.
    `now` is unix seconds."""
    since = datetime.fromtimestamp(now, UTC) - timedelta(days=_PENDING_DAYS)
    for upload in await uploads_naming(
        records, project_id, key, lower=f"UPLOAD#{key_time(since)}"
    ):
        if upload.status == UploadStatus.UPLOAD_STATUS_PENDING and upload.storage_key == key:
            return upload
    return None


async def uploads_naming(
    records: RecordStore, project_id: str, key: str, *, lower: str = ""
) -> list[Upload]:
    """Pending and completed uploads of the project whose object is `key`, from the
    index key `lower` on. A file that was relocated since keeps its name, under
    another home."""
    found: list[Upload] = []
    after: str | None = None
    while True:
        page = await records.query(
            UPLOADS,
            Index.PROJECT,
            f"PROJECT#{project_id}",
            prefix="UPLOAD#",
            lower=lower,
            limit=500,
            after=after,
        )
        uploads = (record.message for record in page.records)
        found += [
            upload
            for upload in uploads
            if homeless(upload.storage_key) == homeless(key) and upload.status in _HOLDS
        ]
        if page.next is None:
            return found
        after = page.next


class StoredObjects:
    """See the module."""

    def __init__(self, *, kernel: Kernel, gate: ProjectGate, ledger: Ledger) -> None:
        self._kernel = kernel
        self._ledger = ledger
        self._objects = kernel.objects
        self._gate = gate

    async def info(self, request: GetObjectInfoRequest) -> GetObjectInfoResponse:
        """Record and store side by side; nothing is transferred."""
        decision = await self._gate.authorize(
            request.document_id,
            FilePurpose.FILE_PURPOSE_INFO,
            artifact_id=request.artifact_id,
            file_revision=request.file_revision,
        )
        if not decision.file.storage_key:
            raise WorkspaceError(
                Reason.ERROR_REASON_FILE_NOT_AVAILABLE,
                f"documents/{request.document_id} has no completed file; upload one first",
                metadata={"document_id": request.document_id},
            )
        found = await self._head(decision.file.storage_key)
        shown = _side_by_side(decision, found)
        shown.artifact_id = request.artifact_id
        return GetObjectInfoResponse(object=shown)

    async def delete(self, request: DeleteObjectRequest) -> DeleteObjectResponse:
        """Remove the bytes of a key that no document names any more. The
        deletion has a partition of its own, for its event and request row."""
        key = request.storage_key
        project_id = parse_storage_key(key).project_id
        mutation = self._kernel.mutations.begin(request)
        pk = f"OBJECT#{mutation.new_id('o')}"
        if done := await mutation.replay(pk, DeleteObjectResponse):
            return done
        await self._refuse_named(project_id, key)
        found = await self._head(key)
        if found is not None:
            await self._refuse_others(request, found)
            await self._objects.delete(key)
        await self._ledger.remove(key)
        return await mutation.commit(
            pk,
            [],
            activity=Activity("object.deleted", f"objects/{key}", project_id=project_id),
            answer=lambda _: DeleteObjectResponse(deleted=found is not None),
        )

    async def _head(self, key: str) -> port.ObjectInfo | None:
        try:
            return await self._objects.head(key)
        except WorkspaceError as error:
            if error.reason != Reason.ERROR_REASON_NOT_FOUND:
                raise
            return None

    async def _refuse_named(self, project_id: str, key: str) -> None:
        kernel = self._kernel
        pending = await pending_upload_of(kernel.records, project_id, key, now=kernel.now())
        if pending is not None:
            resource = f"uploads/{pending.upload_id}"
            raise WorkspaceError(
                Reason.ERROR_REASON_INVALID_STATE,
                f"{resource} still names the key; abort it and let it be collected",
                metadata={"resource": resource, "state": "pending"},
            )

    async def _refuse_others(self, request: DeleteObjectRequest, found: port.ObjectInfo) -> None:
        if request.sha256 and request.sha256 != await digest_of(self._kernel.objects, found):
            raise WorkspaceError(
                Reason.ERROR_REASON_CHECKSUM_MISMATCH,
                "the key holds other bytes than sha256 says; nothing was deleted",
                metadata={"storage_key": request.storage_key},
            )


def _side_by_side(decision: AuthorizeFileResponse, found: port.ObjectInfo | None) -> ObjectInfo:
    file, document = decision.file, decision.document
    shown = ObjectInfo(
        document_id=document.document_id,
        project_id=document.project_id,
        storage_key=file.storage_key,
        file=_summary(file, file_name(decision)),
        present=found is not None,
    )
    if found is not None:
        shown.stored_size_bytes = found.size
        shown.stored_sha256 = found.sha256
        shown.stored_at.CopyFrom(moment(found.modified_at))
        shown.consistent = found.size == file.size_bytes and found.sha256 in ("", file.sha256)
    return shown


def _summary(file: FileInfo, name: str) -> FileSummary:
    return FileSummary(
        filename=name,
        content_type=file.content_type,
        size_bytes=file.size_bytes,
        sha256=file.sha256,
        file_revision=file.file_revision,
        status=FileStatus.FILE_STATUS_AVAILABLE,
        storage_provider=file.storage_provider,
        verified_at=file.uploaded_at,
    )
