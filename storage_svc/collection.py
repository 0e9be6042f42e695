"""Collecting what was announced and never completed.

An upload is due two hours after its expiry: by then no URL signed for it works
and no transfer begun in time is still running. Each upload is looked after by
due work (kind `upload`); a sweep over all of them, once after the start and
then daily, finds those that were announced before there was any, and claims
whose process died. Steps, each repeatable:

1. PENDING -> EXPIRED by a conditional write; it decides against a completion.
   A claimed upload (`verified_at`) is finished instead, never collected.
2. The parts are dropped, and the object deleted, unless another upload that is
   pending or completed names the key, or the document does. The object is looked
   at first: who announces the same name while it is there gets another key.
3. What it reserved is released.
4. `collected_at` is set; the row itself goes after 30 days.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from dataclasses import dataclass

import grpc.aio
from workspace.storage.v1.upload_pb2 import Upload, UploadStatus

from services.kernel import Kernel
from services.model.errors import Reason, WorkspaceError
from services.records.record import Record, Write
from services.records.walking import rows_of_prefix
from services.rpc.context import set_current_call
from storage_svc.completion import CLAIM_SECONDS, REFUSED, Completion
from storage_svc.gate import ProjectGate, reason_of
from storage_svc.stored import uploads_naming
from storage_svc.upload_rows import UPLOADS, activity_of, moment, upload_key, upload_pk
from storage_svc.usage import Ledger

__all__ = ["GRACE_SECONDS", "PERIOD_SECONDS", "Collected", "Collector"]

FIRST_SECONDS = 600.0
PERIOD_SECONDS = 24 * 3600.0
GRACE_SECONDS = 2 * 3600
"""60 s of clock skew and the longest transfer of 100 MiB at 16 KiB/s (6,430 s)."""
KEPT_SECONDS = 30 * 24 * 3600
_LOG = logging.getLogger("workspace.storage.collection")


@dataclass(slots=True)
class Collected:
    """What one run did: uploads collected, objects deleted, completions
    finished, and uploads left for the next run because something failed."""

    uploads: int = 0
    objects: int = 0
    finished: int = 0
    failed: int = 0


class Collector:
    """See the module. `period` is the pause between runs in seconds."""

    def __init__(
        self,
        *,
        kernel: Kernel,
        completion: Completion,
        gate: ProjectGate,
        ledger: Ledger,
        first: float = FIRST_SECONDS,
        period: float = PERIOD_SECONDS,
    ) -> None:
        self._first, self._period = first, period
        self._gate = gate
        self._ledger = ledger
        self._kernel = kernel
        self._records = kernel.records
        self._objects = kernel.objects
        self._completion = completion

    async def run(self) -> None:
        """Collect again and again until cancelled."""
        set_current_call(None)
        pause = self._first
        while True:
            await asyncio.sleep(pause)
            pause = self._period
            try:
                done = await self.collect(self._kernel.now())
            except Exception:
                _LOG.exception("collection failed; the next run goes on")
            else:
                _LOG.info("collection: %s", done)

    async def look(self, subject: str) -> float | None:
        """Due work: what is right for one upload now, and when to look again.
        An upload that was never stored holds no reservation."""
        set_current_call(None)
        home_id, _, upload_id = subject.partition("/")
        now = self._kernel.now()
        record = await self._records.get(UPLOADS, upload_key(upload_id))
        if record is None:
            await self._ledger.release_of(home_id, upload_id)
            return None
        await self._one(upload_id, now, Collected())
        record = await self._records.get(UPLOADS, upload_key(upload_id))
        return None if record is None else await self._again(record.message, now)

    async def _again(self, upload: Upload, now: float) -> float | None:
        if upload.status == UploadStatus.UPLOAD_STATUS_COMPLETED:
            # A repeat of the announcement may have come late.
            await self._ledger.release(upload.storage_key, upload.upload_id)
            await self._completion.ask_ready(upload)
            return now + CLAIM_SECONDS if self._completion.awaits_ready(upload) else None
        if upload.HasField("collected_at"):
            return None
        claimed = upload.HasField("verified_at")
        return now + CLAIM_SECONDS if claimed else upload.expires_at.seconds + GRACE_SECONDS

    async def collect(self, now: float) -> Collected:
        """One pass over all uploads at `now` (unix seconds). A failure of one
        upload leaves it for the next pass and touches no other."""
        done = Collected()
        async for upload_id in self._ids():
            try:
                await self._one(upload_id, now, done)
            except (WorkspaceError, grpc.aio.AioRpcError) as error:
                done.failed += 1
                _LOG.warning("upload %s is left: %s", upload_id, _why(error))
        return done

    async def _ids(self) -> AsyncIterator[str]:
        async for item in rows_of_prefix(self._records, "UPLOAD#"):
            if item.family == UPLOADS.name and not item.deleted:
                yield item.key.pk.removeprefix("UPLOAD#")

    async def _one(self, upload_id: str, now: float, done: Collected) -> None:
        record: Record[Upload] | None = await self._records.get(UPLOADS, upload_key(upload_id))
        if record is None:
            return
        upload = record.message
        pending = upload.status == UploadStatus.UPLOAD_STATUS_PENDING
        if pending and upload.HasField("verified_at"):
            if upload.verified_at.seconds + CLAIM_SECONDS <= now:
                await self._finish(record, now)
                done.finished += 1
        elif _is_due(upload, now):
            expired = await self._expire(record) if pending else record
            done.objects += await self._drop_bytes(expired.message)
            await self._ledger.release(upload.storage_key, upload_id)
            await self._mark(expired, now)
            done.uploads += 1
        elif upload.status == UploadStatus.UPLOAD_STATUS_COMPLETED and not upload.file_status:
            await self._count(upload)

    async def _count(self, upload: Upload) -> None:
        """Of a file that was completed before usage was counted, if it is there."""
        if await self._is_there(upload.storage_key):
            await self._ledger.settle(upload.storage_key, upload.upload_id, upload.size_bytes)

    async def _finish(self, record: Record[Upload], now: float) -> None:
        """Finish a claim. One that is refused for good is given back when the
        upload is due; the next pass collects it."""
        try:
            await self._completion.finish(record)
        except grpc.aio.AioRpcError as error:
            if _is_due(record.message, now) and reason_of(error) in REFUSED:
                await self._completion.give_back(record)
            raise

    async def _expire(self, record: Record[Upload]) -> Record[Upload]:
        upload = record.edit()
        upload.status = UploadStatus.UPLOAD_STATUS_EXPIRED
        return await self._write(record, upload, "expired")

    async def _drop_bytes(self, upload: Upload) -> int:
        if upload.multipart:
            await self._objects.multipart_abort(upload.storage_key, upload.provider_upload_id)
        if not await self._is_there(upload.storage_key):
            return 0
        if await uploads_naming(self._records, upload.project_id, upload.storage_key):
            return 0
        if await self._is_named(upload):
            return 0
        await self._objects.delete(upload.storage_key)
        return 1

    async def _is_named(self, upload: Upload) -> bool:
        """By the document: a file of the same name may have come by sync."""
        try:
            listed = await self._gate.files(upload.project_id, document_id=upload.document_id)
        except grpc.aio.AioRpcError as error:
            if reason_of(error) != Reason.ERROR_REASON_NOT_FOUND:
                raise
            return False
        return any(each.file.storage_key == upload.storage_key for each in listed.files)

    async def _is_there(self, key: str) -> bool:
        try:
            await self._objects.head(key)
        except WorkspaceError as error:
            if error.reason != Reason.ERROR_REASON_NOT_FOUND:
                raise
            return False
        return True

    async def _mark(self, record: Record[Upload], now: float) -> None:
        upload = record.edit()
        upload.collected_at.CopyFrom(moment(now))
        await self._write(record, upload, "collected", expires_at=int(now) + KEPT_SECONDS)

    async def _write(
        self, base: Record[Upload], upload: Upload, kind: str, expires_at: int | None = None
    ) -> Record[Upload]:
        done = await self._records.commit(
            upload_pk(upload.upload_id),
            [Write(UPLOADS, upload, base=base, expires_at=expires_at)],
            activity=activity_of(kind, upload),
        )
        return done.records[0]  # type: ignore[return-value]


def _is_due(upload: Upload, now: float) -> bool:
    completed = upload.status == UploadStatus.UPLOAD_STATUS_COMPLETED
    collected = upload.HasField("collected_at")
    return not completed and not collected and upload.expires_at.seconds + GRACE_SECONDS <= now


def _why(error: Exception) -> str:
    """Codes only: messages of peers are not for logs."""
    if isinstance(error, grpc.aio.AioRpcError):
        return error.code().name
    return Reason.Name(error.reason) if isinstance(error, WorkspaceError) else "error"
