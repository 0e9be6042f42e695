"""No merge leaves a project, account, team or the platform without an owner.

Two nodes may each take away another owner and be right alone. When both meet nobody
would be left who may decide anything. Then the later of the two revocations is
*suspended*: its record is shown as it was before, with a conflict of kind `policy`,
until another owner is there. It is a function of what lies in the one partition, so
every node suspends the same; whether a user is enabled lies elsewhere and is not
asked.

| partition | owner | not asked about |
|---|---|---|
| project | active owner grant of a user | projects that are purged or not there |
| account | active member with role owner | accounts that are deleted or not there |
| team | the active membership of the root administrator | archived teams, teams of an account |
| platform | platform admin | |

A revocation is a live version of a record that is no owner by it and was one before.
The greatest by (hlc, dot) is suspended. Not if the server made it, as one of a chain
(`revoke_reason`): that leaves an orphan, which is claimed, and an owner who was taken
away earlier, and rightly, must not come back by it.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Final

from services.model.families import FAMILIES, Family
from services.model.merging.content import content_of
from services.model.merging.kinds import with_content
from services.model.merging.outcome import Contest, Shown
from services.model.stamp import Dot
from services.model.versions import State, Version

__all__ = ["Revocation", "Scope", "event_key_prefix", "former_body", "revocations", "suspended"]

Members = Mapping[str, Any]
_OWNER_ROLE: Final = "ACCOUNT_ROLE_OWNER"
_ACTIVE_MEMBER: Final = "MEMBER_STATUS_ACTIVE"


@dataclass(frozen=True, slots=True)
class Scope:
    """One kind of partition that has owners. `prefix` of the sort keys of the records
    of `family`, one of which makes a user an owner."""

    kind: str
    family: str
    prefix: str

    @classmethod
    def of(cls, pk: str) -> Scope | None:
        """None for partitions without owners."""
        if pk == "PLATFORM":
            return cls("platform", "platform_admin", "ADMIN#")
        kind, _, _ = pk.partition("#")
        return _SCOPES.get(kind)

    @property
    def has_root(self) -> bool:
        """Whether the partition has a record of its own (its sk equals its pk)."""
        return self.kind != "platform"

    def is_asked(self, root: Members | None) -> bool:
        """Whether somebody must own what `root` says (None: absent or deleted)."""
        if not self.has_root:
            return True
        if root is None:
            return False
        if self.kind == "project":
            return root.get("status") != "PROJECT_STATUS_PURGED"
        if self.kind == "account":
            return not root.get("purge_at") and not root.get("purged_at")
        return (
            root.get("status") == "TEAM_STATUS_ACTIVE"
            and root.get("scope_type") != "TEAM_SCOPE_TYPE_ACCOUNT"
        )

    def facts(self, root: Members | None) -> tuple[bool, str]:
        """What of the root the answer depends on."""
        asked = self.is_asked(root)
        return (asked, str((root or {}).get("root_admin_user_id", "")) if asked else "")

    def is_owner(self, members: Members, root: Members | None) -> bool:
        """Whether a live record of this body makes its user an owner."""
        if self.kind == "project":
            return (
                members.get("status") == "GRANT_STATUS_ACTIVE"
                and members.get("target_type") == "GRANT_TARGET_TYPE_USER"
                and "PERMISSION_OWNER" in members.get("permissions", ())
            )
        if self.kind == "platform":
            return True
        active = members.get("status") == _ACTIVE_MEMBER
        if self.kind == "account":
            return active and members.get("role") == _OWNER_ROLE
        root_admin = (root or {}).get("root_admin_user_id", "")
        return active and bool(root_admin) and members.get("user_id") == root_admin


_SCOPES: Final[Mapping[str, Scope]] = {
    "PROJECT": Scope("project", "project_grant", "GRANT#"),
    "ACCOUNT": Scope("account", "account_member", "MEMBER#"),
    "TEAM": Scope("team", "team_member", "MEMBER#"),
}


@dataclass(frozen=True, slots=True)
class Revocation:
    """A live version by which a record makes nobody an owner; perhaps it did before."""

    sk: str
    version: Version

    @property
    def order(self) -> tuple[str, Dot]:
        """The greatest is suspended."""
        return (self.version.hlc, self.version.dot)


def revocations(
    scope: Scope, root: Members | None, states: Mapping[str, State]
) -> list[Revocation]:
    """What may have taken an owner away, the latest first. `states` by sort key. A
    version without a past took nothing away."""
    found = [
        Revocation(sk, version)
        for sk, state in states.items()
        for version in state.versions.values()
        if sum(version.vv.values()) > 1 and not _owns(scope, root, version)
    ]
    return sorted(found, key=lambda each: each.order, reverse=True)


def _owns(scope: Scope, root: Members | None, version: Version) -> bool:
    return not version.deleted and scope.is_owner(json.loads(version.body), root)


def event_key_prefix(version: Version) -> str:
    """Sort keys of the activity event of the commit that wrote a version."""
    return f"EVENT#{version.hlc}#{version.dot[0]}#"


def former_body(
    events: Iterable[Members], scope: Scope, revocation: Revocation
) -> Members | None:
    """The content before the revocation as one of the events tells it; {} if there
    was none, None if no event tells."""
    for event in events:
        for change in event.get("changes", ()):
            if (change.get("family"), change.get("sk")) == (scope.family, revocation.sk):
                before: Members = change.get("before", {})
                return before
    return None


def suspended(
    scope: Scope, root: Members | None, revocation: Revocation, before: Members, plain: Shown
) -> Shown | None:
    """What is shown if this is the latest revocation; None when it is not one, or not
    to be suspended. `plain` is what the record's own versions show."""
    version = revocation.version
    if not scope.is_owner(before, root):
        return None
    family = FAMILIES[scope.family]
    own = json.loads(version.body)
    if own.get("revoke_reason"):
        return None
    # Members that are no content, such as names copied from the user, are its own.
    shown = with_content(family, replace(version, fields={}), own, before)
    contest = Contest("policy", _differing(family, before, plain.version))
    return Shown(shown, partial=False, contest=contest)


def _differing(family: Family, before: Members, plain: Version) -> tuple[str, ...]:
    if plain.deleted:
        return ()
    after = content_of(family, json.loads(plain.body))
    names = before.keys() | after.keys()
    return tuple(sorted(name for name in names if before.get(name) != after.get(name)))
