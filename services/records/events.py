"""The activity event of a commit: audit row and outbox entry in one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from google.protobuf.message import Message

from services.model.canonical import canonical_json, canonical_object
from services.model.clocks import hlc_millis
from services.model.families import FAMILIES
from services.model.indexes import Index
from services.model.times import from_micros, key_time
from services.records.record import Activity
from services.rpc.context import Call, peek_call

__all__ = ["VALUES_LIMIT", "VALUE_LIMIT", "Change", "event_indexes", "event_members"]

_FAMILY = FAMILIES["activity_event"]

VALUE_LIMIT = 16 * 1024
"""Bytes of one record's old or new values; larger ones are left out."""
VALUES_LIMIT = 256 * 1024
"""Bytes of all values of an event, which is one row: beyond, old values are left out, the
largest first (the events before have them as new ones)."""


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
    activity: Activity,
    *,
    commit_id: str,
    hlc: str,
    pseq: int,
    changes: Sequence[Change],
    previous: str,
    nonce: str,
) -> dict[str, str]:
    """Members of a `workspace.common.v1.ActivityEvent` as canonical texts. `previous` and
    `nonce` seal it (services/model/seals.py)."""
    values: Mapping[str, str] = {
        "event_id": commit_id,
        "type": activity.type,
        "occurred_at": key_time(from_micros(hlc_millis(hlc) * 1000)),
        "account_id": activity.account_id,
        "project_id": activity.project_id,
        "resource": activity.resource,
        "note": activity.note,
        "partition_sequence": str(pseq),
        "previous_link": previous,
        "seal_nonce": nonce,
        **_who(peek_call()),
    }
    members = {name: canonical_json(value) for name, value in values.items() if value}
    if changes:
        changes = _cut(changes)
        members["changes"] = "[" + ",".join(change.text() for change in changes) + "]"
    return members


def _cut(changes: Sequence[Change]) -> Sequence[Change]:
    """The changes without the old values for which there is no room."""
    if 2 * VALUE_LIMIT * len(changes) <= VALUES_LIMIT:  # cheap: nearly all commits
        return changes
    over = sum(_kept(each.before) + _kept(each.after) for each in changes) - VALUES_LIMIT
    without = set[str]()
    for each in sorted(changes, key=lambda each: _kept(each.before), reverse=True):
        if over <= 0:
            break
        over -= _kept(each.before)
        without.add(each.sk)
    return [replace(each, before="") if each.sk in without else each for each in changes]


def _kept(text: str) -> int:
    """Bytes of a value as far as it is kept."""
    size = len(text.encode())
    return size if size <= VALUE_LIMIT else 0


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
