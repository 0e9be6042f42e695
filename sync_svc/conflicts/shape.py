"""Conflicts as people see them: versions side by side, who wrote them, what differs."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import Any

from google.protobuf.struct_pb2 import Struct
from workspace.common.v1.stamp_pb2 import Dot as DotMessage
from workspace.common.v1.stamp_pb2 import Hlc
from workspace.common.v1.stamp_pb2 import Stamp as StampMessage
from workspace.sync.v1.conflict_pb2 import (
    Conflict,
    ConflictKind,
    ConflictStatus,
    ConflictVersion,
    FieldConflict,
)
from workspace.sync.v1.plan_pb2 import RecordKey

from services.events.outbox import instance_of
from services.model.clocks import hlc_millis
from services.model.shown import shown_of
from services.model.stamp import Dot, etag_of
from services.model.times import from_micros, to_timestamp
from services.model.versions import State, Version, covers
from sync_svc.conflicts.found import FoundConflict

__all__ = ["as_struct", "dot_message", "live_versions", "outline", "version_message", "versions_of"]


def live_versions(found: FoundConflict) -> list[Version]:
    """The versions to decide between, the one shown first: those of the record, and
    those that are held aside."""
    states = [state for state in (found.rows.state, found.held) if state is not None]
    versions = {dot: each for state in states for dot, each in state.versions.items()}
    first = _winner(found)
    return sorted(
        versions.values(), key=lambda each: (each.dot != first, each.hlc, each.dot)
    )


def outline(found: FoundConflict, *, instance_id: str) -> Conflict:
    """A conflict without bodies."""
    row, key = found.row, found.key
    conflict = Conflict(
        conflict_id=row["conflict_id"],
        kind=ConflictKind.Value(f"CONFLICT_KIND_{row['kind'].upper()}"),
        status=ConflictStatus.Value(f"CONFLICT_STATUS_{row['status'].upper()}"),
        key=RecordKey(family=row["family"], pk=key.pk, sk=key.sk),
        project_id=row["project_id"],
        account_id=row["account_id"],
        document_id=row["document_id"],
        name=row["name"],
        connection_id=row["connection_id"],
        created_at=_time(row["created_ms"]),
        resolved_by=row.get("resolved_by", ""),
    )
    if "resolved_ms" in row:
        conflict.resolved_at.CopyFrom(_time(row["resolved_ms"]))
    if found.is_open:
        versions = live_versions(found)
        conflict.versions.extend(versions_of(found, versions, instance_id=instance_id))
        conflict.fields.extend(_fields(row["fields"], versions))
        conflict.etag = etag_of(f"{key.pk} {key.sk}", *(each.dot for each in versions))
    return conflict


def versions_of(
    found: FoundConflict, versions: Iterable[Version], *, instance_id: str
) -> list[ConflictVersion]:
    """The versions without bodies."""
    first = _winner(found)
    return [
        version_message(each, instance_id=instance_id, winner=each.dot == first)
        for each in versions
    ]


def version_message(version: Version, *, instance_id: str, winner: bool = False) -> ConflictVersion:
    """One version without its body."""
    members: Mapping[str, Any] = json.loads(version.body)
    node = instance_of(version.dot[0])
    return ConflictVersion(
        stamp=_stamp(version),
        author_user_id=str(members.get("updated_by", members.get("created_by", ""))),
        node_id=node,
        written_at=_time(hlc_millis(version.hlc)),
        size_bytes=0 if version.deleted else len(version.body.encode()),
        winner=winner,
        ours=node == instance_id,
    )


def dot_message(dot: Dot) -> DotMessage:
    """A dot in the contract's form."""
    return DotMessage(actor=dot[0], counter=dot[1])


def as_struct(body: str) -> Struct:
    """A body as free JSON."""
    struct = Struct()
    struct.update(json.loads(body))
    return struct


def _winner(found: FoundConflict) -> Dot | None:
    state: State | None = found.rows.state
    return shown_of(found.family, state).version.dot if state is not None else None


def _fields(names: Iterable[str], versions: Iterable[Version]) -> list[FieldConflict]:
    """Each field with the versions whose own value it is, not an inherited one."""
    listed = list(versions)
    return [
        FieldConflict(field=name, dots=[dot_message(each.dot) for each in _writers(name, listed)])
        for name in names
    ]


def _writers(name: str, versions: list[Version]) -> list[Version]:
    def outdated(version: Version) -> bool:
        dot = version.fields.get(name)
        return dot is not None and any(
            covers(other.vv, dot) and other.fields.get(name) != dot
            for other in versions
            if other is not version
        )

    return [each for each in versions if not outdated(each)] or versions


def _stamp(version: Version) -> StampMessage:
    millis, _, count = version.hlc.partition(".")
    return StampMessage(
        clock=dict(version.vv),
        dot=dot_message(version.dot),
        vv=dict(version.vv),
        fields={name: dot_message(dot) for name, dot in version.fields.items()},
        hlc=Hlc(wall_ms=int(millis), counter=int(count), actor=version.dot[0]),
        digest=version.digest,
        deleted=version.deleted,
    )


def _time(millis: int) -> Any:
    return to_timestamp(from_micros(millis * 1000))
