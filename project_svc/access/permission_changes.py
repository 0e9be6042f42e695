"""What an activity event says about permissions: whose may have changed, and where.

Every commit writes one event with what its records were before and after; so a
watch needs nothing remembered to tell those who lost something.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from services.model.membership_rows import ACCOUNT, TEAM, affected_user, is_identity_partition
from services.model.times import parse_key_time
from services.records.port import Item

__all__ = ["PermissionChange", "change_of"]

_PROJECT: Final = "PROJECT#"
_DECIDING: Final[Mapping[str, tuple[str, ...]]] = {
    "project": ("account_id", "workspace_id", "team_id", "restricted", "status"),
    "project_grant": ("permissions", "status", "expires_at", "target_type", "target_id"),
    "account": ("status", "type"),
    "account_member": ("status", "role"),
    "team": ("status", "scope_type", "account_id"),
    "team_member": ("status", "guest"),
    "user": ("status",),
}
"""The fields of each family that a decision looks at."""


@dataclass(frozen=True, slots=True)
class PermissionChange:
    """One commit. `project_id` is empty for a change of identity's records; then
    the partition says of which scope or user. `users` are concerned by name,
    members of `scopes` (`ACCOUNT#..`, `TEAM#..`) by membership before or after;
    `everyone`: any user of the project or scope."""

    pk: str
    sequence: int
    at: datetime
    project_id: str
    users: frozenset[str]
    scopes: frozenset[str]
    everyone: bool


def change_of(item: Item) -> PermissionChange | None:
    """The change that a row of the feed tells; None if it is no event, or one
    that changes nobody's permissions."""
    pk = item.key.pk
    of_project = pk.startswith(_PROJECT)
    if item.family != "activity_event" or not (of_project or is_identity_partition(pk)):
        return None
    event = json.loads(item.body)
    records = [each for each in event.get("changes", ()) if _decides(each)]
    if not records:
        return None
    users, scopes, everyone = _concerned(pk, records) if of_project else _affected(pk, records)
    return PermissionChange(
        pk=pk,
        sequence=int(event["partition_sequence"]),
        at=parse_key_time(event["occurred_at"]),
        project_id=pk.removeprefix(_PROJECT) if of_project else "",
        users=frozenset(users),
        scopes=frozenset(scopes),
        everyone=everyone,
    )


def _decides(record: Mapping[str, Any]) -> bool:
    fields = _DECIDING.get(record["family"])
    if fields is None:
        return False
    before, after = record.get("before"), record.get("after")
    if before is None or after is None:
        return True
    return any(before.get(name) != after.get(name) for name in fields)


def _concerned(
    pk: str, records: Iterable[Mapping[str, Any]]
) -> tuple[set[str], set[str], bool]:
    users: set[str] = set()
    scopes: set[str] = set()
    everyone = False
    for record in records:
        sides = [side for side in (record.get("before"), record.get("after")) if side]
        if record["sk"] == pk:
            everyone = True
            scopes |= {
                ACCOUNT + side["account_id"]
                for side in sides
                if side.get("account_id") and not side.get("restricted")
            }
            continue
        targets = {(side.get("target_type"), side.get("target_id", "")) for side in sides}
        for kind, target in targets:
            if kind == "GRANT_TARGET_TYPE_USER":
                users.add(target)
            else:
                everyone = True
                scopes.add((TEAM if kind == "GRANT_TARGET_TYPE_TEAM" else ACCOUNT) + target)
        everyone = everyone or not targets
    return users, scopes, everyone


def _affected(pk: str, records: Iterable[Mapping[str, Any]]) -> tuple[set[str], set[str], bool]:
    found = {affected_user(pk, record["sk"]) for record in records} - {None}
    return {user for user in found if user}, set(), "" in found
