"""What one may give: never more, and never for longer, than one holds."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import TYPE_CHECKING

from workspace.identity.v1.user_pb2 import UserStatus
from workspace.project.v1.grant_pb2 import Grant, GrantSource, GrantStatus, GrantTargetType

from project_svc.access.answers import permission_values, touched
from project_svc.access.facts import FactsReader, ProjectView
from project_svc.access.gate import ProjectAccess
from services.model.errors import Reason, WorkspaceError, invalid_field
from services.model.permissions import (
    COMMENT,
    MANAGE_ACCESS,
    OWNER,
    REVIEW,
    VIEW,
    WRITE,
    GrantFacts,
    expand,
    permission_names,
)
from services.model.times import to_timestamp

if TYPE_CHECKING:
    from workspace.common.v1.permission_pb2 import Permission

__all__ = [
    "any_enabled",
    "assignment_permissions",
    "end_grant",
    "exceeds",
    "has_direct_grant",
    "own_end",
    "owner_grants",
    "require_other_owner",
    "require_owner_shape",
    "require_within",
    "second_grant_id",
    "stored_permissions",
]

_USER = int(GrantTargetType.GRANT_TARGET_TYPE_USER)
_ASSIGNMENT = int(GrantSource.GRANT_SOURCE_ASSIGNMENT)
_TEAM_DEFAULT = frozenset([VIEW, COMMENT, REVIEW, WRITE])


def stored_permissions(permissions: Iterable[int]) -> list[Permission.ValueType]:
    """The set as a grant keeps it: `owner` alone says everything."""
    wanted = frozenset(permissions)
    return permission_values([OWNER] if OWNER in wanted else wanted)


def assignment_permissions(
    asked: Iterable[int], held: frozenset[int]
) -> list[Permission.ValueType]:
    """What a team grant of an assignment gives: what is asked, else view,
    comment, review and write; only what the caller holds."""
    wanted = frozenset(asked) or _TEAM_DEFAULT
    return permission_values(wanted & held)


def second_grant_id(grant_id: str) -> str:
    """The id of a second grant of the same call: as repeatable as the first."""
    digest = hashlib.sha256(f"second {grant_id}".encode()).digest()
    return "g_" + base64.b32encode(digest).decode().lower()[:26]


def exceeds(permission: str, text: str) -> WorkspaceError:
    """PERMISSION_DENIED: more than the giver holds."""
    return WorkspaceError(
        Reason.ERROR_REASON_EXCEEDS_OWN_RIGHTS, text, metadata={"permission": permission}
    )


def require_within(found: ProjectAccess, permissions: Iterable[int]) -> None:
    """Raises EXCEEDS_OWN_RIGHTS, naming the first right that the caller lacks."""
    missing = permission_names(expand(permissions) - found.permissions)
    if missing:
        raise exceeds(missing[0], f"you do not hold '{missing[0]}' yourself; ask someone who does")


def own_end(found: ProjectAccess, permissions: Iterable[int]) -> datetime | None:
    """When the caller's own hold on these rights, or on `manage_access`, ends.
    None: it does not end."""
    needed = expand(permissions) | {MANAGE_ACCESS}
    ends = [_end_of(found, permission) for permission in needed]
    return min((end for end in ends if end is not None), default=None)


def _end_of(found: ProjectAccess, permission: int) -> datetime | None:
    """The last end among the sources of a right; None if one has no end."""
    sources = [s for s in found.effective.sources if permission in s.permissions]
    if any(source.expires_at is None for source in sources):
        return None
    return max((s.expires_at for s in sources if s.expires_at is not None), default=None)


def require_owner_shape(
    permissions: Iterable[int], target_type: int, expires_at: datetime | None
) -> None:
    """Owner grants are for users only and never expire. Raises INVALID_FIELD."""
    if OWNER not in frozenset(permissions):
        return
    if target_type != _USER:
        raise invalid_field("permissions", "owner is for users only; give the team 'manage_access'")
    if expires_at is not None:
        raise invalid_field("expires_at", "owner grants never expire; leave it unset")


def end_grant(grant: Grant, *, user_id: str, now: datetime, reason: str = "") -> None:
    """Revoke this copy of a grant. The row stays as history."""
    grant.revoke_reason = reason
    grant.status = GrantStatus.GRANT_STATUS_REVOKED
    grant.revoked_by = user_id
    grant.revoked_at.CopyFrom(to_timestamp(now))
    touched(grant, user_id=user_id, now=now)


def has_direct_grant(
    grants: Sequence[GrantFacts], target_type: int, target_id: str, now: datetime
) -> bool:
    """Whether the target has a grant in force that is not that of an assignment."""
    return any(
        grant.target_type == target_type
        and grant.target_id == target_id
        and grant.source != _ASSIGNMENT
        and (grant.expires_at is None or now < grant.expires_at)
        for grant in grants
    )


def owner_grants(view: ProjectView) -> list[GrantFacts]:
    """Grants in force that make users owners."""
    return [g for g in view.live if g.target_type == _USER and OWNER in g.permissions]


async def any_enabled(user_ids: Iterable[str], facts: FactsReader) -> bool:
    """Whether one of the users is enabled."""
    for user_id in sorted(user_ids):
        user = await facts.user(user_id)
        if user.status == UserStatus.USER_STATUS_ACTIVE:
            return True
    return False


async def require_other_owner(found: ProjectAccess, grant_id: str, facts: FactsReader) -> None:
    """Raises LAST_OWNER unless an enabled user other than by this grant owns the
    project. Only a commit under the same head may rest on the answer."""
    others = {g.target_id for g in owner_grants(found.view) if g.grant_id != grant_id}
    if await any_enabled(others, facts):
        return
    resource = f"projects/{found.view.project_id}"
    raise WorkspaceError(
        Reason.ERROR_REASON_LAST_OWNER,
        f"{resource} would be left without an owner; make another user an owner first",
        metadata={"resource": resource},
    )
