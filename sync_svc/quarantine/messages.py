"""Quarantine rows as people see them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from google.protobuf.timestamp_pb2 import Timestamp
from workspace.common.v1.stamp_pb2 import Dot as DotMessage
from workspace.common.v1.stamp_pb2 import Hlc
from workspace.common.v1.stamp_pb2 import Stamp as StampMessage
from workspace.sync.v1.quarantine_pb2 import QuarantinedRecord, QuarantineReason

from services.model.errors import Reason, WorkspaceError
from services.model.stamp import Dot, Stamp, etag_of
from services.model.times import from_micros, to_timestamp
from services.records.port import Item
from services.rpc.errors import to_status
from sync_svc.engine.refusal import Refused
from sync_svc.engine.stamps import strict_stamp
from sync_svc.quarantine.packing import unpack_rows

__all__ = ["message_of"]

_MOST_FAMILY = 64


def message_of(item: Item) -> QuarantinedRecord:
    """What a live quarantine row says. Nothing of the kept body is in it."""
    row = json.loads(item.body)
    reason = QuarantineReason.Value(row["reason"])
    message = QuarantinedRecord(
        quarantine_id=row["quarantine_id"],
        connection_id=row["connection_id"],
        run_id=row["run_id"],
        family=row["family"][:_MOST_FAMILY],
        pk=row["pk"],
        sk=row["sk"],
        project_id=row["project_id"],
        reason=reason,
        error=to_status(_error(row), ""),
        size_bytes=row["size_bytes"],
        attempts=row["attempts"],
        created_at=_time(row["created_ms"]),
        last_attempt_at=_time(row["tried_ms"]),
        etag=etag_of(f"{item.key.pk} {item.key.sk}", (row["run_id"], row["attempts"])),
    )
    stamp = _stamp(row)
    if stamp is not None:
        message.stamp.CopyFrom(stamp)
    return message


def _error(row: Mapping[str, Any]) -> WorkspaceError:
    return WorkspaceError(
        Reason.ERROR_REASON_INVALID_STATE,
        row["message"],
        metadata={"resource": f"quarantine/{row['quarantine_id']}"},
    )


def _stamp(row: Mapping[str, Any]) -> StampMessage | None:
    rows = unpack_rows(row["rows"]) if row["rows"] else None
    if rows is None or rows.item is None:
        return None
    try:
        stamp = strict_stamp(rows.item.stamp)
    except Refused:
        return None
    return _stamp_message(stamp)


def _stamp_message(stamp: Stamp) -> StampMessage:
    millis, _, count = stamp.hlc.partition(".")
    return StampMessage(
        clock=dict(stamp.clock),
        dot=_dot(stamp.dot),
        vv=dict(stamp.vv),
        fields={name: _dot(dot) for name, dot in stamp.fields.items()},
        hlc=Hlc(wall_ms=int(millis), counter=int(count), actor=stamp.dot[0]),
        digest=stamp.digest,
        deleted=stamp.deleted,
        origin=stamp.origin[:128],
    )


def _dot(dot: Dot) -> DotMessage:
    return DotMessage(actor=dot[0], counter=dot[1])


def _time(millis: int) -> Timestamp:
    return to_timestamp(from_micros(millis * 1000))
