"""What identity says of one user, in the shape that the evaluator takes."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from workspace.identity.v1.identity_service_pb2 import MembershipResult
from workspace.identity.v1.membership_pb2 import MembershipFact, ScopeRef

from services.model.errors import Reason, WorkspaceError
from services.model.membership_rows import ACCOUNT, TEAM
from services.model.permissions import AccountFacts, TeamFacts

__all__ = ["ScopeFacts", "UserView", "scope_facts", "scope_of", "scope_ref", "user_view"]


@dataclass(frozen=True, slots=True)
class UserView:
    """A user's status and memberships in the scopes that were asked for.
    `raw` has the facts by scope id, as identity gave them."""

    status: int = 0
    accounts: Mapping[str, AccountFacts] = field(default_factory=dict)
    teams: Mapping[str, TeamFacts] = field(default_factory=dict)
    raw: Mapping[str, MembershipFact] = field(default_factory=dict)

    def joined(self, other: UserView) -> UserView:
        """Both sets of scopes; `other` is the newer one."""
        return UserView(
            other.status,
            {**self.accounts, **other.accounts},
            {**self.teams, **other.teams},
            {**self.raw, **other.raw},
        )


@dataclass(frozen=True, slots=True)
class ScopeFacts:
    """The facts of one scope; exactly one of `account` and `team` is set."""

    raw: MembershipFact
    account: AccountFacts | None = None
    team: TeamFacts | None = None


def scope_of(ref: ScopeRef) -> str:
    """`ACCOUNT#{id}` or `TEAM#{id}`, as the partition of the scope."""
    return TEAM + ref.team_id if ref.WhichOneof("scope") == "team_id" else ACCOUNT + ref.account_id


def scope_ref(scope: str) -> ScopeRef:
    """The reverse of `scope_of`."""
    if scope.startswith(TEAM):
        return ScopeRef(team_id=scope.removeprefix(TEAM))
    return ScopeRef(account_id=scope.removeprefix(ACCOUNT))


def scope_facts(result: MembershipResult) -> ScopeFacts:
    """The facts of a result. Raises BACKEND_UNAVAILABLE for one that failed: a
    decision is never a guess."""
    if result.WhichOneof("outcome") != "fact":
        raise WorkspaceError(
            Reason.ERROR_REASON_BACKEND_UNAVAILABLE,
            "a membership cannot be read now; repeat the call",
            metadata={"backend": "identity"},
            retry_after=1.0,
        )
    fact = result.fact
    if result.scope.WhichOneof("scope") == "team_id":
        return ScopeFacts(fact, team=_team_facts(fact))
    return ScopeFacts(
        fact,
        account=AccountFacts(
            int(fact.account_status), int(fact.account_member_status), int(fact.account_role)
        ),
    )


def user_view(status: int, found: Iterable[tuple[str, ScopeFacts]]) -> UserView:
    """The view of a user over these scopes."""
    accounts: dict[str, AccountFacts] = {}
    teams: dict[str, TeamFacts] = {}
    raw: dict[str, MembershipFact] = {}
    for scope, facts in found:
        scope_id = scope.split("#", 1)[1]
        raw[scope_id] = facts.raw
        if facts.team is not None:
            teams[scope_id] = facts.team
        elif facts.account is not None:
            accounts[scope_id] = facts.account
    return UserView(status, accounts, teams, raw)


def _team_facts(fact: MembershipFact) -> TeamFacts:
    return TeamFacts(
        status=int(fact.team_status),
        scope_type=int(fact.scope_type),
        member_status=int(fact.member_status),
        guest=fact.guest,
        account_id=fact.account_id,
        account_status=int(fact.account_status),
        account_member_status=int(fact.account_member_status),
    )
