"""The activity event of a commit: audit row and outbox entry in one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from services.model.canonical import canonical_json
from services.model.clocks import hlc_millis
from services.model.times import from_micros, key_time
from services.records.record import Activity
from services.rpc.context import Call, peek_call

__all__ = ["VALUE_LIMIT", "event_body"]

VALUE_LIMIT = 16 * 1024
"""Bytes of one record's old or new values; larger ones are left out."""


def event_body(
    activity: Activity,
    *,
    commit_id: str,
    hlc: str,
    pseq: int,
    changes: Sequence[Mapping[str, Any]],
) -> dict[str, Any]:
    """Proto3 JSON members of a `workspace.common.v1.ActivityEvent`."""
    call = peek_call()
    members = {
        "event_id": commit_id,
        "type": activity.type,
        "occurred_at": key_time(from_micros(hlc_millis(hlc) * 1000)),
        "account_id": activity.account_id,
        "project_id": activity.project_id,
        "resource": activity.resource,
        "partition_sequence": str(pseq),
        "changes": [_change(change) for change in changes],
        **_who(call),
    }
    return {name: value for name, value in members.items() if value}


def _who(call: Call | None) -> dict[str, str]:
    if call is None:
        return {}
    return {
        "actor_user_id": call.user_id,
        "actor_service": call.service,
        "request_id": call.request_id,
    }


def _change(change: Mapping[str, Any]) -> dict[str, Any]:
    kept = {"family": change["family"], "sk": change["sk"]}
    for side in ("before", "after"):
        values = change[side]
        if values is not None and len(canonical_json(values)) <= VALUE_LIMIT:
            kept[side] = values
    return kept
