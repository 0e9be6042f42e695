"""What a change of memberships or statuses makes of the facts of a decision."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

from workspace.identity.v1.account_pb2 import Account, AccountMember, MemberStatus
from workspace.identity.v1.identity_service_pb2 import TryMembershipChangeResponse
from workspace.identity.v1.team_pb2 import Team, TeamMember, TeamScopeType
from workspace.identity.v1.user_pb2 import User

from services.model.permissions import AccountFacts, Facts, TeamFacts

__all__ = ["MembershipChange", "membership_change"]

_REMOVED = MemberStatus.MEMBER_STATUS_REMOVED
_IN_ACCOUNT = TeamScopeType.TEAM_SCOPE_TYPE_ACCOUNT


@dataclass(frozen=True, slots=True)
class MembershipChange:
    """One change. `user_id`: the one person concerned ('': everybody in the
    scope). `account_id`, `team_id`: the scope whose facts change ('': none).
    `removal`: the person leaves the account, and his own grants on its projects
    end with that."""

    applied: Callable[[Facts], Facts]
    user_id: str = ""
    account_id: str = ""
    team_id: str = ""
    removal: bool = False

    def concerns(self, user_id: str) -> bool:
        """Whether facts about this user change at all."""
        return self.user_id in ("", user_id)


def membership_change(answer: TryMembershipChangeResponse) -> MembershipChange | None:
    """The change that identity decided on; None if it would change nothing."""
    match answer.WhichOneof("after"):
        case "account_member":
            return _of_account_member(answer.account_member)
        case "team_member":
            return _of_team_member(answer.team_member)
        case "account":
            return _of_account(answer.account)
        case "team":
            return _of_team(answer.team)
        case "user":
            return _of_user(answer.user)
        case _:
            return None


def _of_account_member(after: AccountMember) -> MembershipChange:
    """The membership; the account's teams are muted by its status, and a removal
    ends the memberships in them, guests aside."""
    account_id, status, removal = after.account_id, int(after.status), after.status == _REMOVED

    def member(account: AccountFacts) -> AccountFacts:
        return replace(account, member_status=status, role=int(after.role))

    def team(team: TeamFacts) -> TeamFacts:
        ends = removal and team.member_status and not team.guest
        left = int(_REMOVED) if ends else team.member_status
        return replace(team, account_member_status=status, member_status=left)

    return MembershipChange(
        lambda facts: _with_teams_of(account_id, team)(_with_account(account_id, member)(facts)),
        user_id=after.user_id,
        account_id=account_id,
        removal=removal,
    )


def _of_team_member(after: TeamMember) -> MembershipChange:
    def change(team: TeamFacts) -> TeamFacts:
        return replace(team, member_status=int(after.status), guest=after.guest)

    return MembershipChange(
        _with_team(after.team_id, change), user_id=after.user_id, team_id=after.team_id
    )


def _of_account(after: Account) -> MembershipChange:
    status = int(after.status)

    def applied(facts: Facts) -> Facts:
        facts = _with_account(after.account_id, lambda each: replace(each, status=status))(facts)
        change = _with_teams_of(
            after.account_id, lambda each: replace(each, account_status=status)
        )
        return change(facts)

    return MembershipChange(applied, account_id=after.account_id)


def _of_team(after: Team) -> MembershipChange:
    status = int(after.status)
    return MembershipChange(
        _with_team(after.team_id, lambda each: replace(each, status=status)),
        team_id=after.team_id,
    )


def _of_user(after: User) -> MembershipChange:
    status = int(after.status)
    return MembershipChange(
        lambda facts: replace(facts, user_status=status), user_id=after.user_id
    )


def _with_account(
    account_id: str, change: Callable[[AccountFacts], AccountFacts]
) -> Callable[[Facts], Facts]:
    def applied(facts: Facts) -> Facts:
        account = facts.accounts.get(account_id)
        if account is None:
            return facts
        return replace(facts, accounts={**facts.accounts, account_id: change(account)})

    return applied


def _with_team(
    team_id: str, change: Callable[[TeamFacts], TeamFacts]
) -> Callable[[Facts], Facts]:
    def applied(facts: Facts) -> Facts:
        team = facts.teams.get(team_id)
        if team is None:
            return facts
        return replace(facts, teams={**facts.teams, team_id: change(team)})

    return applied


def _with_teams_of(
    account_id: str, change: Callable[[TeamFacts], TeamFacts]
) -> Callable[[Facts], Facts]:
    def applied(facts: Facts) -> Facts:
        teams = {
            team_id: change(team)
            if team.scope_type == _IN_ACCOUNT and team.account_id == account_id
            else team
            for team_id, team in facts.teams.items()
        }
        return replace(facts, teams=teams)

    return applied
