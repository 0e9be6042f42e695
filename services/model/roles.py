"""Account roles, capabilities and team administration (model.md, Roles and permissions).

The rules as pure functions over the enum values of
`workspace/identity/v1/{account,team}.proto`. Who may call what is decided with
them; project permissions are in `permissions.py`.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from workspace.identity.v1.account_pb2 import (
    AccountCapability,
    AccountRole,
    AccountStatus,
    MemberStatus,
)
from workspace.identity.v1.team_pb2 import TeamRole, TeamScopeType, TeamStatus

__all__ = [
    "ALL_CAPABILITIES",
    "administers_team",
    "capabilities",
    "co_administers",
    "effective_capabilities",
    "may_admit_to_team",
    "may_assign_role",
    "may_change_member",
    "outranks_or_equals",
    "team_mutes_member",
]

# Constants instead of wrapper attributes: the wrapper looks names up on each use.
_OWNER: Final = AccountRole.ACCOUNT_ROLE_OWNER
_ACCOUNT_ADMIN: Final = AccountRole.ACCOUNT_ROLE_ACCOUNT_ADMIN
_ADMINISTRATOR: Final = AccountRole.ACCOUNT_ROLE_ADMINISTRATOR
_EDITOR: Final = AccountRole.ACCOUNT_ROLE_EDITOR
_VIEWER: Final = AccountRole.ACCOUNT_ROLE_VIEWER
_MANAGE: Final = AccountCapability.ACCOUNT_CAPABILITY_MANAGE_ACCOUNT
_MEMBER_ACTIVE: Final = MemberStatus.MEMBER_STATUS_ACTIVE
_NO_MEMBER: Final = frozenset[int](
    [
        MemberStatus.MEMBER_STATUS_UNSPECIFIED,
        MemberStatus.MEMBER_STATUS_INVITED,
        MemberStatus.MEMBER_STATUS_REMOVED,
    ]
)
# Archived counts as active (model.md, Effective permissions).
_ACCOUNT_OPEN: Final = frozenset[int](
    [AccountStatus.ACCOUNT_STATUS_ACTIVE, AccountStatus.ACCOUNT_STATUS_ARCHIVED]
)

# Explicit ranks: the enum's numbers are names, not an order.
_RANK: Final[dict[int, int]] = {
    _OWNER: 5,
    _ACCOUNT_ADMIN: 4,
    _ADMINISTRATOR: 3,
    _EDITOR: 2,
    _VIEWER: 1,
}

ALL_CAPABILITIES: Final = frozenset[int](
    [
        _MANAGE,
        AccountCapability.ACCOUNT_CAPABILITY_CREATE_PROJECT,
        AccountCapability.ACCOUNT_CAPABILITY_CREATE_TEAM,
        AccountCapability.ACCOUNT_CAPABILITY_INVITE_MEMBERS,
        AccountCapability.ACCOUNT_CAPABILITY_SHARE_PROJECT,
    ]
)
_BY_ROLE: Final[dict[int, frozenset[int]]] = {
    _OWNER: ALL_CAPABILITIES,
    _ACCOUNT_ADMIN: ALL_CAPABILITIES,
    _ADMINISTRATOR: ALL_CAPABILITIES - {_MANAGE},
    _EDITOR: frozenset([AccountCapability.ACCOUNT_CAPABILITY_CREATE_PROJECT]),
    _VIEWER: frozenset(),
}


def capabilities(role: int, extra: Iterable[int] = ()) -> frozenset[int]:
    """Capabilities of the role plus the member's explicit `permissions`, before any status."""
    return _BY_ROLE.get(role, frozenset()) | (ALL_CAPABILITIES & frozenset(extra))


def effective_capabilities(
    role: int, extra: Iterable[int] = (), *, member_status: int, account_status: int
) -> frozenset[int]:
    """What a member can do in the account now.

    Nothing unless the membership is active. In an account that is not active
    only `manage_account` is left: an archived or suspended account takes no new
    projects, teams, members or shares, but its life cycle is still managed.
    """
    if member_status != _MEMBER_ACTIVE:
        return frozenset()
    held = capabilities(role, extra)
    if account_status == AccountStatus.ACCOUNT_STATUS_ACTIVE:
        return held
    return held & {_MANAGE}


def outranks_or_equals(role: int, other: int) -> bool:
    """Whether `role` is at least as high as `other`; false if either is not a role."""
    return role in _RANK and other in _RANK and _RANK[role] >= _RANK[other]


def may_assign_role(actor_role: int, target_role: int) -> bool:
    """Roles above one's own cannot be given; so only owners make owners."""
    return outranks_or_equals(actor_role, target_role)


def may_change_member(actor_role: int, current_role: int, new_role: int) -> bool:
    """Whether the actor may move a member from one role to another.

    One who could not have given the current role cannot take it away either.
    """
    return may_assign_role(actor_role, current_role) and may_assign_role(actor_role, new_role)


def co_administers(*, account_role: int, member_status: int, account_status: int) -> bool:
    """Whether the user co-administers the teams of the account: active owner or account_admin."""
    return (
        account_role in (_OWNER, _ACCOUNT_ADMIN)
        and member_status == _MEMBER_ACTIVE
        and account_status == AccountStatus.ACCOUNT_STATUS_ACTIVE
    )


def team_mutes_member(
    *, scope_type: int, guest: bool, account_status: int, account_member_status: int
) -> bool:
    """Whether the account of an account-scoped team silences this membership.

    It does when the account is not active, and when the user is neither an
    active member of it nor, being no member at all, an explicit guest of the
    team. A suspended member is a member: the guest flag does not help him.
    """
    if scope_type != TeamScopeType.TEAM_SCOPE_TYPE_ACCOUNT:
        return False
    if account_status not in _ACCOUNT_OPEN:
        return True
    if account_member_status == _MEMBER_ACTIVE:
        return False
    return not (guest and account_member_status in _NO_MEMBER)


def administers_team(
    *,
    scope_type: int,
    team_status: int,
    team_role: int,
    member_status: int,
    guest: bool = False,
    account_status: int = 0,
    account_member_status: int = 0,
    account_role: int = 0,
) -> bool:
    """Whether the user administers the team: by its `admin` role, or as co-administrator.

    The arguments are the fields of `MembershipFact` for the team. The root
    administrator holds the `admin` role, so nothing more is asked here. Archived
    teams are administered by nobody.
    """
    if team_status != TeamStatus.TEAM_STATUS_ACTIVE:
        return False
    account_scoped = scope_type == TeamScopeType.TEAM_SCOPE_TYPE_ACCOUNT
    if account_scoped and co_administers(
        account_role=account_role,
        member_status=account_member_status,
        account_status=account_status,
    ):
        return True
    return (
        team_role == TeamRole.TEAM_ROLE_ADMIN
        and member_status == _MEMBER_ACTIVE
        and not team_mutes_member(
            scope_type=scope_type,
            guest=guest,
            account_status=account_status,
            account_member_status=account_member_status,
        )
    )


def may_admit_to_team(actor_id: str, target_id: str, *, administers: bool) -> bool:
    """Whether the actor may add or reactivate the target in a team.

    Nobody lets himself in: a co-administrator could otherwise read whatever the
    team was granted.
    """
    return administers and actor_id != target_id
