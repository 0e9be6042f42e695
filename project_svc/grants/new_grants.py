"""A new grant, whoever makes it: by hand, by a decision on a request, by an
accepted invitation. One set of rules for all: never more, and never for longer,
than the giver holds."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING

from workspace.project.v1.grant_pb2 import Grant, GrantSource, GrantStatus, GrantTargetType

from project_svc.access.answers import touched
from project_svc.access.gate import ProjectAccess
from project_svc.grants.rules import (
    exceeds,
    has_direct_grant,
    own_end,
    require_owner_shape,
    require_within,
    stored_permissions,
)
from services.model.errors import Reason, WorkspaceError, invalid_field
from services.model.times import from_timestamp, to_timestamp

if TYPE_CHECKING:
    from google.protobuf.timestamp_pb2 import Timestamp

__all__ = [
    "GrantTerms",
    "end_of",
    "is_later",
    "new_grant",
    "require_own_end",
    "require_room",
]

_MOST_GRANTS = 1_000
"""Grants in force on one project: a decision reads all of them."""


@dataclass(frozen=True, slots=True)
class GrantTerms:
    """What is given to whom. `ends`: None is no end of its own."""

    target_type: GrantTargetType.ValueType
    target_id: str
    permissions: frozenset[int]
    ends: datetime | None = None
    note: str = ""
    source: GrantSource.ValueType = GrantSource.GRANT_SOURCE_DIRECT
    source_id: str = ""


def new_grant(
    found: ProjectAccess, terms: GrantTerms, *, grant_id: str, now: datetime
) -> Grant:
    """The grant that the holder of `found` may give.

    Raises EXCEEDS_OWN_RIGHTS for more, or longer, than the giver holds and for a
    grant to oneself, INVALID_FIELD for an end in the past and for an owner grant
    that expires or is not for a user.
    """
    require_within(found, terms.permissions)
    require_owner_shape(terms.permissions, terms.target_type, terms.ends)
    if terms.ends is not None and terms.ends <= now:
        raise invalid_field("expires_at", "is in the past; choose a later time")
    is_user = terms.target_type == GrantTargetType.GRANT_TARGET_TYPE_USER
    if is_user and terms.target_id == found.user_id:
        raise exceeds("manage_access", "nobody gives himself a grant; ask another manager")
    grant = Grant(
        grant_id=grant_id,
        project_id=found.view.project_id,
        target_type=terms.target_type,
        target_id=terms.target_id,
        permissions=stored_permissions(terms.permissions),
        source=terms.source,
        source_id=terms.source_id,
        status=GrantStatus.GRANT_STATUS_ACTIVE,
        note=terms.note,
        created_by=found.user_id,
        created_at=to_timestamp(now),
    )
    end = _bounded_end(found, terms.permissions, terms.ends)
    if end is not None:
        grant.expires_at.CopyFrom(to_timestamp(end))
    touched(grant, user_id=found.user_id, now=now)
    return grant


def require_room(found: ProjectAccess, grant: Grant, now: datetime) -> None:
    """Raises ALREADY_EXISTS for a target with a grant in force, LIMIT_EXCEEDED
    for more grants than a decision can read."""
    if has_direct_grant(found.view.live, grant.target_type, grant.target_id, now):
        raise WorkspaceError(
            Reason.ERROR_REASON_ALREADY_EXISTS,
            "the target has a grant in force on this project; change that one",
            metadata={"resource": f"projects/{grant.project_id}/grants"},
        )
    if len(found.view.live) >= _MOST_GRANTS:
        raise WorkspaceError(
            Reason.ERROR_REASON_LIMIT_EXCEEDED,
            f"the project has {_MOST_GRANTS} grants; give them to a team instead",
            metadata={"limit": "grants", "maximum": str(_MOST_GRANTS)},
        )


def _bounded_end(
    found: ProjectAccess, permissions: Iterable[int], asked: datetime | None
) -> datetime | None:
    """The end of a new grant: the one asked for, or that of one's own hold."""
    if asked is None:
        return own_end(found, permissions)
    require_own_end(found, permissions, asked)
    return asked


def require_own_end(
    found: ProjectAccess, permissions: Iterable[int], end: datetime | None
) -> None:
    """Raises EXCEEDS_OWN_RIGHTS for an end after that of one's own hold."""
    bound = own_end(found, permissions)
    if bound is not None and is_later(end, bound):
        raise exceeds(
            "manage_access", "the grant would outlast your own rights; choose an earlier expires_at"
        )


def is_later(end: datetime | None, than: datetime | None) -> bool:
    """None is no end, and so later than every time."""
    return than is not None and (end is None or end > than)


def end_of(message: object, field: str = "expires_at") -> datetime | None:
    """The time in an optional Timestamp field of a message; None when unset."""
    if not message.HasField(field):  # type: ignore[attr-defined]
        return None
    stamp: Timestamp = getattr(message, field)
    return from_timestamp(stamp)
