"""Uploads sent in parts: announce, sign parts, list what has arrived."""

from __future__ import annotations

import math
from collections.abc import Sequence

from workspace.storage.v1.storage_service_pb2 import (
    CreateMultipartUploadRequest,
    CreateMultipartUploadResponse,
    ListUploadPartsRequest,
    ListUploadPartsResponse,
    SignUploadPartsRequest,
    SignUploadPartsResponse,
)
from workspace.storage.v1.transfer_pb2 import PartTransfer
from workspace.storage.v1.upload_pb2 import Upload, UploadPart

from services.kernel import Kernel
from services.model.errors import Reason, WorkspaceError, invalid_field, permission_denied
from services.objects.port import PartInfo
from services.records.record import Record, Write
from services.rpc.context import current_call
from services.rpc.page_tokens import page_size
from storage_svc.announcing import PENDING_SECONDS, Announcing, bearer_of
from storage_svc.epochs import Epochs
from storage_svc.gate import ProjectGate
from storage_svc.transfers import Transfers, seconds_of
from storage_svc.upload_rows import (
    UPLOADS,
    activity_of,
    finished,
    load_upload,
    require_open,
    shown,
    state_word,
    upload_key,
    upload_pk,
)
from storage_svc.uploads import decide_announcement, reserve
from storage_svc.usage import Ledger

__all__ = ["MAX_PARTS", "MultipartUploads", "part_plan"]

MAX_PARTS = 10_000
_MIB = 1024 * 1024
_DEFAULT_PART = 16 * _MIB
_LISTABLE = frozenset({"pending", "verified", "completed"})


def part_plan(size: int, wanted: int) -> tuple[int, int]:
    """(part size in bytes, number of parts) of a file of `size` bytes.
    Without a wish: 16 MiB, or the fewest MiB that make 10,000 parts do."""
    smallest = math.ceil(size / MAX_PARTS / _MIB) * _MIB
    part = wanted or max(_DEFAULT_PART, smallest)
    return part, math.ceil(size / part)


class MultipartUploads:
    """See the module."""

    def __init__(self, *, kernel: Kernel, gate: ProjectGate, ledger: Ledger) -> None:
        self._kernel = kernel
        self._ledger = ledger
        self._epochs = Epochs(kernel.records)
        self._records = kernel.records
        self._objects = kernel.objects
        self._gate = gate
        self._announcing = Announcing(kernel.objects)
        self._transfers = Transfers(kernel.objects)

    async def create(self, request: CreateMultipartUploadRequest) -> CreateMultipartUploadResponse:
        """The upload with part size and count."""
        mutation = self._kernel.mutations.begin(request)
        upload_id = mutation.new_id("x")
        decision = await decide_announcement(self._kernel, self._gate, request, upload_id)
        pk = upload_pk(upload_id)
        if done := await mutation.replay(pk, CreateMultipartUploadResponse):
            require_open((await load_upload(self._records, upload_id)).message, self._now())
            return done
        now = self._now()
        asked = request.expires_in if request.HasField("expires_in") else None
        seconds = seconds_of(asked, PENDING_SECONDS)
        upload = await self._announcing.upload(
            request, decision, upload_id=upload_id, now=now, seconds=seconds
        )
        upload.multipart = True
        upload.part_size_bytes, upload.part_count = part_plan(
            request.size_bytes, request.part_size_bytes
        )
        await reserve(self._kernel, self._ledger, upload, decision)
        await self._begin(upload)
        try:
            return await mutation.commit(
                pk,
                [Write(UPLOADS, upload)],
                activity=activity_of("created", upload),
                answer=lambda records: CreateMultipartUploadResponse(upload=shown(records[0], now)),
                still=self._gate.still_writes(
                    upload.project_id, f"documents/{request.document_id}"
                ),
            )
        finally:
            await self._drop_unused(upload)

    async def sign_parts(self, request: SignUploadPartsRequest) -> SignUploadPartsResponse:
        """One transfer per part asked for, in the order asked."""
        record = await load_upload(self._records, request.upload_id)
        upload = record.message
        await self._require_own(upload)
        require_open(upload, self._now())
        decision = await self._gate.authorize_upload(upload)
        _require_multipart(upload)
        _check_numbers(request, upload)
        asked = request.expires_in if request.HasField("expires_in") else None
        seconds = seconds_of(asked, self._kernel.settings.upload_seconds)
        seconds = min(seconds, max(1, int(upload.expires_at.seconds - self._now())))
        bearer = bearer_of(decision, "write", await self._epochs.of(upload.project_id))
        digests = dict(request.part_sha256)
        return SignUploadPartsResponse(
            parts=[
                PartTransfer(
                    part_number=number,
                    transfer=self._transfers.part(
                        upload, number, digests.get(number, ""), bearer, seconds
                    ),
                )
                for number in request.part_numbers
            ]
        )

    async def list_parts(self, request: ListUploadPartsRequest) -> ListUploadPartsResponse:
        """What the store holds, by part number. A completed upload has no
        parts any more."""
        record = await self._gate.writable_upload(self._records, request.upload_id)
        now = self._now()
        if state_word(record.message, now) not in _LISTABLE:
            raise finished(record.message, now)
        call, wanted = current_call(), page_size(request)
        token = (call.method, call.user_id, request)
        after = int(self._kernel.page_tokens.open(*token, request.page_token) or 0)
        parts = [part for part in await self._received(record) if part.number > after]
        answer = ListUploadPartsResponse(
            upload=shown(record, now), parts=[_shown_part(part) for part in parts[:wanted]]
        )
        if len(parts) > wanted:
            position = str(parts[wanted - 1].number)
            answer.next_page_token = self._kernel.page_tokens.issue(*token, position)
        return answer

    def _now(self) -> float:
        return self._kernel.now()

    async def _require_own(self, upload: Upload) -> None:
        """URLs of an upload are signed for the person who announced it only."""
        if current_call().user_id != upload.created_by:
            raise permission_denied("write", f"uploads/{upload.upload_id}")
        await self._gate.require_write(upload.project_id, f"uploads/{upload.upload_id}")

    async def _begin(self, upload: Upload) -> None:
        upload.provider_upload_id = await self._objects.multipart_create(
            upload.storage_key, upload.content_type, upload.sha256
        )

    async def _drop_unused(self, upload: Upload) -> None:
        """The commit may have failed, or a parallel call with the same request
        id won; then the multipart upload begun here belongs to nobody."""
        record = await self._records.get(UPLOADS, upload_key(upload.upload_id))
        if record is None or record.message.provider_upload_id != upload.provider_upload_id:
            await self._objects.multipart_abort(upload.storage_key, upload.provider_upload_id)

    async def _received(self, record: Record[Upload]) -> Sequence[PartInfo]:
        upload = record.message
        if not upload.multipart:
            return ()
        try:
            return await self._objects.multipart_parts(
                upload.storage_key, upload.provider_upload_id
            )
        except WorkspaceError as error:
            if error.reason != Reason.ERROR_REASON_NOT_FOUND:
                raise
            return ()  # joined already


def _require_multipart(upload: Upload) -> None:
    if not upload.multipart:
        resource = f"uploads/{upload.upload_id}"
        raise WorkspaceError(
            Reason.ERROR_REASON_INVALID_STATE,
            f"{resource} is not sent in parts; send it with the transfer of CreateUpload",
            metadata={"resource": resource, "state": "single"},
        )


def _check_numbers(request: SignUploadPartsRequest, upload: Upload) -> None:
    for number in request.part_numbers:
        if number > upload.part_count:
            raise invalid_field(
                "part_numbers", f"{number} is above part_count ({upload.part_count})"
            )


def _shown_part(part: PartInfo) -> UploadPart:
    return UploadPart(part_number=part.number, size_bytes=part.size, sha256=part.sha256)
