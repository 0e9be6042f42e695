"""Project permissions: the one evaluator (model.md, Effective permissions 1-5).

`evaluate` answers with every source, `allows` answers one question fast; tests
hold the two equal. Both are pure functions of `Facts` and the server's time.

Facts that are missing give nothing: an unknown home, account, team or user
denies. The caller therefore fetches every scope of `scopes_of`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from enum import StrEnum
from functools import lru_cache
from typing import Final

from workspace.common.v1.permission_pb2 import Permission, PermissionPreset
from workspace.identity.v1.account_pb2 import AccountRole, AccountStatus, MemberStatus
from workspace.identity.v1.team_pb2 import TeamStatus
from workspace.identity.v1.user_pb2 import UserStatus
from workspace.project.v1.grant_pb2 import GrantSource, GrantStatus, GrantTargetType
from workspace.project.v1.permission_pb2 import PermissionSourceKind

from services.model.errors import Reason, WorkspaceError, invalid_field, permission_denied
from services.model.roles import team_mutes_member

__all__ = [
    "ALL",
    "COMMENT",
    "MANAGE_ACCESS",
    "OWNER",
    "REVIEW",
    "VIEW",
    "WRITE",
    "AccountFacts",
    "Block",
    "Cut",
    "Effective",
    "Facts",
    "GrantFacts",
    "ProjectFacts",
    "Source",
    "TeamFacts",
    "Terms",
    "allows",
    "check_grant_change",
    "check_grant_shape",
    "evaluate",
    "expand",
    "fallback_permissions",
    "givable",
    "grantable",
    "held",
    "held_until",
    "may_read_suspended",
    "permission_names",
    "preset_of",
    "preset_permissions",
    "scopes_of",
]

# Plain ints: the protobuf wrapper looks a name up on each use.
VIEW: Final = int(Permission.PERMISSION_VIEW)
COMMENT: Final = int(Permission.PERMISSION_COMMENT)
REVIEW: Final = int(Permission.PERMISSION_REVIEW)
WRITE: Final = int(Permission.PERMISSION_WRITE)
MANAGE_ACCESS: Final = int(Permission.PERMISSION_MANAGE_ACCESS)
OWNER: Final = int(Permission.PERMISSION_OWNER)
ALL: Final = frozenset([VIEW, COMMENT, REVIEW, WRITE, MANAGE_ACCESS, OWNER])
_NONE: Final = frozenset[int]()

_USER_ACTIVE: Final = int(UserStatus.USER_STATUS_ACTIVE)
_MEMBER_ACTIVE: Final = int(MemberStatus.MEMBER_STATUS_ACTIVE)
_TEAM_ACTIVE: Final = int(TeamStatus.TEAM_STATUS_ACTIVE)
_ACTIVE: Final = int(AccountStatus.ACCOUNT_STATUS_ACTIVE)
_SUSPENDED: Final = int(AccountStatus.ACCOUNT_STATUS_SUSPENDED)
_ARCHIVED: Final = int(AccountStatus.ACCOUNT_STATUS_ARCHIVED)
_GRANT_ACTIVE: Final = int(GrantStatus.GRANT_STATUS_ACTIVE)
_TO_USER: Final = int(GrantTargetType.GRANT_TARGET_TYPE_USER)
_TO_TEAM: Final = int(GrantTargetType.GRANT_TARGET_TYPE_TEAM)
_TO_ACCOUNT: Final = int(GrantTargetType.GRANT_TARGET_TYPE_ACCOUNT)
_USER_GRANT: Final = int(PermissionSourceKind.PERMISSION_SOURCE_KIND_USER_GRANT)
_OWNER_GRANT: Final = int(PermissionSourceKind.PERMISSION_SOURCE_KIND_OWNER_GRANT)
_TEAM_GRANT: Final = int(PermissionSourceKind.PERMISSION_SOURCE_KIND_TEAM_GRANT)
_ACCOUNT_GRANT: Final = int(PermissionSourceKind.PERMISSION_SOURCE_KIND_ACCOUNT_GRANT)
_ACCOUNT_FALLBACK: Final = int(PermissionSourceKind.PERMISSION_SOURCE_KIND_ACCOUNT_FALLBACK)
_OWNER_DEFAULT: Final = int(GrantSource.GRANT_SOURCE_OWNER_DEFAULT)

_FALLBACK_ADMIN: Final = frozenset([VIEW, COMMENT, REVIEW, WRITE, MANAGE_ACCESS])
_FALLBACK: Final[dict[int, frozenset[int]]] = {
    AccountRole.ACCOUNT_ROLE_OWNER: _FALLBACK_ADMIN,
    AccountRole.ACCOUNT_ROLE_ACCOUNT_ADMIN: _FALLBACK_ADMIN,
    AccountRole.ACCOUNT_ROLE_ADMINISTRATOR: _FALLBACK_ADMIN,
    AccountRole.ACCOUNT_ROLE_EDITOR: frozenset([VIEW, COMMENT, REVIEW, WRITE]),
    AccountRole.ACCOUNT_ROLE_VIEWER: frozenset([VIEW]),
}
_PRESETS: Final[dict[int, frozenset[int]]] = {
    PermissionPreset.PERMISSION_PRESET_VIEWER: frozenset([VIEW]),
    PermissionPreset.PERMISSION_PRESET_COMMENTER: frozenset([VIEW, COMMENT]),
    PermissionPreset.PERMISSION_PRESET_REVIEWER: frozenset([VIEW, COMMENT, REVIEW]),
    PermissionPreset.PERMISSION_PRESET_WRITER: frozenset([VIEW, COMMENT, REVIEW, WRITE]),
    PermissionPreset.PERMISSION_PRESET_MANAGER: _FALLBACK_ADMIN,
    PermissionPreset.PERMISSION_PRESET_OWNER: ALL,
}


@dataclass(frozen=True, slots=True)
class ProjectFacts:
    """The project row. `status` decides no permission: an owner restores from the trash."""

    project_id: str
    account_id: str = ""
    workspace_id: str = ""
    restricted: bool = False
    status: int = 0

    @property
    def home_id(self) -> str:
        """The account or personal workspace (itself an account) the project lives in."""
        return self.account_id or self.workspace_id


@dataclass(frozen=True, slots=True)
class GrantFacts:
    """One grant of the project. `expires_at` is in UTC; None = no end."""

    grant_id: str
    target_type: int
    target_id: str
    permissions: frozenset[int]
    status: int = _GRANT_ACTIVE
    expires_at: datetime | None = None
    source: int = int(GrantSource.GRANT_SOURCE_DIRECT)


@dataclass(frozen=True, slots=True)
class AccountFacts:
    """An account and the user's membership in it; status 0 = no such account or membership."""

    status: int = 0
    member_status: int = 0
    role: int = 0


@dataclass(frozen=True, slots=True)
class TeamFacts:
    """A team, the user's membership in it, and of an account-scoped team its account."""

    status: int = 0
    scope_type: int = 0
    member_status: int = 0
    guest: bool = False
    account_id: str = ""
    account_status: int = 0
    account_member_status: int = 0


@dataclass(frozen=True, slots=True)
class Facts:
    """All a decision about one user and one project rests on."""

    user_id: str
    user_status: int
    project: ProjectFacts
    grants: tuple[GrantFacts, ...] = ()
    accounts: Mapping[str, AccountFacts] = field(default_factory=dict)
    teams: Mapping[str, TeamFacts] = field(default_factory=dict)


class Block(StrEnum):
    """Why a source that concerns the user gives nothing."""

    GRANT_REVOKED = "grant_revoked"
    GRANT_EXPIRED = "grant_expired"
    GRANT_EMPTY = "grant_empty"
    TEAM_INACTIVE = "team_inactive"
    TEAM_MEMBERSHIP = "team_membership"
    TEAM_ACCOUNT = "team_account"
    ACCOUNT_INACTIVE = "account_inactive"
    ACCOUNT_MEMBERSHIP = "account_membership"
    PROJECT_RESTRICTED = "project_restricted"
    ROLE_UNKNOWN = "role_unknown"


class Cut(StrEnum):
    """What takes away from all sources together."""

    USER_INACTIVE = "user_inactive"
    HOME_CLOSED = "home_closed"
    HOME_ARCHIVED = "home_archived"


@dataclass(frozen=True, slots=True)
class Source:
    """One rule that gives the user something, or would but for `block`.
    `grant_source` is how a grant came about; 0 for the account fallback."""

    kind: int
    permissions: frozenset[int]
    grant_id: str = ""
    team_id: str = ""
    account_id: str = ""
    role: int = 0
    expires_at: datetime | None = None
    block: Block | None = None
    grant_source: int = 0


@dataclass(frozen=True, slots=True)
class Effective:
    """The answer. `sources` contribute, `blocked` would; `cuts` were applied to the union."""

    permissions: frozenset[int]
    sources: tuple[Source, ...]
    blocked: tuple[Source, ...]
    cuts: tuple[Cut, ...]

    @property
    def reduced(self) -> bool:
        """Whether the home account is suspended or archived and the rights are cut."""
        return Cut.HOME_CLOSED in self.cuts or Cut.HOME_ARCHIVED in self.cuts


@lru_cache(maxsize=256)
def _expand(permissions: frozenset[int]) -> frozenset[int]:
    known = permissions & ALL
    if OWNER in known:
        return ALL
    return known | {VIEW} if known else _NONE


def expand(permissions: Iterable[int]) -> frozenset[int]:
    """`owner` gives all, any permission gives `view`; unknown values give nothing."""
    return _expand(frozenset(permissions))


def preset_permissions(preset: int) -> frozenset[int]:
    """The set a preset stands for; empty for UNSPECIFIED."""
    return _PRESETS.get(preset, _NONE)


def preset_of(permissions: Iterable[int]) -> int:
    """The preset that is exactly this set (expanded), else UNSPECIFIED."""
    wanted = expand(permissions)
    exact = (preset for preset, held in _PRESETS.items() if held == wanted)
    return next(exact, int(PermissionPreset.PERMISSION_PRESET_UNSPECIFIED))


def permission_names(permissions: Iterable[int]) -> list[str]:
    """`["view", "write"]`, in the order of the ladder."""
    values = sorted(frozenset(permissions) & ALL)
    return [Permission.Name(value).removeprefix("PERMISSION_").lower() for value in values]  # type: ignore[arg-type]


def fallback_permissions(role: int) -> frozenset[int]:
    """What an account role gives on an unrestricted project of the account; never `owner`."""
    return _FALLBACK.get(role, _NONE)


def scopes_of(
    project: ProjectFacts, grants: Iterable[GrantFacts]
) -> tuple[frozenset[str], frozenset[str]]:
    """Ids of the accounts and teams whose membership facts a decision needs.

    The home is always among the accounts. The account of an account-scoped team
    comes with the team's own fact.
    """
    live = [grant for grant in grants if grant.status == _GRANT_ACTIVE]
    accounts = {grant.target_id for grant in live if grant.target_type == _TO_ACCOUNT}
    teams = {grant.target_id for grant in live if grant.target_type == _TO_TEAM}
    return frozenset(accounts | ({project.home_id} - {""})), frozenset(teams)


def allows(facts: Facts, permission: int, now: datetime) -> bool:
    """Whether `permission in evaluate(facts, now).permissions`, without building the answer."""
    if facts.user_status != _USER_ACTIVE:
        return False
    project = facts.project
    home = facts.accounts.get(project.home_id)
    if home is None or not _home_leaves(home.status, permission):
        return False
    if (
        project.account_id
        and not project.restricted
        and home.member_status == _MEMBER_ACTIVE
        and permission in _FALLBACK.get(home.role, _NONE)
    ):
        return True
    for grant in facts.grants:
        if (
            grant.status == _GRANT_ACTIVE
            and permission in _given(grant)
            and (grant.expires_at is None or now < grant.expires_at)
            and _reaches(facts, grant)
        ):
            return True
    return False


def evaluate(facts: Facts, now: datetime) -> Effective:
    """Effective permissions of the user on the project, with every source. `now` is server time."""
    found = [_grant_source(facts, grant, now) for grant in facts.grants]
    all_sources = [source for source in (*found, _fallback_source(facts)) if source is not None]
    sources = tuple(source for source in all_sources if source.block is None)
    blocked = tuple(source for source in all_sources if source.block is not None)
    union = _NONE.union(*(source.permissions for source in sources))
    cuts = _cuts(facts)
    return Effective(_after(union, cuts), sources, blocked, cuts)


def held(facts: Facts, now: datetime) -> Effective:
    """`evaluate` without the sources: permissions and cuts, much faster."""
    union = _NONE
    for grant in facts.grants:
        given = _given(grant)
        if given <= union or not _reaches(facts, grant):
            continue
        if _grant_block(grant, now) is None:
            union |= given
    project = facts.project
    if project.account_id and not project.restricted:
        account = facts.accounts.get(project.account_id)
        if account is not None and _account_block(account) is None:
            union |= _FALLBACK.get(account.role, _NONE)
    cuts = _cuts(facts)
    return Effective(_after(union, cuts), (), (), cuts)


def may_read_suspended(facts: Facts, now: datetime) -> bool:
    """The one exception of a suspended account: GetProject and export by its owners.

    True for an active owner of the home account who could view the project were
    the account active. Suspension opens nothing: an owner who suspends his own
    account still cannot read a restricted project of others.
    """
    home_id = facts.project.home_id
    home = facts.accounts.get(home_id)
    if home is None or home.status != _SUSPENDED:
        return False
    if home.member_status != _MEMBER_ACTIVE or home.role != AccountRole.ACCOUNT_ROLE_OWNER:
        return False
    accounts = {**facts.accounts, home_id: replace(home, status=_ACTIVE)}
    teams = {
        team_id: replace(team, account_status=_ACTIVE) if team.account_id == home_id else team
        for team_id, team in facts.teams.items()
    }
    return allows(replace(facts, accounts=accounts, teams=teams), VIEW, now)


def _home_leaves(status: int, permission: int) -> bool:
    return status == _ACTIVE or (status == _ARCHIVED and permission == VIEW)


def _cuts(facts: Facts) -> tuple[Cut, ...]:
    cuts = [] if facts.user_status == _USER_ACTIVE else [Cut.USER_INACTIVE]
    status = facts.accounts.get(facts.project.home_id, AccountFacts()).status
    if status == _ARCHIVED:
        cuts.append(Cut.HOME_ARCHIVED)
    elif status != _ACTIVE:
        cuts.append(Cut.HOME_CLOSED)
    return tuple(cuts)


def _after(union: frozenset[int], cuts: tuple[Cut, ...]) -> frozenset[int]:
    if Cut.USER_INACTIVE in cuts or Cut.HOME_CLOSED in cuts:
        return _NONE
    return union & {VIEW} if Cut.HOME_ARCHIVED in cuts else union


def _given(grant: GrantFacts) -> frozenset[int]:
    """What a grant gives, expanded. Owner grants are for users only."""
    if grant.target_type == _TO_USER:
        return _expand(grant.permissions)
    return _expand(grant.permissions - {OWNER})


def _reaches(facts: Facts, grant: GrantFacts) -> bool:
    """Whether the target of a grant contains the user now."""
    kind = grant.target_type
    if kind == _TO_USER:
        return grant.target_id == facts.user_id
    if kind == _TO_TEAM:
        team = facts.teams.get(grant.target_id)
        return team is not None and _team_block(team) is None
    if kind == _TO_ACCOUNT:
        account = facts.accounts.get(grant.target_id)
        return account is not None and _account_block(account) is None
    return False


def _team_block(team: TeamFacts) -> Block | None:
    if team.status != _TEAM_ACTIVE:
        return Block.TEAM_INACTIVE
    if team.member_status != _MEMBER_ACTIVE:
        return Block.TEAM_MEMBERSHIP
    muted = team_mutes_member(
        scope_type=team.scope_type,
        guest=team.guest,
        account_status=team.account_status,
        account_member_status=team.account_member_status,
    )
    return Block.TEAM_ACCOUNT if muted else None


def _account_block(account: AccountFacts) -> Block | None:
    if account.status not in (_ACTIVE, _ARCHIVED):
        return Block.ACCOUNT_INACTIVE
    return None if account.member_status == _MEMBER_ACTIVE else Block.ACCOUNT_MEMBERSHIP


def _grant_block(grant: GrantFacts, now: datetime) -> Block | None:
    if grant.status != _GRANT_ACTIVE:
        return Block.GRANT_REVOKED
    if grant.expires_at is not None and now >= grant.expires_at:
        return Block.GRANT_EXPIRED
    return None if _given(grant) else Block.GRANT_EMPTY


def _grant_source(facts: Facts, grant: GrantFacts, now: datetime) -> Source | None:
    """The grant as a source; None if its target has nothing to do with the user."""
    kind = _USER_GRANT
    team_id, account_id, block = "", "", _grant_block(grant, now)
    if grant.target_type == _TO_USER:
        if grant.target_id != facts.user_id:
            return None
        if grant.source == _OWNER_DEFAULT:
            kind = _OWNER_GRANT
    elif grant.target_type == _TO_TEAM:
        team = facts.teams.get(grant.target_id)
        if team is None or not team.member_status:
            return None
        kind = _TEAM_GRANT
        team_id, account_id, block = grant.target_id, team.account_id, block or _team_block(team)
    elif grant.target_type == _TO_ACCOUNT:
        account = facts.accounts.get(grant.target_id)
        if account is None or not account.member_status:
            return None
        kind = _ACCOUNT_GRANT
        account_id, block = grant.target_id, block or _account_block(account)
    else:
        return None
    return Source(
        kind=kind,
        permissions=_given(grant),
        grant_id=grant.grant_id,
        team_id=team_id,
        account_id=account_id,
        expires_at=grant.expires_at,
        block=block,
        grant_source=grant.source,
    )


def _fallback_source(facts: Facts) -> Source | None:
    """Rule 4; None if the project is in no account or the user was never a member of it."""
    project = facts.project
    account = facts.accounts.get(project.account_id) if project.account_id else None
    if account is None or not account.member_status:
        return None
    given = _FALLBACK.get(account.role, _NONE)
    block = Block.PROJECT_RESTRICTED if project.restricted else _account_block(account)
    return Source(
        kind=_ACCOUNT_FALLBACK,
        permissions=given,
        account_id=project.account_id,
        role=account.role,
        block=block or (None if given else Block.ROLE_UNKNOWN),
    )


@dataclass(frozen=True, slots=True)
class Terms:
    """What a grant says before or after a change. No permissions = no grant, or revoked."""

    permissions: frozenset[int] = _NONE
    expires_at: datetime | None = None


def givable(own: frozenset[int]) -> frozenset[int]:
    """What the holder of `own` may grant or revoke: never more than he holds.

    An owner may give everything; `manage_access` gives what one holds, never
    `owner`; anyone else gives nothing.
    """
    if OWNER in own:
        return ALL
    return own - {OWNER} if MANAGE_ACCESS in own else _NONE


def grantable(own: frozenset[int], wanted: Iterable[int]) -> bool:
    """Whether the holder of `own` may give every one of `wanted`."""
    return expand(wanted) <= givable(own)


def held_until(own: Effective, permissions: Iterable[int]) -> datetime | None:
    """When the first of these permissions ends for its holder; None = never.

    Meant for permissions in `own.permissions`.
    """
    ends = [_ends([s.expires_at for s in own.sources if p in s.permissions]) for p in permissions]
    return min((end for end in ends if end is not None), default=None)


def check_grant_shape(
    target_type: int, permissions: Iterable[int], expires_at: datetime | None
) -> None:
    """Owner grants are for users only and never expire; else INVALID_FIELD."""
    wanted = expand(permissions)
    if not wanted:
        raise invalid_field("permissions", "name at least one permission")
    if OWNER not in wanted:
        return
    if target_type != _TO_USER:
        raise invalid_field("permissions", "'owner' is for users only; choose 'manage_access'")
    if expires_at is not None:
        raise invalid_field("expires_at", "an owner grant never expires; leave it unset")


def check_grant_change(
    own: Effective, before: Terms, after: Terms, *, to_self: bool, resource: str
) -> None:
    """Nobody gives what they do not hold.

    `own` is what the actor holds on the project, `to_self` whether the grant is
    the actor's own. Judged is the difference, the expiry included: lengthening
    gives anew, shortening takes away. `resource` names the project in the error.

    Raises PERMISSION_DENIED without `manage_access`, EXCEEDS_OWN_RIGHTS beyond
    one's own permissions or expiry, for `owner`, and for one's own grant upward.
    """
    if OWNER in own.permissions:
        return
    if MANAGE_ACCESS not in own.permissions:
        raise permission_denied("manage_access", resource)
    gained, lost = _difference(before, after)
    excess = (gained | lost) - givable(own.permissions)
    if excess:
        raise _exceeds(max(excess), "is more than you hold; ask an owner of the project")
    if gained and to_self:
        raise _exceeds(max(gained), "cannot be raised on your own grant; ask another manager")
    end = held_until(own, gained | {MANAGE_ACCESS})
    if gained and _later(after.expires_at, end):
        raise _exceeds(max(gained), "would last longer than your own; set an earlier expires_at")


def _difference(before: Terms, after: Terms) -> tuple[frozenset[int], frozenset[int]]:
    """What the change gives and what it takes away, expanded."""
    old, new = expand(before.permissions), expand(after.permissions)
    gained, lost = new - old, old - new
    if _later(after.expires_at, before.expires_at):
        gained = new
    if _later(before.expires_at, after.expires_at):
        lost = old
    return gained, lost


def _later(one: datetime | None, other: datetime | None) -> bool:
    """Whether `one` is after `other`; None is the end of time."""
    return other is not None and (one is None or one > other)


def _ends(ends: list[datetime | None]) -> datetime | None:
    """The last of several ends; None = never."""
    finite = [end for end in ends if end is not None]
    return max(finite) if finite and len(finite) == len(ends) else None


def _exceeds(permission: int, remedy: str) -> WorkspaceError:
    (name,) = permission_names([permission])
    return WorkspaceError(
        Reason.ERROR_REASON_EXCEEDS_OWN_RIGHTS,
        f"permission '{name}' {remedy}",
        metadata={"permission": name},
    )
