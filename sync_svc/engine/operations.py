"""What joining a state does to one record of the target: a line of the plan."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from workspace.sync.v1.plan_pb2 import PlanAction, PlannedOperation, RecordKey
from workspace.sync.v1.quarantine_pb2 import QuarantineReason

from services.model.families import FAMILIES
from services.model.merging.rules import DELETED_STATUSES
from services.model.shown import Shown, shown_of
from services.model.versions import State, join
from services.records.port import Item, Key

__all__ = ["Operation", "kept", "operation", "refused", "waiting"]

_CREATE = PlanAction.PLAN_ACTION_CREATE
_UPDATE = PlanAction.PLAN_ACTION_UPDATE
_DELETE = PlanAction.PLAN_ACTION_DELETE
_MERGE = PlanAction.PLAN_ACTION_MERGE
_CONFLICT = PlanAction.PLAN_ACTION_CONFLICT
_KEEP = PlanAction.PLAN_ACTION_KEEP


@dataclass(frozen=True, slots=True)
class Operation:
    """A line of the plan, and what the guard counts of it. `removed`: versions live
    at the target that the join removes. `is_loss`: something goes, into the trash or
    for good, or several versions go at once; `is_overwrite`: another is shown in the
    place of one that was, its successor or one that stands beside it."""

    line: PlannedOperation
    removed: int = 0
    is_loss: bool = False
    is_overwrite: bool = False

    @property
    def changes(self) -> bool:
        """Whether the target's rows change."""
        return self.line.action in (_CREATE, _UPDATE, _DELETE, _MERGE, _CONFLICT)


def operation(key: Key, source: State, target: State | None) -> Operation:
    """What becomes of the target's state when the source's is joined to it."""
    after = join(target, source)
    family = FAMILIES[after.family]
    shown = shown_of(family, after)
    members = _members(shown, after)
    line = _line(key, after.family, members)
    if target is None:
        line.action = _DELETE if after.deleted else _CREATE
        return Operation(line)
    if after.same_as(target):
        line.action = _KEEP
        return Operation(line)
    before = shown_of(family, target)
    removed = len(target.versions.keys() - after.versions.keys())
    line.action = _action(source, target, after, before, shown)
    line.replaces_winner = before.version.digest != shown.version.digest
    line.fields.extend(_differing(before, shown))
    return _weighed(line, removed, trashed=_is_trashed(before, shown))


def refused(item: Item, reason: QuarantineReason.ValueType) -> Operation:
    """The record goes to quarantine."""
    line = _line(item.key, item.family, {})
    line.action = PlanAction.PLAN_ACTION_QUARANTINE
    line.quarantine_reason = reason
    return Operation(line)


def kept(key: Key, family: str) -> Operation:
    """Policy keeps the target as it is."""
    line = _line(key, family, {})
    line.action = _KEEP
    return Operation(line)


def waiting(done: Operation) -> Operation:
    """The same record, waiting for its objects."""
    line = PlannedOperation()
    line.CopyFrom(done.line)
    line.action = PlanAction.PLAN_ACTION_WAIT_FOR_OBJECTS
    line.replaces_winner = False
    return Operation(line)


def _action(
    source: State, target: State, after: State, before: Shown, shown: Shown
) -> PlanAction.ValueType:
    if shown.version.deleted and not before.version.deleted:
        return _DELETE
    if shown.contest and not (before.contest and after.dots == target.dots):
        return _CONFLICT
    if after.dots == source.dots and not (target.versions.keys() & after.versions.keys()):
        return _UPDATE
    return _MERGE


def _weighed(line: PlannedOperation, removed: int, *, trashed: bool) -> Operation:
    loss = trashed or line.action == _DELETE or removed > 1
    overwrite = not loss and (line.replaces_winner or removed > 0)
    return Operation(line, removed, is_loss=loss, is_overwrite=overwrite)


def _is_trashed(before: Shown, shown: Shown) -> bool:
    """Whether the status that is shown now stands for a deletion, and did not before."""
    return _status(shown) in DELETED_STATUSES and _status(before) not in DELETED_STATUSES


def _status(shown: Shown) -> str:
    if shown.version.deleted or '"status"' not in shown.version.body:
        return ""
    return str(json.loads(shown.version.body).get("status", ""))


def _line(key: Key, family: str, members: Mapping[str, Any]) -> PlannedOperation:
    project = members.get("project_id", "")
    if not project and key.pk.startswith("PROJECT#"):
        project = key.pk.removeprefix("PROJECT#")
    return PlannedOperation(
        key=RecordKey(family=family, pk=key.pk, sk=key.sk),
        project_id=str(project),
        name=str(members.get("name", ""))[:200],
    )


def _members(shown: Shown, after: State) -> Mapping[str, Any]:
    bodies = [shown.version.body, *(v.body for v in after.versions.values() if not v.deleted)]
    for body in bodies:
        if body and body != "{}":
            found = json.loads(body)
            return found if isinstance(found, dict) else {}
    return {}


def _differing(before: Shown, after: Shown) -> list[str]:
    if before.version.digest == after.version.digest:
        return []
    old, new = (json.loads(each.version.body or "{}") for each in (before, after))
    names = sorted(old.keys() | new.keys())
    return [name for name in names if old.get(name) != new.get(name)][:128]
