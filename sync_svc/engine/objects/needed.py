"""Which objects a state names, and what became of moving them."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from enum import Enum
from typing import Any

from services.model.errors import WorkspaceError
from services.model.object_names import NAMING_FAMILIES, held_file
from services.model.paths import parse_storage_key
from services.model.versions import State
from services.records.port import Key

__all__ = ["Fault", "Moved", "NeededObject", "Presence", "named_objects"]


class Presence(Enum):
    """What the target has under a key."""

    ABSENT = "absent"
    SAME = "same"
    OTHER = "other"


class Fault(Enum):
    """Why a record's bytes are not at the target: neither here nor there; damaged at
    the source; other bytes under the key at the target; being collected there."""

    MISSING = "missing"
    CORRUPT = "corrupt"
    MISMATCH = "mismatch"
    REMOVING = "removing"


@dataclass(frozen=True, slots=True)
class NeededObject:
    """An object that a version of the record `record_key` names.

    `size` in bytes (None: the record does not say), `sha256` lower hex ('' likewise).
    `required`: the status of a version promises the bytes; files of earlier
    revisions and files that are still held come along when they are there.
    `presence`: what the target had when it was looked at.
    """

    key: str
    size: int | None
    sha256: str
    record_key: Key
    content_type: str = ""
    required: bool = True
    presence: Presence = Presence.ABSENT

    @property
    def identity(self) -> tuple[str, str]:
        """Key and bytes."""
        return self.key, self.sha256


@dataclass(slots=True)
class Moved:
    """What became of the objects of some records.

    `gated`: records whose promised bytes are neither whole at the source nor at the
    target. `corrupt`: records that name a key under which the target has other
    bytes. `faults`: every promised object that is not there, and why.
    """

    gated: set[Key] = field(default_factory=set)
    corrupt: set[Key] = field(default_factory=set)
    faults: dict[NeededObject, Fault] = field(default_factory=dict)
    objects: int = 0
    bytes: int = 0

    @property
    def missing(self) -> set[Key]:
        """Another name of `gated`."""
        return self.gated

    def note(self, needed: NeededObject, fault: Fault) -> None:
        """An object is not at the target."""
        if not needed.required:
            return
        self.faults[needed] = fault
        if fault is Fault.MISMATCH:
            self.corrupt.add(needed.record_key)
            self.gated.discard(needed.record_key)
        elif needed.record_key not in self.corrupt:
            self.gated.add(needed.record_key)


def named_objects(key: Key, state: State) -> list[NeededObject]:
    """The objects that the live versions of a record name, each once. Two versions
    may give one key different bytes: then both are listed."""
    found: dict[tuple[str, str], NeededObject] = {}
    if state.family not in NAMING_FAMILIES:
        return []
    for version in state.versions.values():
        if version.deleted:
            continue
        for each in _of_members(key, json.loads(version.body)):
            if not each.required and not _is_own(each):
                continue  # a copy's first history names the file that it was copied from
            before = found.get(each.identity)
            if before is None or (each.required and not before.required):
                found[each.identity] = each
    return list(found.values())


def _is_own(needed: NeededObject) -> bool:
    try:
        document_id = parse_storage_key(needed.key).document_id
    except WorkspaceError:
        return False
    return needed.record_key.pk == f"DOCUMENT#{document_id}"


def _of_members(record: Key, members: Mapping[str, Any]) -> Iterable[NeededObject]:
    held = held_file(members)
    for name in ("file", "pending_file"):
        file = members.get(name, {})
        if file.get("storage_key"):
            size = file.get("size_bytes", "0")  # int64 is a string in JSON; 0 is left out
            yield NeededObject(
                file["storage_key"], int(size), file.get("sha256", ""), record,
                file.get("content_type", ""), required=held is file,
            )
