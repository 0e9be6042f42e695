"""Answers that are too large for a request row are stored as keys.

A request row keeps at most 16 KiB. A larger answer keeps the key fields of its
records; whoever gets it, first or as a replay, reads the records again.
"""

from __future__ import annotations

from typing import Any, TypeVar

from google.protobuf.message import Message

from project_svc.document_rows import DERIVED, DOCUMENT, METADATA, WRITE_EVENT, shown
from services.model.families import Family
from services.records.port import Key
from services.records.requests import ANSWER_LIMIT
from services.records.store import RecordStore

__all__ = ["storable", "whole"]

M = TypeVar("M", bound=Message)

_ROOM = 512  # for the consistency token that is filled in later
_KEYS: dict[str, tuple[Family, tuple[str, ...]]] = {
    "document": (DOCUMENT, ("document_id",)),
    "artifact": (DERIVED, ("document_id", "kind", "artifact_id")),
    "metadata_record": (
        METADATA,
        ("document_id", "project_id", "timestamp", "record_type", "metadata_record_id"),
    ),
    "write_event": (WRITE_EVENT, ("document_id", "project_id", "timestamp", "write_event_id")),
}


def storable(answer: M) -> M:
    """The answer, its records cut to their keys when it is too large."""
    if answer.ByteSize() <= ANSWER_LIMIT - _ROOM:
        return answer
    for name, (_, keys) in _KEYS.items():
        if _has(answer, name):
            getattr(answer, name).CopyFrom(_only(getattr(answer, name), keys))
    return answer


async def whole(records: RecordStore, answer: M, provider: str) -> M:
    """The answer with the records that were cut read again, as they are now."""
    for name, (family, keys) in _KEYS.items():
        if not _has(answer, name):
            continue
        part: Any = getattr(answer, name)
        if part != _only(part, keys):
            continue
        record = await records.get(family, Key(*family.key_of(part)))
        if record is not None:
            part.CopyFrom(shown(record, provider))
    return answer


def _has(answer: Message, name: str) -> bool:
    return name in answer.DESCRIPTOR.fields_by_name and answer.HasField(name)


def _only(message: Message, fields: tuple[str, ...]) -> Message:
    copy = type(message)()
    copy.CopyFrom(message)
    for field, _ in message.ListFields():
        if field.name not in fields:
            copy.ClearField(field.name)
    return copy
