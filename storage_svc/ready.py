"""The DocumentReady hook: a completed file is held until somebody says it is clean.

Two ways lead here. A webhook of the project (project_svc holds the file when it
is attached and calls MarkAvailable with the verdict), and a hook inside this
process, given to `build`: for a scanner that runs beside the service.
"""

from __future__ import annotations

from typing import Protocol

from workspace.project.v1.document_service_pb2 import FileDisposition
from workspace.storage.v1.storage_service_pb2 import (
    MarkAvailableRequest,
    MarkAvailableResponse,
    ReadyVerdict,
)
from workspace.storage.v1.upload_pb2 import FileStatus, Upload, UploadStatus

from services.kernel import Kernel
from services.model.errors import Reason, WorkspaceError
from services.records.record import Record, Write
from storage_svc.gate import ProjectGate
from storage_svc.upload_rows import (
    UPLOADS,
    activity_of,
    file_info,
    file_summary,
    state_word,
    upload_key,
)

__all__ = ["DocumentReady", "Readiness"]

_ATTEMPTS = 5
_STATUS = {
    ReadyVerdict.READY_VERDICT_CLEAN: FileStatus.FILE_STATUS_AVAILABLE,
    ReadyVerdict.READY_VERDICT_REJECTED: FileStatus.FILE_STATUS_REJECTED,
}
_DISPOSITION = {
    FileStatus.FILE_STATUS_AVAILABLE: FileDisposition.FILE_DISPOSITION_AVAILABLE,
    FileStatus.FILE_STATUS_REJECTED: FileDisposition.FILE_DISPOSITION_REJECTED,
}
_EVENTS = {
    FileStatus.FILE_STATUS_AVAILABLE: "released",
    FileStatus.FILE_STATUS_REJECTED: "rejected",
}


class DocumentReady(Protocol):
    """A hook inside this process. While there is one, every completed file is
    held until it has a verdict."""

    async def arrived(self, upload: Upload) -> ReadyVerdict.ValueType:
        """Look at the bytes of a completed upload (`storage_key`, `size_bytes`,
        `sha256`). CLEAN or REJECTED settle it; UNSPECIFIED leaves it held: it is
        asked again every few minutes, or MarkAvailable settles it. Raising is
        UNSPECIFIED. May be called more than once for one upload."""
        ...


class Readiness:
    """Settles held files. Steps, each repeatable: project_svc releases or
    refuses the file, which decides between two verdicts at once; then the
    upload's row says what became of it."""

    def __init__(self, *, kernel: Kernel, gate: ProjectGate) -> None:
        self._kernel = kernel
        self._records = kernel.records
        self._gate = gate

    async def mark(self, request: MarkAvailableRequest) -> MarkAvailableResponse:
        """MarkAvailable. Raises NOT_FOUND, INVALID_STATE."""
        record = await self._load(request.upload_id)
        mutation = self._kernel.mutations.begin(request)
        if done := await mutation.replay(record.key.pk, MarkAvailableResponse):
            return done
        for _ in range(_ATTEMPTS):
            wanted = _STATUS[request.verdict]
            if _is_settled(record.message, wanted, self._kernel.now()):
                return self._answer(record, await self._token(record))
            await self._settle_document(record.message, wanted)
            try:
                return await mutation.commit(
                    record.key.pk,
                    [Write(UPLOADS, _settled(record, wanted, request.note), base=record)],
                    activity=activity_of(_EVENTS[wanted], record.message),
                    answer=lambda records: self._answer(records[0], ""),
                )
            except WorkspaceError as error:
                if error.reason != Reason.ERROR_REASON_ETAG_MISMATCH:
                    raise
            record = await self._load(request.upload_id)
        raise WorkspaceError(
            Reason.ERROR_REASON_CONFLICTING_WRITE,
            f"uploads/{request.upload_id} is being changed by others; repeat the call",
            retry_after=0.1,
        )

    async def settle(
        self, upload_id: str, verdict: ReadyVerdict.ValueType, note: str = ""
    ) -> None:
        """The same for the hook inside this process, outside of any call."""
        wanted = _STATUS.get(verdict)
        record = await self._load(upload_id)
        if wanted is None or _is_settled(record.message, wanted, self._kernel.now()):
            return
        await self._settle_document(record.message, wanted)
        await self._records.commit(
            record.key.pk,
            [Write(UPLOADS, _settled(record, wanted, note), base=record)],
            activity=activity_of(_EVENTS[wanted], record.message),
        )

    async def _load(self, upload_id: str) -> Record[Upload]:
        record = await self._records.get(UPLOADS, upload_key(upload_id))
        if record is None:
            raise WorkspaceError(
                Reason.ERROR_REASON_NOT_FOUND,
                f"uploads/{upload_id} does not exist; check the id",
                metadata={"resource": f"uploads/{upload_id}"},
            )
        return record

    async def _settle_document(self, upload: Upload, status: FileStatus.ValueType) -> None:
        file = file_info(upload, self._kernel.settings.provider)
        await self._gate.attach(upload, file, _DISPOSITION[status])

    async def _token(self, record: Record[Upload]) -> str:
        head = await self._records.head(record.key.pk)
        return self._kernel.consistency.issue(head.pk, head.pseq, 0)

    def _answer(self, record: Record[Upload], token: str) -> MarkAvailableResponse:
        return MarkAvailableResponse(
            document_id=record.message.document_id,
            file=file_summary(record.message, self._kernel.settings.provider),
            consistency_token=token,
        )


def _settled(record: Record[Upload], status: FileStatus.ValueType, note: str) -> Upload:
    upload = record.edit()
    upload.file_status = status
    upload.file_note = note
    return upload


def _is_settled(upload: Upload, wanted: FileStatus.ValueType, now: float) -> bool:
    """Whether the verdict is the one there is. Raises INVALID_STATE for another,
    and for an upload that is not completed."""
    completed = upload.status == UploadStatus.UPLOAD_STATUS_COMPLETED
    status = upload.file_status or FileStatus.FILE_STATUS_AVAILABLE
    if completed and status == wanted:
        return True
    if completed and status == FileStatus.FILE_STATUS_SCANNING:
        return False
    word = FileStatus.Name(status).removeprefix("FILE_STATUS_").lower()
    state = word if completed else state_word(upload, now)
    resource = f"uploads/{upload.upload_id}"
    remedy = "a verdict is final" if completed else "complete it first"
    raise WorkspaceError(
        Reason.ERROR_REASON_INVALID_STATE,
        f"{resource} is {state}; {remedy}",
        metadata={"resource": resource, "state": state},
    )
