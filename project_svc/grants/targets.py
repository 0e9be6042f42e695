"""Whom a grant may be given to: active targets, the account's own or shared with."""

from __future__ import annotations

from typing import TYPE_CHECKING

from workspace.identity.v1.account_pb2 import AccountCapability, AccountStatus, MemberStatus
from workspace.identity.v1.identity_service_pb2 import ResolveUserRequest
from workspace.identity.v1.membership_pb2 import MembershipFact
from workspace.identity.v1.user_pb2 import UserStatus
from workspace.project.v1.grant_pb2 import Grant, GrantTargetType

from project_svc.access.facts import FactsReader
from project_svc.access.gate import ProjectAccess, invalid_state
from project_svc.projects.homes import home_of, team_of
from services.model.errors import Reason, WorkspaceError

if TYPE_CHECKING:  # the generated class exists for type checkers only
    from workspace.identity.v1.identity_service_pb2_grpc import IdentityServiceAsyncStub

__all__ = ["GrantTargets", "require_share"]

_SHARE = AccountCapability.ACCOUNT_CAPABILITY_SHARE_PROJECT


class GrantTargets:
    """Decides about targets by strong facts."""

    def __init__(self, *, facts: FactsReader, identity: IdentityServiceAsyncStub) -> None:
        self._facts = facts
        self._identity = identity

    async def resolve(self, found: ProjectAccess, email: str) -> str:
        """The user with this address. One that nobody has is answered like a
        user who is not there: nothing is told without the right to share."""
        answer = await self._identity.ResolveUser(ResolveUserRequest(email=email))
        if not answer.user_id:
            require_share(found)
            raise _no_target("users/?")
        return answer.user_id

    async def require(self, found: ProjectAccess, grant: Grant) -> None:
        """Raises NOT_FOUND if no active target fits, PERMISSION_DENIED without
        `share_project` for a target outside of the account, and INVALID_STATE
        for a foreign team or account of the caller, which has to accept an
        invitation. One that the caller is not in is as one that is not there
        (AIP-211)."""
        match grant.target_type:
            case GrantTargetType.GRANT_TARGET_TYPE_USER:
                await self._user(found, grant.target_id)
            case GrantTargetType.GRANT_TARGET_TYPE_TEAM:
                await self._team(found, grant.target_id)
            case _:
                await self._account(found, grant.target_id)

    async def _user(self, found: ProjectAccess, user_id: str) -> None:
        home = found.project.account_id
        user = await self._facts.user(user_id, accounts=[home])
        # The right comes first: without it, nobody learns who is there.
        if home and user.raw[home].account_member_status != MemberStatus.MEMBER_STATUS_ACTIVE:
            require_share(found)
        if user.status != UserStatus.USER_STATUS_ACTIVE:
            raise _no_target(f"users/{user_id}")

    async def _team(self, found: ProjectAccess, team_id: str) -> None:
        user = await self._facts.user(found.user_id, teams=[team_id])
        team = team_of(team_id, user.raw[team_id])
        project = found.project
        home = team.account_id if project.account_id else team.workspace_id
        own = home == (project.account_id or project.workspace_id)
        if not (own and team.active):
            raise _refusal(found, team.resource, own=own, active=team.active, member=team.member)

    async def _account(self, found: ProjectAccess, account_id: str) -> None:
        user = await self._facts.user(found.user_id, accounts=[account_id])
        fact: MembershipFact = user.raw[account_id]
        active = fact.account_status == AccountStatus.ACCOUNT_STATUS_ACTIVE
        member = fact.account_member_status == MemberStatus.MEMBER_STATUS_ACTIVE
        own = account_id == found.project.account_id
        if not (own and active):
            raise _refusal(
                found, f"accounts/{account_id}", own=own, active=active, member=member
            )


def _refusal(
    found: ProjectAccess, resource: str, *, own: bool, active: bool, member: bool
) -> WorkspaceError:
    """Why a team or account does not fit. Only its members learn its state."""
    if not (own and member):
        require_share(found)
    return _must_be_invited(resource) if member and active and not own else _no_target(resource)


def require_share(found: ProjectAccess) -> None:
    """Raises PERMISSION_DENIED without `share_project` in the project's account. A
    private workspace has no members to keep inside."""
    account_id = found.project.account_id
    if account_id:
        home_of(account_id, found.user.raw[account_id], personal=False).require(_SHARE)


def _no_target(resource: str) -> WorkspaceError:
    return WorkspaceError(
        Reason.ERROR_REASON_NOT_FOUND,
        f"{resource} is not an active target; check the id, or send an invitation with "
        "CreateInvitation",
        metadata={"resource": resource},
    )


def _must_be_invited(resource: str) -> WorkspaceError:
    return invalid_state(
        resource, "foreign", "it accepts first: send an invitation with CreateInvitation"
    )
