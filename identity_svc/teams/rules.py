"""Who may do what in a team, and where a team may hang in the tree."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

from workspace.identity.v1.account_pb2 import Account, AccountMember
from workspace.identity.v1.team_pb2 import Team, TeamMember, TeamScopeType, TeamStatus

from identity_svc.accounts.rules import MEMBER_ACTIVE, is_active
from identity_svc.directory import TEAM, AccountPlace, Directory, in_scope, invalid_state
from identity_svc.listing import every
from services.model.errors import Reason, WorkspaceError, permission_denied
from services.model.indexes import Index
from services.model.roles import administers_team, co_administers, team_mutes_member
from services.records.record import Page, Record

__all__ = [
    "ARCHIVED",
    "IN_ACCOUNT",
    "MAX_DEPTH",
    "TeamPlace",
    "check_parent",
    "last_root_admin",
    "require_admin",
    "require_not_archived",
    "team_place",
]

MAX_DEPTH: Final = 8
IN_ACCOUNT: Final = TeamScopeType.TEAM_SCOPE_TYPE_ACCOUNT
ARCHIVED: Final = TeamStatus.TEAM_STATUS_ARCHIVED
_ACTIVE: Final = TeamStatus.TEAM_STATUS_ACTIVE
_MAX_TEAMS: Final = 100_000
_NO_ACCOUNT: Final = Account()
_NO_ACCOUNT_MEMBER: Final = AccountMember()
_NO_MEMBER: Final = TeamMember()


@dataclass(frozen=True, slots=True)
class TeamPlace:
    """A team and one user's place in it and in its account."""

    team: Record[Team]
    member: Record[TeamMember] | None
    account: AccountPlace

    @property
    def is_muted(self) -> bool:
        """The account of the team silences this membership."""
        own = self.member.message if self.member else _NO_MEMBER
        account, account_member = self._account()
        return team_mutes_member(
            scope_type=self.team.message.scope_type,
            guest=own.guest,
            account_status=account.status,
            account_member_status=account_member.status,
        )

    @property
    def is_member(self) -> bool:
        """A membership in force."""
        return is_active(self.member) and not self.is_muted

    @property
    def is_co_administrator(self) -> bool:
        account, member = self._account()
        return self.team.message.scope_type == IN_ACCOUNT and co_administers(
            account_role=member.role, member_status=member.status, account_status=account.status
        )

    @property
    def is_root_admin(self) -> bool:
        own = self.member.message.user_id if self.member else ""
        return self.is_member and own == self.team.message.root_admin_user_id

    @property
    def is_admin(self) -> bool:
        """Team administrator. An archived team is judged as if it were active:
        who is refused for the state is told the state."""
        own = self.member.message if self.member else _NO_MEMBER
        account, account_member = self._account()
        return self.is_root_admin or administers_team(
            scope_type=self.team.message.scope_type,
            team_status=_ACTIVE,
            team_role=own.role,
            member_status=own.status,
            guest=own.guest,
            account_status=account.status,
            account_member_status=account_member.status,
            account_role=account_member.role,
        )

    def _account(self) -> tuple[Account, AccountMember]:
        account, member = self.account.account, self.account.member
        return (
            account.message if account else _NO_ACCOUNT,
            member.message if member else _NO_ACCOUNT_MEMBER,
        )


async def team_place(directory: Directory, team_id: str, user: str) -> TeamPlace | None:
    """The place of a user; None when there is no such team."""
    team = await directory.team(team_id)
    if team is None or not in_scope(user, team.message.account_id or team.message.workspace_id):
        return None
    account_id = team.message.account_id
    account = (
        await directory.account_place(account_id, user) if account_id else AccountPlace(None, None)
    )
    return TeamPlace(team, await directory.team_member(team_id, user), account)


async def require_admin(directory: Directory, team_id: str, user: str) -> TeamPlace:
    """Raises PERMISSION_DENIED unless the user administers the team."""
    place = await team_place(directory, team_id, user)
    if place is None or not place.is_admin:
        raise permission_denied("manage_team", f"teams/{team_id}")
    return place


def require_not_archived(team: Record[Team]) -> None:
    if team.message.status == ARCHIVED:
        raise invalid_state(
            f"teams/{team.message.team_id}", "archived", "an archived team stays as it was"
        )


def last_root_admin(place: TeamPlace, old: TeamMember, new: TeamMember) -> WorkspaceError | None:
    """The refusal, if the change takes its only root administrator from a team
    that no account co-administers."""
    team = place.team.message
    stays = new.status == MEMBER_ACTIVE and new.role == old.role
    if team.scope_type == IN_ACCOUNT or team.root_admin_user_id != old.user_id or stays:
        return None
    resource = f"teams/{team.team_id}"
    return WorkspaceError(
        Reason.ERROR_REASON_LAST_OWNER,
        f"{resource} would be left without a root administrator; use TransferRootAdmin first",
        metadata={"resource": resource},
    )


async def check_parent(directory: Directory, team: Team) -> None:
    """The parent is of the same scope, not archived, makes no cycle and no more
    than 8 levels. Raises INVALID_STATE. Bounded by the teams of one scope."""
    if not team.parent_team_id:
        return
    teams = await _teams_of_scope(directory, team) | await _ancestors(directory, team)
    teams[team.team_id] = team
    parent = teams.get(team.parent_team_id)
    if parent is None:
        raise _bad_parent(team, "in another scope", "choose a team of the same scope")
    if parent.status == ARCHIVED:
        raise _bad_parent(team, "archived", "choose an active team")
    above = _levels_above(team, teams)
    if above is None:
        raise _bad_parent(team, "below the team itself", "choose a team that is not below it")
    if above + _levels_below(team, teams) > MAX_DEPTH:
        raise _bad_parent(team, "too deep", f"a tree has at most {MAX_DEPTH} levels")


async def _ancestors(directory: Directory, team: Team) -> dict[str, Team]:
    """Those of the same scope, by strong reads: an index may not know them yet."""
    found: dict[str, Team] = {}
    at = team.parent_team_id
    while at and at not in found and len(found) <= MAX_DEPTH:
        record = await directory.team(at)
        if record is None or _scope(record.message) != _scope(team):
            break
        found[at] = record.message
        at = record.message.parent_team_id
    return found


def _scope(team: Team) -> tuple[str, str]:
    return team.account_id, team.workspace_id


async def _teams_of_scope(directory: Directory, team: Team) -> dict[str, Team]:
    home = f"ACCOUNT#{team.account_id}" if team.account_id else f"WORKSPACE#{team.workspace_id}"

    async def query(limit: int, after: str | None) -> Page[Any]:
        return await directory.records.query(
            TEAM, Index.ACCOUNT, home, prefix="TEAM#", limit=limit, after=after
        )

    rows = await every(query, at_most=_MAX_TEAMS)
    return {row.message.team_id: row.message for row in rows}


def _levels_above(team: Team, teams: dict[str, Team]) -> int | None:
    """Ancestors of a team; None when they lead back to it."""
    levels, at = 0, team.parent_team_id
    while at and at in teams:
        levels += 1
        if at == team.team_id or levels > MAX_DEPTH * 2:
            return None
        at = teams[at].parent_team_id
    return levels


def _levels_below(team: Team, teams: dict[str, Team]) -> int:
    """Levels of the subtree, the team's own included."""
    children: dict[str, list[str]] = {}
    for each in teams.values():
        children.setdefault(each.parent_team_id, []).append(each.team_id)
    levels, row = 0, [team.team_id]
    while row and levels <= MAX_DEPTH:
        levels += 1
        row = [child for each in row for child in children.get(each, [])]
    return levels


def _bad_parent(team: Team, state: str, remedy: str) -> WorkspaceError:
    return invalid_state(f"teams/{team.parent_team_id}", state, remedy)
