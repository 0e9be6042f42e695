"""The upload record: its keys, its states, and what of it is shown."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from google.protobuf.timestamp_pb2 import Timestamp
from workspace.project.v1.document_pb2 import FileInfo
from workspace.storage.v1.upload_pb2 import FileStatus, FileSummary, Upload, UploadStatus

from services.model.errors import Reason, WorkspaceError, permission_denied
from services.model.families import FAMILIES
from services.model.paths import parse_storage_key
from services.model.times import to_timestamp
from services.records.port import Key
from services.records.record import Activity, Record
from services.records.store import RecordStore

__all__ = [
    "DUE_KIND",
    "LOOK_SECONDS",
    "UPLOADS",
    "activity_of",
    "due_subject",
    "effective_status",
    "file_info",
    "file_summary",
    "finished",
    "load_upload",
    "moment",
    "require_open",
    "shown",
    "state_word",
    "upload_key",
    "upload_pk",
]

UPLOADS = FAMILIES["upload"]
DUE_KIND = "upload"
LOOK_SECONDS = 900
"""When an upload is first looked after."""
_PENDING = UploadStatus.UPLOAD_STATUS_PENDING
_EXPIRED = UploadStatus.UPLOAD_STATUS_EXPIRED


def upload_pk(upload_id: str) -> str:
    """Partition of an upload."""
    return f"UPLOAD#{upload_id}"


def upload_key(upload_id: str) -> Key:
    """Key of an upload's row."""
    return Key(upload_pk(upload_id), "UPLOAD")


def due_subject(upload: Upload) -> str:
    """Names an upload in due work, with the home that it reserves in."""
    return f"{parse_storage_key(upload.storage_key).home.id}/{upload.upload_id}"


def moment(unix_seconds: float) -> Timestamp:
    """A protobuf timestamp, whole microseconds."""
    return to_timestamp(datetime.fromtimestamp(unix_seconds, UTC))


async def load_upload(records: RecordStore, upload_id: str) -> Record[Upload]:
    """The row. An absent one is PERMISSION_DENIED, as a forbidden one is."""
    record: Record[Upload] | None = await records.get(UPLOADS, upload_key(upload_id))
    if record is None:
        raise permission_denied("write", f"uploads/{upload_id}")
    return record


def effective_status(upload: Upload, now: float) -> UploadStatus.ValueType:
    """The state at `now` (unix seconds): a pending upload past its expiry is
    EXPIRED whether or not the collector has been there."""
    expired = upload.expires_at.seconds <= now and not upload.HasField("verified_at")
    return _EXPIRED if upload.status == _PENDING and expired else upload.status


def state_word(upload: Upload, now: float) -> str:
    """`pending`, `verified` (claimed by a completion), `completed`, `aborted`,
    `expired`."""
    if upload.status == _PENDING and upload.HasField("verified_at"):
        return "verified"
    name = UploadStatus.Name(effective_status(upload, now))
    return name.removeprefix("UPLOAD_STATUS_").lower()


def finished(upload: Upload, now: float) -> WorkspaceError:
    """UPLOAD_FINISHED, with the state and the remedy."""
    state = state_word(upload, now)
    remedy = "repeat CompleteUpload" if state == "verified" else "create a new upload"
    return WorkspaceError(
        Reason.ERROR_REASON_UPLOAD_FINISHED,
        f"uploads/{upload.upload_id} is {state}; {remedy}",
        metadata={"upload_id": upload.upload_id, "state": state},
    )


def require_open(upload: Upload, now: float) -> None:
    """Raises UPLOAD_FINISHED unless bytes may still be sent."""
    if state_word(upload, now) != "pending":
        raise finished(upload, now)


def shown(record: Record[Upload], now: float) -> Upload:
    """A copy for an answer: with etag and state, without what is internal."""
    upload = record.shown()
    upload.status = effective_status(upload, now)
    upload.ClearField("provider_upload_id")
    return upload


def activity_of(kind: str, upload: Upload) -> Activity:
    """The activity `upload.<kind>` of an upload."""
    home = parse_storage_key(upload.storage_key).home
    return Activity(
        f"upload.{kind}",
        f"uploads/{upload.upload_id}",
        account_id=home.id if home.kind == "accounts" else "",
        project_id=upload.project_id,
    )


def file_info(upload: Upload, storage_provider: str) -> FileInfo:
    """The verified file as the document records it; a pure function of the
    row, so that every repeat attaches the identical file."""
    return FileInfo(
        filename=upload.storage_key.rsplit("/", 1)[-1],
        size_bytes=upload.size_bytes,
        content_type=upload.content_type,
        sha256=upload.sha256,
        storage_key=upload.storage_key,
        storage_provider=storage_provider,
        uploaded_at=upload.verified_at,
        uploaded_by=upload.created_by,
        file_revision=upload.file_revision,
        upload_id=upload.upload_id,
    )


def file_summary(upload: Upload, storage_provider: str) -> FileSummary:
    """The same for the answer of CompleteUpload."""
    members: dict[str, Any] = {
        "filename": upload.filename,
        "content_type": upload.content_type,
        "size_bytes": upload.size_bytes,
        "sha256": upload.sha256,
        "file_revision": upload.file_revision,
        # Rows that were completed before files could be held have none.
        "status": upload.file_status or FileStatus.FILE_STATUS_AVAILABLE,
        "storage_provider": storage_provider,
        "verified_at": upload.verified_at,
    }
    return FileSummary(**members)
