"""Homes of projects as the caller stands to them: accounts, workspaces, teams.

Every answer rests on strong membership facts. A home or team that the caller
has nothing to do with is the same PERMISSION_DENIED as one that is not there.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from workspace.common.v1.classification_pb2 import Classification
from workspace.identity.v1.account_pb2 import (
    Account,
    AccountCapability,
    AccountStatus,
    MemberStatus,
)
from workspace.identity.v1.account_service_pb2 import GetAccountRequest
from workspace.identity.v1.identity_service_pb2 import GetUserRequest
from workspace.identity.v1.membership_pb2 import MembershipFact
from workspace.identity.v1.team_pb2 import TeamScopeType, TeamStatus

from project_svc.access.facts import FactsReader
from project_svc.access.gate import invalid_state
from project_svc.access.token_cut import reaches
from services.model.errors import Reason, WorkspaceError, invalid_field, permission_denied
from services.model.roles import capabilities

if TYPE_CHECKING:  # the generated classes exist for type checkers only
    from workspace.identity.v1.account_service_pb2_grpc import AccountServiceAsyncStub
    from workspace.identity.v1.identity_service_pb2_grpc import IdentityServiceAsyncStub

__all__ = ["Home", "Homes", "Team", "require_classification"]

_MEMBER_ACTIVE = MemberStatus.MEMBER_STATUS_ACTIVE


@dataclass(frozen=True, slots=True)
class Home:
    """An account or personal workspace and what the caller may do in it.
    `capabilities` are those of an active member, whatever the account's status."""

    home_id: str
    personal: bool
    status: int
    classification: int
    capabilities: frozenset[int]

    @property
    def resource(self) -> str:
        return f"{'workspaces' if self.personal else 'accounts'}/{self.home_id}"

    def require(self, capability: AccountCapability.ValueType) -> None:
        """Raises PERMISSION_DENIED without the capability."""
        if capability not in self.capabilities:
            raise permission_denied(_capability_word(capability), self.resource)

    def require_active(self) -> None:
        """Raises INVALID_STATE unless the account is active."""
        if self.status != AccountStatus.ACCOUNT_STATUS_ACTIVE:
            state = AccountStatus.Name(self.status).removeprefix("ACCOUNT_STATUS_").lower()  # type: ignore[arg-type]
            raise invalid_state(self.resource, state, "an account owner sets it active first")


@dataclass(frozen=True, slots=True)
class Team:
    """A team; the home ids are empty for a standalone one. `member`: the
    caller is an active member of it or of its account."""

    team_id: str
    exists: bool
    active: bool
    account_id: str
    workspace_id: str
    standalone: bool
    member: bool

    @property
    def resource(self) -> str:
        return f"teams/{self.team_id}"

    def require_seen(self, *, within: bool) -> None:
        """Raises PERMISSION_DENIED unless the team is there and the caller has
        to do with it: as a member, or `within` its home."""
        if not self.exists or not (self.member or within):
            raise permission_denied("view", self.resource)

    def require_active(self) -> None:
        """Raises INVALID_STATE for an archived team."""
        if not self.active:
            raise invalid_state(self.resource, "archived", "choose an active team")


class Homes:
    """Reads homes for the caller."""

    def __init__(
        self,
        *,
        facts: FactsReader,
        accounts: AccountServiceAsyncStub,
        identity: IdentityServiceAsyncStub,
    ) -> None:
        self._facts = facts
        self._accounts = accounts
        self._identity = identity

    async def personal_workspace(self, user_id: str) -> str:
        """Id of the user's own workspace."""
        answer = await self._identity.GetUser(GetUserRequest(user_id=user_id))
        workspace_id = answer.user.personal_workspace_id
        if not workspace_id:
            raise invalid_state(
                f"users/{user_id}", "without a workspace", "call NormalizeIdentity first"
            )
        return workspace_id

    async def home(self, user_id: str, home_id: str, *, personal: bool) -> Home:
        """The home, as the user stands to it; `personal` says which kind it must be.
        One beyond the scope of the caller's machine token is as if absent.

        Raises INVALID_FIELD for the other kind, told to its members only.
        """
        view = await self._facts.user(user_id, accounts=[home_id])
        if not reaches(user_id, home_id):
            return home_of(home_id, MembershipFact(), personal=personal)
        home = home_of(home_id, view.raw[home_id], personal=personal)
        is_personal = view.raw[home_id].workspace_id == home_id
        if home.capabilities and is_personal != personal:
            field, other = ("account_id", "workspace_id")
            if personal:
                field, other = other, field
            raise invalid_field(field, f"is of the other kind of home; give it as {other}")
        return home

    async def team(self, user_id: str, team_id: str) -> Team:
        """The team, as the user stands to it; absent like a home."""
        view = await self._facts.user(user_id, teams=[team_id])
        team = team_of(team_id, view.raw[team_id])
        if not reaches(user_id, team.account_id or team.workspace_id):
            return team_of(team_id, MembershipFact())
        return team

    async def account(self, account_id: str) -> Account:
        """The account's record; the caller must be an active member."""
        answer = await self._accounts.GetAccount(GetAccountRequest(account_id=account_id))
        return answer.account


def home_of(home_id: str, fact: MembershipFact, *, personal: bool) -> Home:
    """A home from its membership fact."""
    held: frozenset[int] = frozenset()
    if fact.account_member_status == _MEMBER_ACTIVE:
        held = capabilities(fact.account_role, fact.capabilities)
    return Home(home_id, personal, int(fact.account_status), int(fact.data_classification), held)


def team_of(team_id: str, fact: MembershipFact) -> Team:
    """A team from its membership fact."""
    scope = fact.scope_type
    account = scope == TeamScopeType.TEAM_SCOPE_TYPE_ACCOUNT
    workspace = scope == TeamScopeType.TEAM_SCOPE_TYPE_PERSONAL_WORKSPACE
    return Team(
        team_id=team_id,
        exists=fact.team_status != TeamStatus.TEAM_STATUS_UNSPECIFIED,
        active=fact.team_status == TeamStatus.TEAM_STATUS_ACTIVE,
        account_id=fact.account_id if account else "",
        workspace_id=fact.workspace_id if workspace else "",
        standalone=scope == TeamScopeType.TEAM_SCOPE_TYPE_STANDALONE,
        member=_MEMBER_ACTIVE in (fact.member_status, fact.account_member_status if account else 0),
    )


def require_classification(project: int, home: Home) -> None:
    """Raises CLASSIFICATION_LOWERED when the home is made for less sensitive data."""
    if project > home.classification:
        raise WorkspaceError(
            Reason.ERROR_REASON_CLASSIFICATION_LOWERED,
            f"{home.resource} is classified {_class_word(home.classification)}, the project "
            f"{_class_word(project)}; raise the home's classification or lower the project's",
            metadata={"from": _class_word(project), "to": _class_word(home.classification)},
        )


def _class_word(number: int) -> str:
    return Classification.Name(number).removeprefix("CLASSIFICATION_").lower()  # type: ignore[arg-type]


def _capability_word(capability: AccountCapability.ValueType) -> str:
    return AccountCapability.Name(capability).removeprefix("ACCOUNT_CAPABILITY_").lower()
