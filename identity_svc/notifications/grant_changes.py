"""What an event did to grants, as ids and times."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from google.protobuf.json_format import MessageToDict
from workspace.common.v1.activity_pb2 import ActivityEvent

__all__ = ["GrantChange", "grant_changes"]

_TARGETS: Final = {
    "GRANT_TARGET_TYPE_TEAM": "team",
    "GRANT_TARGET_TYPE_ACCOUNT": "account",
}
_ACTIVE: Final = "GRANT_STATUS_ACTIVE"


@dataclass(frozen=True, slots=True)
class GrantChange:
    """`was`: given, changed, revoked, or empty for what concerns nobody (a note).
    `target_type`: user, team or account. `ends`: unix seconds, 0 for never."""

    project_id: str
    grant_id: str
    target_type: str
    target_id: str
    was: str = ""
    source: str = ""
    revoke_reason: str = ""
    ends: int = 0


def grant_changes(event: ActivityEvent) -> Iterator[GrantChange]:
    """One for each grant that the event wrote."""
    for change in event.changes:
        if change.family == "project_grant" and change.HasField("after"):
            before = MessageToDict(change.before) if change.HasField("before") else {}
            yield _grant_change(before, MessageToDict(change.after))


def _grant_change(before: Mapping[str, Any], after: Mapping[str, Any]) -> GrantChange:
    return GrantChange(
        project_id=after["project_id"],
        grant_id=after["grant_id"],
        target_type=_TARGETS.get(after.get("target_type", ""), "user"),
        target_id=after["target_id"],
        was=_was(before, after),
        source=after.get("source", ""),
        revoke_reason=after.get("revoke_reason", ""),
        ends=_seconds(after.get("expires_at", "")),
    )


def _was(before: Mapping[str, Any], after: Mapping[str, Any]) -> str:
    if after.get("status") != _ACTIVE:
        return "revoked" if before.get("status") == _ACTIVE else ""
    if not before:
        return "given"
    same = all(before.get(name) == after.get(name) for name in ("permissions", "expires_at"))
    return "" if same else "changed"


def _seconds(time: str) -> int:
    return int(datetime.fromisoformat(time).timestamp()) if time else 0
