"""Rows of a document's partition: keys, copies, snapshots, and how they are shown.

`storage_provider` is never stored: the same record may be read on another
provider. It is filled in when a record is shown.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import date, datetime
from typing import Any

from google.protobuf.json_format import MessageToDict, ParseDict
from google.protobuf.struct_pb2 import Struct
from workspace.project.v1.document_pb2 import DerivedArtifact, Document, FileInfo
from workspace.project.v1.history_pb2 import MetadataRecord, MetadataRecordType
from workspace.project.v1.project_pb2 import Project

from services.model.canonical import canonical_json
from services.model.errors import Reason, WorkspaceError, invalid_field
from services.model.families import FAMILIES
from services.model.templates import enum_word
from services.model.times import to_timestamp
from services.records.port import Key
from services.records.record import Activity, Record

__all__ = [
    "DERIVED",
    "DOCUMENT",
    "METADATA",
    "RAW_METADATA_BYTES",
    "WRITE_EVENT",
    "activity_on",
    "check_source_date",
    "check_struct",
    "copy_home",
    "document_key",
    "document_pk",
    "fill_provider",
    "metadata_record",
    "shown",
    "snapshot_of",
    "status_of",
    "stored_file",
    "struct_bytes",
    "take_snapshot",
]

DOCUMENT, DERIVED = FAMILIES["document"], FAMILIES["derived_artifact"]
METADATA, WRITE_EVENT = FAMILIES["metadata_record"], FAMILIES["write_event"]
RAW_METADATA_BYTES = 32 * 1024

_COPIES = ("account_id", "team_id", "workspace_id")
_NOT_IN_SNAPSHOTS = ("storage_provider", "etag", "my_permissions")
_DEEPEST = 16
_SCHEMA_VERSION = 1


def document_pk(document_id: str) -> str:
    """Partition of a document, its history and its derived artifacts."""
    return f"DOCUMENT#{document_id}"


def document_key(document_id: str) -> Key:
    """Key of the document's own row."""
    return Key(document_pk(document_id), f"ARTIFACT#{document_id}")


def activity_on(event: str, document: Document, project: Project) -> Activity:
    """The audit entry of a change of this document."""
    return Activity(
        event,
        f"documents/{document.document_id}",
        account_id=project.account_id,
        project_id=project.project_id,
    )


def copy_home(document: Document, project: Project) -> None:
    """Refresh the copies that lists show; they decide nothing."""
    for name in _COPIES:
        setattr(document, name, getattr(project, name))


def status_of(message: Document | DerivedArtifact) -> str:
    """`available`, `trashed`, ... for error metadata."""
    return enum_word(message.DESCRIPTOR.fields_by_name["status"], message.status)


def shown(record: Record[Any], provider: str) -> Any:
    """A copy for an answer: etag and storage provider filled in."""
    message = record.shown()
    fill_provider(message, provider)
    return message


def fill_provider(message: Any, provider: str) -> None:
    """Say where the files of a record are; it is never stored."""
    fields = message.DESCRIPTOR.fields_by_name
    for name in ("file", "pending_file"):
        if name in fields and message.HasField(name):
            getattr(message, name).storage_provider = provider
    if "storage_provider" in fields and message.HasField("file"):
        message.storage_provider = provider


def stored_file(file: FileInfo) -> FileInfo:
    """A copy without what is local to a provider."""
    copy = FileInfo()
    copy.CopyFrom(file)
    copy.ClearField("storage_provider")
    return copy


def snapshot_of(message: Document | Project) -> Struct:
    """The record's content by field name (schema version 1). What is local to
    a surface is left out, so that history is the same on all of them: of a
    document the copies of its project's home, which the project's own history has."""
    members = MessageToDict(message, preserving_proto_field_name=True)
    copies = _COPIES if isinstance(message, Document) else ()
    for name in (*_NOT_IN_SNAPSHOTS, *copies):
        members.pop(name, None)
    return ParseDict(members, Struct())


def metadata_record(
    kind: MetadataRecordType.ValueType,
    *,
    record_id: str,
    project_id: str,
    document_id: str = "",
    now: datetime,
    actor: str,
    reason: str,
    note: str = "",
    snapshot: Struct | None = None,
    file: FileInfo | None = None,
) -> MetadataRecord:
    """One append-only record; `actor` is a user id or `service:` and a name."""
    record = MetadataRecord(
        metadata_record_id=record_id,
        document_id=document_id,
        project_id=project_id,
        timestamp=to_timestamp(now),
        record_type=kind,
        schema_version=_SCHEMA_VERSION,
        actor=actor,
        reason=reason,
        note=note,
    )
    if snapshot is not None:
        record.snapshot.CopyFrom(snapshot)
    if file is not None:
        record.file.CopyFrom(stored_file(file))
    return record


def take_snapshot(
    kind: MetadataRecordType.ValueType, document: Document, **more: Any
) -> MetadataRecord:
    """The metadata record of a document as it is after a change."""
    return metadata_record(
        kind,
        document_id=document.document_id,
        project_id=document.project_id,
        snapshot=snapshot_of(document),
        **more,
    )


def struct_bytes(field: str, value: Struct) -> int:
    """Bytes of a Struct as JSON. Raises INVALID_FIELD for what JSON cannot
    hold, and for nesting that a reader's parser would refuse."""
    try:
        members = MessageToDict(value)
        size = len(canonical_json(members).encode())
    except ValueError:
        raise invalid_field(field, "holds a number that JSON cannot express; use text") from None
    if _depth(members.values()) >= _DEEPEST:
        raise invalid_field(field, f"is nested deeper than {_DEEPEST} levels; flatten it")
    return size


def check_struct(field: str, value: Struct, *, most: int, limit: str = "") -> None:
    """Refuse a Struct of more than `most` bytes as JSON: LIMIT_EXCEEDED when
    `limit` names one, else INVALID_FIELD."""
    size = struct_bytes(field, value)
    if size <= most:
        return
    if limit:
        raise WorkspaceError(
            Reason.ERROR_REASON_LIMIT_EXCEEDED,
            f"{field}: {size} bytes as JSON, at most {most}; put the rest into a derived artifact",
            metadata={"limit": limit, "maximum": str(most)},
        )
    raise invalid_field(
        field, f"has {size} bytes as JSON, at most {most}; put the rest into a derived artifact"
    )


def check_source_date(text: str) -> None:
    """`YYYY`, `YYYY-MM`, `YYYY-MM-DD` of the calendar. Raises INVALID_FIELD."""
    try:
        if text:
            date.fromisoformat(text + "-01-01"[len(text) - 4 :] if len(text) < 10 else text)
    except ValueError:
        raise invalid_field("source_date", "is no date of the calendar; correct it") from None


def _depth(values: Iterable[Any], level: int = 1) -> int:
    if level >= _DEEPEST:
        return level
    deepest = level
    for value in values:
        if isinstance(value, dict):
            deepest = max(deepest, _depth(value.values(), level + 1))
        elif isinstance(value, list):
            deepest = max(deepest, _depth(value, level + 1))
    return deepest
