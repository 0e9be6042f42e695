"""A decision, worked out: which versions it supersedes and what the record becomes.

Pure. A decision chooses among what the versions say; a value that no version has is
taken only for the fields that any editor may write (`FREE`), so that no decision is
a way around the rules of the use cases.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from google.protobuf.json_format import MessageToDict, ParseDict, ParseError
from workspace.sync.v1.conflict_pb2 import Resolution

from services.events.outbox import instance_of
from services.model.errors import Reason, WorkspaceError, invalid_field
from services.model.families import Family
from services.model.shown import winner_of
from services.model.stamp import Dot
from services.model.versions import Version
from services.records.codec import content_of, dump

__all__ = ["FREE", "Decision", "decide", "ours_of", "require_kind"]

FREE: Final[Mapping[str, frozenset[str]]] = {
    "document": frozenset(
        {
            "title", "document_type", "source_date", "issuing_body", "geographic_scope", "revision",
            "project_role", "data_object_type", "metadata_confidence", "extraction_summary",
            "metadata_sources", "metadata_fallback_pathways", "raw_metadata", "concept_tags",
            "standard_relevance", "project_data_elements", "related_object_ids",
        }
    ),
    "project": frozenset({"name", "description"}),
    "account": frozenset({"name", "description"}),
    "team": frozenset({"name", "description"}),
}
"""By family, fields for which a decision may bring a new value."""

_TOGETHER: Final = (
    frozenset(
        {
            "file", "pending_file", "storage_key", "size_bytes", "mime_type", "file_extension",
            "uploaded_at", "uploaded_by", "reserved_file_revision",
        }
    ),
    frozenset({"name", "relative_path"}),
    frozenset({"status", "trashed_at", "trashed_by", "status_before_trash", "purge_after"}),
    frozenset({"account_id", "team_id", "workspace_id", "restricted"}),
)
"""Fields that only make sense from one version."""


@dataclass(frozen=True, slots=True)
class Decision:
    """`members` None: the record is deleted. `losers` are kept as documents of
    their own."""

    members: Mapping[str, Any] | None
    supersedes: tuple[Dot, ...]
    losers: tuple[Version, ...] = ()


def decide(
    family: Family,
    versions: Sequence[Version],
    merged: Mapping[str, Any],
    resolution: Resolution,
    *,
    instance_id: str,
    shown: Dot | None,
) -> Decision:
    """`merged` are the members with every field merged that can be, `shown` the dot
    of the version shown meanwhile. Raises INVALID_FIELD naming the field."""
    dots = tuple(sorted(each.dot for each in versions))
    match resolution.WhichOneof("choice"):
        case "ours":
            return Decision(_members(ours_of(versions, instance_id, shown)), dots)
        case "theirs":
            dot = (resolution.theirs.dot.actor, resolution.theirs.dot.counter)
            return Decision(_members(_named(versions, dot, "resolution.theirs.dot")), dots)
        case "both":
            return _both(family, versions, dots)
        case "fields":
            return Decision(_by_fields(family, versions, merged, resolution), dots)
        case "body":
            return Decision(_by_body(family, versions, resolution), dots)
        case _:
            return Decision(None, dots)


def ours_of(versions: Sequence[Version], instance_id: str, shown: Dot | None) -> Version:
    """The version that was written on this instance; the one shown if there is none
    or several."""
    mine = [each for each in versions if instance_of(each.dot[0]) == instance_id]
    if len(mine) == 1:
        return mine[0]
    return next((each for each in versions if each.dot == shown), winner_of(versions))


def _members(version: Version) -> Mapping[str, Any] | None:
    return None if version.deleted else json.loads(version.body)


def _named(versions: Iterable[Version], dot: Dot, field: str) -> Version:
    for version in versions:
        if version.dot == dot:
            return version
    raise invalid_field(field, "is not one of the versions of this conflict; read it again")


def _both(family: Family, versions: Sequence[Version], dots: tuple[Dot, ...]) -> Decision:
    if family.name != "document":
        raise invalid_field(
            "resolution.both", f"is for documents; a {family.name} needs another choice"
        )
    live = [each for each in versions if not each.deleted]
    kept = winner_of(live)
    return Decision(_members(kept), dots, tuple(each for each in live if each is not kept))


def _by_fields(
    family: Family, versions: Sequence[Version], merged: Mapping[str, Any], resolution: Resolution
) -> Mapping[str, Any]:
    members = dict(merged)
    content = frozenset(content_of(family, family.message.DESCRIPTOR.fields_by_name))
    for name, dot in sorted(resolution.fields.choices.items()):
        field = f"resolution.fields.choices[{name}]"
        if name not in content and not any(name in json.loads(v.body) for v in versions):
            raise invalid_field(field, f"a {family.name} has no such field that is synced")
        version = _named(versions, (dot.actor, dot.counter), field)
        if version.deleted:
            raise invalid_field(field, "names a version that deletes; choose `delete` for it")
        chosen = json.loads(version.body)
        for each in _with(name):
            members.pop(each, None)
            if each in chosen:
                members[each] = chosen[each]
    return members


def _with(name: str) -> frozenset[str]:
    return next((group for group in _TOGETHER if name in group), frozenset({name}))


def _by_body(
    family: Family, versions: Sequence[Version], resolution: Resolution
) -> Mapping[str, Any]:
    given = _plain(MessageToDict(resolution.body.body))
    message = family.message()
    try:
        ParseDict(given, message)
    except ParseError as error:
        raise invalid_field("resolution.body", f"is no {family.name}: {error}") from None
    members: dict[str, Any] = MessageToDict(message, preserving_proto_field_name=True)
    live = [json.loads(each.body) for each in versions if not each.deleted]
    free = FREE.get(family.name, frozenset())
    for name in sorted({*members, *(name for each in live for name in each)}):
        if name in free or name in family.stamp_fields | family.local_fields:
            continue
        values = {dump({name: each[name]}) if name in each else "" for each in live}
        value = dump({name: members[name]}) if name in members else ""
        if value not in values:
            raise invalid_field(
                f"resolution.body.{name}", "must have the value that one of the versions has"
            )
    for group in _TOGETHER:
        _require_one_source(group, members, live)
    return members


def _require_one_source(
    group: frozenset[str], members: Mapping[str, Any], live: Sequence[Mapping[str, Any]]
) -> None:
    part = {name: members[name] for name in group if name in members}
    if not any(part == {n: each[n] for n in group if n in each} for each in live):
        raise invalid_field(
            "resolution.body", f"{', '.join(sorted(group))} must come from one version together"
        )


def _plain(value: Any) -> Any:
    """Free JSON has floats only: whole ones are integers again."""
    if isinstance(value, dict):
        return {name: _plain(each) for name, each in value.items()}
    if isinstance(value, list):
        return [_plain(each) for each in value]
    if isinstance(value, float) and value.is_integer():
        return int(value)
    return value


def require_kind(kind: str, resolution: Resolution) -> None:
    """Raises INVALID_STATE when a conflict of this kind cannot be decided so."""
    if kind == "integrity" and resolution.WhichOneof("choice") not in ("ours", "theirs"):
        raise WorkspaceError(
            Reason.ERROR_REASON_INVALID_STATE,
            "the record never changes; choose `ours` or `theirs`",
        )
