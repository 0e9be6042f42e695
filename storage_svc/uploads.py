"""Uploads sent at once: announce, list, abort."""

from __future__ import annotations

from collections.abc import Sequence

import grpc.aio
from workspace.project.v1.document_service_pb2 import AuthorizeFileResponse, FilePurpose
from workspace.storage.v1.storage_service_pb2 import (
    AbortUploadRequest,
    AbortUploadResponse,
    CreateUploadRequest,
    CreateUploadResponse,
    ListUploadsRequest,
    ListUploadsResponse,
)
from workspace.storage.v1.upload_pb2 import Upload, UploadStatus

from services.kernel import Kernel
from services.model.errors import Reason, WorkspaceError, invalid_field
from services.model.paths import parse_storage_key
from services.records.mutation import Mutation, require_etag
from services.records.port import Index
from services.records.record import Record, Write
from services.rpc.context import current_call
from services.rpc.page_tokens import page_size
from storage_svc.announcing import PENDING_SECONDS, Announcement, Announcing, bearer_of
from storage_svc.epochs import Epochs
from storage_svc.gate import ProjectGate, reason_of
from storage_svc.transfers import Transfers, seconds_of
from storage_svc.upload_rows import (
    DUE_KIND,
    LOOK_SECONDS,
    UPLOADS,
    activity_of,
    due_subject,
    effective_status,
    finished,
    load_upload,
    require_open,
    shown,
    state_word,
    upload_key,
    upload_pk,
)
from storage_svc.usage import Ledger, Quota, usage_pk

__all__ = ["SCAN_ROWS", "Uploads", "decide_announcement", "reserve"]

SCAN_ROWS = 2_000
"""Rows one ListUploads reads at most; a sparse filter goes on by page token."""
_ATTEMPTS = 5
_ANY = UploadStatus.UPLOAD_STATUS_UNSPECIFIED


async def decide_announcement(
    kernel: Kernel, gate: ProjectGate, request: Announcement, upload_id: str
) -> AuthorizeFileResponse:
    """May the caller upload to the document now? A repeat whose upload is no
    longer pending is UPLOAD_FINISHED, not the state that it led to."""
    try:
        return await gate.authorize(
            request.document_id,
            FilePurpose.FILE_PURPOSE_UPLOAD,
            artifact_id=request.artifact_id,
        )
    except grpc.aio.AioRpcError as error:
        if reason_of(error) == Reason.ERROR_REASON_INVALID_STATE:
            record = await kernel.records.get(UPLOADS, upload_key(upload_id))
            if record is not None and state_word(record.message, kernel.now()) != "pending":
                raise finished(record.message, kernel.now()) from None
        raise


async def reserve(
    kernel: Kernel, ledger: Ledger, upload: Upload, decision: AuthorizeFileResponse
) -> None:
    """Set aside what the upload may bring, once somebody will look after it.
    Raises QUOTA_EXCEEDED, and LIMIT_EXCEEDED when too many uploads are under way."""
    await ledger.open.require(usage_pk(parse_storage_key(upload.storage_key).home.id))
    subject = due_subject(upload)
    await kernel.due.schedule(DUE_KIND, subject, kernel.now() + LOOK_SECONDS)
    quota = Quota(decision.quota_bytes, decision.quota_documents)
    await ledger.reserve(upload.storage_key, upload.upload_id, upload.size_bytes, quota)


class Uploads:
    """See the module."""

    def __init__(self, *, kernel: Kernel, gate: ProjectGate, ledger: Ledger) -> None:
        self._kernel = kernel
        self._records = kernel.records
        self._gate = gate
        self._ledger = ledger
        self._epochs = Epochs(kernel.records)
        self._announcing = Announcing(kernel.objects)
        self._transfers = Transfers(kernel.objects)

    async def create(self, request: CreateUploadRequest) -> CreateUploadResponse:
        """The upload and a transfer signed anew on every repeat."""
        mutation = self._kernel.mutations.begin(request)
        upload_id = mutation.new_id("x")
        decision = await decide_announcement(self._kernel, self._gate, request, upload_id)
        self._check_size(request.size_bytes)
        pk = upload_pk(upload_id)
        done = await mutation.replay(pk, CreateUploadResponse)
        if done is None:
            now = self._kernel.now()
            upload = await self._announcing.upload(
                request, decision, upload_id=upload_id, now=now, seconds=PENDING_SECONDS
            )
            await reserve(self._kernel, self._ledger, upload, decision)
            done = await mutation.commit(
                pk,
                [Write(UPLOADS, upload)],
                activity=activity_of("created", upload),
                answer=lambda records: CreateUploadResponse(upload=shown(records[0], now)),
                still=self._gate.still_writes(
                    upload.project_id, f"documents/{request.document_id}"
                ),
            )
        await self._sign(request, done, decision)
        return done

    async def of_project(self, request: ListUploadsRequest) -> ListUploadsResponse:
        """Newest first, by the time of announcement."""
        await self._gate.require_write(request.project_id, f"projects/{request.project_id}")
        call, wanted = current_call(), page_size(request)
        token = (call.method, call.user_id, request)
        after: str | None = self._kernel.page_tokens.open(*token, request.page_token) or None
        found: list[Upload] = []
        for _ in range(0, SCAN_ROWS, wanted):
            page = await self._records.query(
                UPLOADS,
                Index.PROJECT,
                f"PROJECT#{request.project_id}",
                prefix="UPLOAD#",
                limit=wanted - len(found),
                after=after,
                descending=True,
            )
            found += self._matching(page.records, request.status)
            after = page.next
            if after is None or len(found) >= wanted:
                break
        answer = ListUploadsResponse(uploads=found)
        if after is not None:
            answer.next_page_token = self._kernel.page_tokens.issue(*token, after)
        return answer

    async def abort(self, request: AbortUploadRequest) -> AbortUploadResponse:
        """PENDING -> ABORTED. The bytes are left to collection, because a URL
        that is out may still bring some."""
        resource = f"uploads/{request.upload_id}"
        record = await self._gate.writable_upload(self._records, request.upload_id)
        mutation = self._kernel.mutations.begin(request)
        if done := await mutation.replay(upload_pk(request.upload_id), AbortUploadResponse):
            return done
        for _ in range(_ATTEMPTS):
            try:
                return await self._abort(record, request.etag, mutation)
            except WorkspaceError as error:
                if error.reason != Reason.ERROR_REASON_ETAG_MISMATCH or request.etag:
                    raise
            record = await load_upload(self._records, request.upload_id)
        raise WorkspaceError(
            Reason.ERROR_REASON_CONFLICTING_WRITE,
            f"{resource} is being changed by others; repeat the call",
            retry_after=0.1,
        )

    async def _abort(
        self, record: Record[Upload], etag: str, mutation: Mutation
    ) -> AbortUploadResponse:
        now = self._kernel.now()
        if state_word(record.message, now) == "aborted":
            return AbortUploadResponse(upload=shown(record, now))
        require_open(record.message, now)
        require_etag(record, etag, f"uploads/{record.message.upload_id}")
        upload = record.edit()
        upload.status = UploadStatus.UPLOAD_STATUS_ABORTED
        done = await mutation.commit(
            record.key.pk,
            [Write(UPLOADS, upload, base=record)],
            activity=activity_of("aborted", upload),
            answer=lambda records: AbortUploadResponse(upload=shown(records[0], now)),
            still=self._gate.still_writes(upload.project_id, f"uploads/{upload.upload_id}"),
        )
        # Not reached after a crash: collection releases it, too.
        await self._ledger.release(upload.storage_key, upload.upload_id)
        return done

    async def _sign(
        self,
        request: CreateUploadRequest,
        answer: CreateUploadResponse,
        decision: AuthorizeFileResponse,
    ) -> None:
        record = await load_upload(self._records, answer.upload.upload_id)
        now = self._kernel.now()
        require_open(record.message, now)
        asked = request.expires_in if request.HasField("expires_in") else None
        seconds = seconds_of(asked, self._kernel.settings.upload_seconds)
        left = max(1, int(record.message.expires_at.seconds - now))
        epoch = await self._epochs.of(record.message.project_id)
        transfer = self._transfers.upload(
            record.message, bearer_of(decision, "write", epoch), min(seconds, left)
        )
        answer.transfer.CopyFrom(transfer)

    def _check_size(self, size: int) -> None:
        maximum = self._kernel.objects.capabilities.max_single_put
        if size > maximum:
            raise invalid_field("size_bytes", f"is over {maximum} bytes; use CreateMultipartUpload")

    def _matching(
        self, records: Sequence[Record[Upload]], status: UploadStatus.ValueType
    ) -> list[Upload]:
        now = self._kernel.now()
        return [
            shown(record, now)
            for record in records
            if status in (_ANY, effective_status(record.message, now))
        ]
