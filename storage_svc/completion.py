"""CompleteUpload: from bytes in the store to a file of the document.

A saga over two partitions (the upload here, the document in project_svc).
Every step may be repeated, and repeating the call finishes what a crash cut:

1. verify: size and SHA-256 are read back from the store; parts are joined.
2. claim:  `verified_at` is set where the row is still open. This is the
           single-use point: a claimed upload is neither aborted nor collected.
3. attach: project_svc gives the file to the document, idempotent by upload_id;
           the payload is a pure function of the claimed row.
4. settle: the usage of the home counts the file instead of the reservation.
5. mark:   the row becomes COMPLETED, with the answer in its request row.

When project_svc refuses step 3 for good and the claim is our own, it is given
back, so that the upload can be aborted and collected.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from weakref import WeakValueDictionary

import grpc.aio
from workspace.project.v1.document_pb2 import FileInfo
from workspace.project.v1.document_service_pb2 import FileDisposition
from workspace.storage.v1.storage_service_pb2 import (
    CompleteUploadRequest,
    CompleteUploadResponse,
)
from workspace.storage.v1.upload_pb2 import FileStatus, Upload, UploadStatus

from services.kernel import Kernel
from services.model.errors import Reason, WorkspaceError, permission_denied
from services.objects.port import ObjectInfo, PartInfo
from services.records.deciding import Still
from services.records.mutation import Mutation
from services.records.record import Record, Write
from services.rpc.context import current_call
from storage_svc.digests import digest_of
from storage_svc.gate import ProjectGate, reason_of
from storage_svc.ready import DocumentReady, Readiness
from storage_svc.upload_rows import (
    DUE_KIND,
    UPLOADS,
    activity_of,
    due_subject,
    file_info,
    file_summary,
    finished,
    load_upload,
    moment,
    shown,
    state_word,
    upload_pk,
)
from storage_svc.usage import Ledger

__all__ = ["CLAIM_SECONDS", "REFUSED", "Completion"]

CLAIM_SECONDS = 300
"""After this an interrupted completion is finished without its caller."""
_ATTEMPTS = 5
_ANEW = "create a new upload and send the file again"
_LOG = logging.getLogger("workspace.storage.completion")
REFUSED = frozenset(
    {
        Reason.ERROR_REASON_INVALID_FIELD,
        Reason.ERROR_REASON_INVALID_STATE,
        Reason.ERROR_REASON_NOT_FOUND,
        Reason.ERROR_REASON_CHECKSUM_MISMATCH,
        Reason.ERROR_REASON_PERMISSION_DENIED,
    }
)
"""Answers of AttachFile that repeating does not change."""


class Completion:
    """See the module. Calls for one upload take turns inside a process, so
    that parts are joined once; between processes the claim decides."""

    def __init__(
        self,
        *,
        kernel: Kernel,
        gate: ProjectGate,
        ledger: Ledger,
        ready: DocumentReady | None = None,
    ) -> None:
        self._kernel = kernel
        self._ledger = ledger
        self._ready = ready
        self._readiness = Readiness(kernel=kernel, gate=gate)
        self._records = kernel.records
        self._objects = kernel.objects
        self._gate = gate
        self._turns: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()

    async def complete(self, request: CompleteUploadRequest) -> CompleteUploadResponse:
        """Verify, claim, attach, mark; the same answer on every repeat."""
        await self._authorise(request.upload_id)
        mutation = self._kernel.mutations.begin(request)
        pk = upload_pk(request.upload_id)
        if done := await mutation.replay(pk, CompleteUploadResponse):
            return done
        turn = self._turns.setdefault(request.upload_id, asyncio.Lock())
        async with turn:
            return await self._complete(request.upload_id, mutation)

    async def finish(self, record: Record[Upload]) -> Record[Upload]:
        """Steps 3 to 5 of a claimed upload that nobody repeats (collector)."""
        status = await self._attach(record.message)
        await self._settle(record.message)
        upload = self._completed(record, status)
        done = await self._records.commit(
            upload_pk(upload.upload_id),
            [Write(UPLOADS, upload, base=record)],
            activity=activity_of("completed", upload),
        )
        return done.records[0]  # type: ignore[return-value]

    async def ask_ready(self, upload: Upload) -> None:
        """Have the hook inside this process look at a file that is held."""
        if self._ready is None or upload.file_status != FileStatus.FILE_STATUS_SCANNING:
            return
        try:
            verdict = await self._ready.arrived(upload)
        except Exception:
            _LOG.exception("the DocumentReady hook failed; it is asked again")
            return
        await self._readiness.settle(upload.upload_id, verdict)

    def awaits_ready(self, upload: Upload) -> bool:
        """Whether the hook inside this process has still to say something."""
        scanning = upload.file_status == FileStatus.FILE_STATUS_SCANNING
        return self._ready is not None and scanning

    async def _authorise(self, upload_id: str) -> None:
        """The announcer, with `write`. Whether the document takes a file is
        asked while nothing is claimed; a claim has been decided on before."""
        upload = (await load_upload(self._records, upload_id)).message
        if current_call().user_id != upload.created_by:
            raise permission_denied("write", f"uploads/{upload_id}")
        if await self._is_pending(upload_id):
            try:
                await self._gate.authorize_upload(upload)
            except grpc.aio.AioRpcError as error:
                refused = reason_of(error) == Reason.ERROR_REASON_INVALID_STATE
                # A parallel call may have attached the file just now.
                if not refused or await self._is_pending(upload_id):
                    raise
            else:
                return
        await self._gate.require_write(upload.project_id, f"uploads/{upload_id}")

    async def _is_pending(self, upload_id: str) -> bool:
        record = await load_upload(self._records, upload_id)
        return state_word(record.message, self._kernel.now()) == "pending"

    async def _complete(self, upload_id: str, mutation: Mutation) -> CompleteUploadResponse:
        for _ in range(_ATTEMPTS):
            record = await load_upload(self._records, upload_id)
            if record.message.status == UploadStatus.UPLOAD_STATUS_COMPLETED:
                return await self._again(record)
            try:
                return await self._steps(record, mutation)
            except WorkspaceError as error:
                if error.reason != Reason.ERROR_REASON_ETAG_MISMATCH:
                    raise
        raise WorkspaceError(
            Reason.ERROR_REASON_CONFLICTING_WRITE,
            f"uploads/{upload_id} is being changed by others; repeat the call",
            retry_after=0.1,
        )

    async def _steps(self, record: Record[Upload], mutation: Mutation) -> CompleteUploadResponse:
        state = state_word(record.message, self._kernel.now())
        if state not in ("pending", "verified"):
            raise finished(record.message, self._kernel.now())
        claimed = record
        if state == "pending":
            await self._verify(record.message)
            upload = record.message
            still = self._gate.still_writes(upload.project_id, f"uploads/{upload.upload_id}")
            claimed = await self._claim(record, still)
        try:
            status = await self._attach(claimed.message)
        except grpc.aio.AioRpcError as error:
            if state == "pending" and reason_of(error) in REFUSED:
                await self.give_back(claimed)
            else:
                await self._look_soon(claimed.message)
            raise
        await self._settle(claimed.message)
        answer = await self._mark(claimed, status, mutation)
        await self._after(answer)
        return answer

    async def _attach(self, upload: Upload) -> FileStatus.ValueType:
        hold = FileDisposition.FILE_DISPOSITION_HOLD
        arrived = FileDisposition.FILE_DISPOSITION_ARRIVED
        disposition = arrived if self._ready is None else hold
        return await self._gate.attach(upload, self._file(upload), disposition)

    async def _settle(self, upload: Upload) -> None:
        await self._ledger.settle(upload.storage_key, upload.upload_id, upload.size_bytes)

    async def _look_soon(self, upload: Upload) -> None:
        """Nobody may repeat the call: have the claim finished without."""
        at = self._kernel.now() + CLAIM_SECONDS
        await self._kernel.due.schedule(DUE_KIND, due_subject(upload), at)

    async def _after(self, answer: CompleteUploadResponse) -> None:
        if self._ready is not None:
            record = await load_upload(self._records, answer.upload.upload_id)
            await self._look_soon(record.message)
            await self.ask_ready(record.message)

    async def _claim(self, record: Record[Upload], still: Still | None = None) -> Record[Upload]:
        """From here on it is completed, with or without its caller. To look at the bytes
        may have taken minutes: the caller has to hold the right still."""
        upload = record.edit()
        upload.verified_at.CopyFrom(moment(self._kernel.now()))
        return await self._write(record, upload, "verified", still=still)

    async def give_back(self, claimed: Record[Upload]) -> None:
        """Undo a claim after a refusal for good: AttachFile knows what it
        attached before it refuses, so no document has the file."""
        upload = claimed.edit()
        upload.ClearField("verified_at")
        await self._write(claimed, upload, "refused")

    async def _write(
        self, base: Record[Upload], upload: Upload, kind: str, *, still: Still | None = None
    ) -> Record[Upload]:
        done = await self._records.commit(
            upload_pk(upload.upload_id),
            [Write(UPLOADS, upload, base=base)],
            activity=activity_of(kind, upload),
            still=still,
        )
        return done.records[0]  # type: ignore[return-value]

    async def _mark(
        self, claimed: Record[Upload], status: FileStatus.ValueType, mutation: Mutation
    ) -> CompleteUploadResponse:
        upload = self._completed(claimed, status)
        return await mutation.commit(
            upload_pk(upload.upload_id),
            [Write(UPLOADS, upload, base=claimed)],
            activity=activity_of("completed", upload),
            answer=lambda records: self._answer(records[0]),
        )

    def _completed(self, claimed: Record[Upload], status: FileStatus.ValueType) -> Upload:
        upload = claimed.edit()
        upload.status = UploadStatus.UPLOAD_STATUS_COMPLETED
        upload.file_status = status
        upload.completed_at.CopyFrom(moment(self._kernel.now()))
        return upload

    def _file(self, upload: Upload) -> FileInfo:
        return file_info(upload, self._kernel.settings.provider)

    def _answer(self, record: Record[Upload]) -> CompleteUploadResponse:
        upload = record.message
        return CompleteUploadResponse(
            upload=shown(record, self._kernel.now()),
            document_id=upload.document_id,
            storage_key=upload.storage_key,
            file=file_summary(upload, self._kernel.settings.provider),
        )

    async def _again(self, record: Record[Upload]) -> CompleteUploadResponse:
        """The answer of an upload that is complete; nothing is written."""
        answer = self._answer(record)
        head = await self._records.head(record.key.pk)
        answer.consistency_token = self._kernel.consistency.issue(head.pk, head.pseq, 0)
        return answer

    async def _verify(self, upload: Upload) -> None:
        """Raises UPLOAD_INCOMPLETE or CHECKSUM_MISMATCH unless the store holds
        exactly the announced bytes."""
        if upload.multipart:
            await self._join(upload)
        info = await self._stored(upload)
        if info.size != upload.size_bytes:
            raise _incomplete(upload, info.size, "the file has another size")
        if await digest_of(self._objects, info) != upload.sha256:
            raise WorkspaceError(
                Reason.ERROR_REASON_CHECKSUM_MISMATCH,
                f"uploads/{upload.upload_id}: the stored bytes are not those announced; {_ANEW}",
                metadata={"storage_key": upload.storage_key},
            )

    async def _stored(self, upload: Upload) -> ObjectInfo:
        try:
            return await self._objects.head(upload.storage_key)
        except WorkspaceError as error:
            if error.reason != Reason.ERROR_REASON_NOT_FOUND:
                raise
            if upload.multipart:  # some stores drop the parts of bytes that were not announced
                raise _incomplete(upload, 0, "its parts are gone", _ANEW) from None
            raise _incomplete(upload, 0, "the file was not received") from None

    async def _join(self, upload: Upload) -> None:
        """Join the parts. A join whose answer was lost is found done, one that was
        cut off between its steps is finished."""
        try:
            parts = await self._objects.multipart_parts(
                upload.storage_key, upload.provider_upload_id
            )
        except WorkspaceError as error:
            if error.reason != Reason.ERROR_REASON_NOT_FOUND:
                raise
            await self._finish_join(upload)
            return
        _check_parts(upload, parts)
        await self._complete_parts(upload, parts)

    async def _finish_join(self, upload: Upload) -> None:
        try:
            await self._complete_parts(upload, _planned_parts(upload))
        except WorkspaceError as error:
            if error.reason != Reason.ERROR_REASON_NOT_FOUND:
                raise

    async def _complete_parts(self, upload: Upload, parts: Sequence[PartInfo]) -> None:
        await self._objects.multipart_complete(
            upload.storage_key,
            upload.provider_upload_id,
            parts,
            size=upload.size_bytes,
            sha256=upload.sha256,
        )


def _planned_parts(upload: Upload) -> list[PartInfo]:
    """As they were announced: what the store had of them is no longer known."""
    step, left = upload.part_size_bytes, upload.size_bytes
    sizes = [min(step, left - step * number) for number in range(upload.part_count)]
    return [PartInfo(number, size, "", "") for number, size in enumerate(sizes, 1)]


def _check_parts(upload: Upload, parts: Sequence[PartInfo]) -> None:
    """Every part from 1 to `part_count`, each of its size."""
    sizes = {part.number: part.size for part in parts}
    received = sum(sizes.values())
    for number in range(1, upload.part_count + 1):
        last = upload.size_bytes - upload.part_size_bytes * (upload.part_count - 1)
        wanted = last if number == upload.part_count else upload.part_size_bytes
        if sizes.get(number) != wanted:
            what = "has another size" if number in sizes else "was not received"
            raise _incomplete(upload, received, f"part {number} {what}")


def _incomplete(
    upload: Upload, actual: int, what: str, remedy: str = "send it and complete again"
) -> WorkspaceError:
    return WorkspaceError(
        Reason.ERROR_REASON_UPLOAD_INCOMPLETE,
        f"uploads/{upload.upload_id}: {what}; {remedy}",
        metadata={"expected_size": str(upload.size_bytes), "actual_size": str(actual)},
    )
