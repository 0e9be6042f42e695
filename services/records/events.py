"""The activity event of a commit: audit row and outbox entry in one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from google.protobuf.message import Message

from services.model.canonical import canonical_json, canonical_object
from services.model.clocks import hlc_millis
from services.model.families import FAMILIES
from services.model.indexes import Index
from services.model.times import from_micros, key_time
from services.records.record import Activity
from services.rpc.context import Call, peek_call

__all__ = ["VALUE_LIMIT", "Change", "event_indexes", "event_members"]

_FAMILY = FAMILIES["activity_event"]

VALUE_LIMIT = 16 * 1024
"""Bytes of one record's old or new values; larger ones are left out."""


@dataclass(frozen=True, slots=True)
class Change:
    """One record's part in a commit; values are canonical texts, '' for none."""

    family: str
    sk: str
    before: str
    after: str

    def text(self) -> str:
        """As a `workspace.common.v1.RecordChange` in canonical JSON."""
        sides = {"before": self.before, "after": self.after}
        kept = {side: v for side, v in sides.items() if v and len(v.encode()) <= VALUE_LIMIT}
        names = {"family": canonical_json(self.family), "sk": canonical_json(self.sk)}
        return canonical_object(names | kept)


def event_members(
    activity: Activity, *, commit_id: str, hlc: str, pseq: int, changes: Sequence[Change]
) -> dict[str, str]:
    """Members of a `workspace.common.v1.ActivityEvent` as canonical texts."""
    values: Mapping[str, str] = {
        "event_id": commit_id,
        "type": activity.type,
        "occurred_at": key_time(from_micros(hlc_millis(hlc) * 1000)),
        "account_id": activity.account_id,
        "project_id": activity.project_id,
        "resource": activity.resource,
        "note": activity.note,
        "partition_sequence": str(pseq),
        **_who(peek_call()),
    }
    members = {name: canonical_json(value) for name, value in values.items() if value}
    if changes:
        members["changes"] = "[" + ",".join(change.text() for change in changes) + "]"
    return members


def event_indexes(message: Message, sk: str) -> dict[Index, tuple[str, str]]:
    """Index entries of an event in the row `sk`, by which it sorts everywhere."""
    return {i: (partition, sk) for i, (partition, _) in _FAMILY.index_entries(message).items()}


def _who(call: Call | None) -> dict[str, str]:
    if call is None:
        return {}
    return {
        "actor_user_id": call.user_id,
        "actor_service": call.service,
        "request_id": call.request_id,
    }
