"""What a surface that is trusted with content only may not change here.

Pure. Accounts, members, teams, grants, invitations, people and platform records are
not taken at all, nor the events that tell of them. Fields that decide who sees what,
and whether it lives, stay as they are here, and so do documents under a legal hold:
a version that would change them is held aside, unjoined - joined, it would travel on
from here to surfaces that trust us.

Beyond the list of the design, fields of a project are held with its status that say
when it is purged, and its classification and legal hold, which restrain that. The
name of a document's file may be added where there is none; screening has made sure
that it is under that document.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import Any, Final

from workspace.sync.v1.connection_pb2 import Connection, Trust

from services.model.families import FAMILIES
from services.model.shown import shown_of
from services.model.versions import State, Version, covers, join
from services.records.port import Key

__all__ = ["POLICY", "TAKEN", "held_fields", "is_content_only", "is_taken", "removes"]

TAKEN: Final = frozenset(
    {
        "project", "document", "derived_artifact", "metadata_record", "write_event",
        "activity_event",
    }
)
"""Families of content."""

POLICY: Final[Mapping[str, tuple[str, ...]]] = {
    "project": (
        "restricted", "visibility", "status", "account_id", "team_id", "workspace_id",
        "created_by", "data_classification", "legal_hold", "trashed_at", "trashed_by",
        "status_before_trash", "purge_after",
    ),
    "document": (
        "project_id", "owner_type", "owner_id", "classification", "file.storage_key",
        "storage_key",
    ),
    "derived_artifact": ("project_id",),
}
"""By family, the fields that stay as they are here."""

_EVENT: Final = "activity_event"
_ADDABLE: Final = frozenset({"file.storage_key", "storage_key"})
_PARTITIONS: Final = ("PROJECT#", "DOCUMENT#")
_HOLDABLE: Final = frozenset({"document", "derived_artifact"})
_STEPS: Final = ("DOCUMENT_STATUS_TRASHED", "DOCUMENT_STATUS_PURGED")
_Values = Mapping[str, Any]


def is_content_only(connection: Connection) -> bool:
    """The default; only TRUST_FULL is more."""
    return connection.trust != Trust.TRUST_FULL


def is_taken(key: Key, incoming: State, local: State | None) -> bool:
    """Whether a screened record is content: if not, nothing of it is taken. An event
    that is here already never changes, nor is one taken that tells of rights."""
    if incoming.family not in TAKEN:
        return False
    if incoming.family != _EVENT:
        return True
    if local is not None:
        return incoming.same_as(local)
    return key.pk.startswith(_PARTITIONS) and all(
        _told_families(version) <= TAKEN for version in incoming.versions.values()
    )


def removes(incoming: State, local: State | None) -> bool:
    """Whether a screened state would delete, trash or purge a document that is here, or
    a file of it: what a legal hold forbids."""
    if local is None or local.deleted or incoming.family not in _HOLDABLE:
        return False
    after = shown_of(FAMILIES[local.family], join(local, incoming)).version
    before = shown_of(FAMILIES[local.family], local).version
    return any(_gone(each) > _gone(before) for each in [*_coming(incoming, local), after])


def _gone(version: Version) -> int:
    """How far a document is from being there."""
    if version.deleted:
        return len(_STEPS) + 1
    status = json.loads(version.body).get("status")
    return _STEPS.index(status) + 1 if status in _STEPS else 0


def held_fields(
    incoming: State, local: State | None, *, project_here: bool = True
) -> tuple[str, ...]:
    """The policy fields that a screened state would change here; empty when it may be
    joined. `project_here`: whether the project of a document that is new here is here,
    and in the scope of the connection."""
    names = POLICY.get(incoming.family)
    if not names or (local is not None and incoming.same_as(local)):
        return ()
    if local is None or local.deleted:
        return _held_creation(incoming, project_here)
    before = _shown_values(local)
    found: set[str] = set()
    for version in _coming(incoming, local):
        found |= _differing(incoming.family, before, version)
    after = shown_of(FAMILIES[local.family], join(local, incoming)).version
    found |= _differing(incoming.family, before, after)
    return tuple(name for name in names if name in found)


def _held_creation(incoming: State, project_here: bool) -> tuple[str, ...]:
    if incoming.deleted:
        return ()  # of what is not here
    if incoming.family == "project":
        held: set[str] = set()
        for version in incoming.versions.values():
            held |= _values("project", version).keys()
        return tuple(name for name in POLICY["project"] if name in held) or ("created_by",)
    return () if project_here else ("project_id",)


def _coming(incoming: State, local: State) -> Iterable[Version]:
    """The versions that are not here, and were not superseded here."""
    for dot, version in incoming.versions.items():
        there = local.versions.get(dot)
        if there != version and (there is not None or not covers(local.clock, dot)):
            yield version


def _shown_values(state: State) -> _Values:
    return _values(state.family, shown_of(FAMILIES[state.family], state).version)


def _differing(family: str, before: _Values, version: Version) -> set[str]:
    if version.deleted:
        return {"status"} if family == "project" else set()
    after = _values(family, version)
    return {
        name
        for name in before.keys() | after.keys()
        if before.get(name) != after.get(name) and not (name in _ADDABLE and name not in before)
    }


def _values(family: str, version: Version) -> _Values:
    """The policy fields that are set."""
    members = json.loads(version.body)
    found = {name: _at(members, name.split(".")) for name in POLICY[family]}
    return {name: value for name, value in found.items() if value not in (None, "", False)}


def _at(members: Any, path: list[str]) -> Any:
    for name in path:
        members = members.get(name) if isinstance(members, dict) else None
    return members


def _told_families(version: Version) -> set[str]:
    changes = json.loads(version.body).get("changes") or []
    return {str(change.get("family")) for change in changes}
