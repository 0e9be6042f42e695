"""To what an invitation leads: one class for each kind of target, with the same
four questions. `offer`: may the inviter offer these terms now? `stand`: does the
offer still stand for who accepts? `admit`: the effect. `manages`: who looks after
the target's invitations?"""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Any, Protocol

from workspace.common.v1.permission_pb2 import Permission
from workspace.identity.v1.account_pb2 import AccountCapability, AccountMember, MemberStatus
from workspace.identity.v1.invitation_pb2 import Invitation
from workspace.identity.v1.team_pb2 import TeamMember, TeamScopeType
from workspace.project.v1.grant_pb2 import GrantTargetType
from workspace.project.v1.grant_service_pb2 import (
    CreateInvitedGrantRequest,
    CreateInvitedGrantResponse,
)
from workspace.project.v1.permission_service_pb2 import CheckPermissionRequest

from identity_svc.accounts.grant_cleanup import GrantCleanup
from identity_svc.accounts.members import require_open_shared
from identity_svc.accounts.rules import (
    MEMBER_ACTIVE,
    REMOVED,
    held,
    require_capability,
    require_held,
    require_open,
    require_room,
)
from identity_svc.directory import (
    ACCOUNT_MEMBER,
    TEAM_MEMBER,
    Directory,
    account_pk,
    team_pk,
    timestamp,
)
from identity_svc.invitations.rules import reason_of, void
from identity_svc.teams.cleanup import TeamCleanup
from identity_svc.teams.rules import (
    IN_ACCOUNT,
    TeamPlace,
    require_not_archived,
    team_place,
)
from identity_svc.teams.teams import team_activity
from services.kernel import Kernel
from services.model.errors import Reason, WorkspaceError, invalid_field, permission_denied
from services.model.times import from_timestamp
from services.records.deciding import deciding
from services.records.record import Activity, Record, Write

if TYPE_CHECKING:  # the generated classes exist for type checkers only
    from workspace.project.v1.grant_service_pb2_grpc import GrantServiceAsyncStub
    from workspace.project.v1.permission_service_pb2_grpc import PermissionServiceAsyncStub

__all__ = ["AccountOffers", "Offers", "ProjectOffers", "TeamOffers"]

_INVITE = AccountCapability.ACCOUNT_CAPABILITY_INVITE_MEMBERS
_OUTSIDE = (MemberStatus.MEMBER_STATUS_INVITED, REMOVED)


class Offers(Protocol):
    """See the module. Every refusal is a WorkspaceError, or a peer's."""

    async def offer(self, draft: Invitation, *, user_id: str) -> None:
        """Decide for `draft.invited_by`, and note name and home of the target in the
        draft. `user_id` has the invited address; empty if nobody has."""

    async def stand(self, invitation: Invitation, user_id: str) -> None:
        """Raises unless the user could be admitted now."""

    async def admit(self, invitation: Invitation) -> str:
        """Make `claimed_by` a member or give the grant; answers the grant's id. A
        repeat finds its own effect and changes nothing."""

    async def manages(self, target_id: str, user_id: str) -> bool: ...


class AccountOffers:
    """Membership of an account."""

    def __init__(
        self, kernel: Kernel, directory: Directory, teams: TeamCleanup, grants: GrantCleanup
    ) -> None:
        self._kernel = kernel
        self._records = kernel.records
        self._directory = directory
        self._teams = teams
        self._grants = grants

    async def offer(self, draft: Invitation, *, user_id: str) -> None:
        place = await self._directory.account_place(draft.target_id, draft.invited_by)
        account, actor = require_capability(place, _INVITE, f"accounts/{draft.target_id}")
        terms = draft.terms
        require_held(actor.message, terms.account_role, terms.account_permissions)
        require_open_shared(account)
        draft.target_name, draft.account_id = account.message.name, account.message.account_id
        member = await self._directory.account_member(draft.target_id, user_id or "?")
        if member is not None and member.message.status not in _OUTSIDE:
            raise _member_already(f"accounts/{draft.target_id}/members/{user_id}")

    async def stand(self, invitation: Invitation, user_id: str) -> None:
        await _offer_again(self, invitation, user_id)
        base = await self._directory.account_member(invitation.target_id, user_id)
        _require_outside(base, invitation)
        await require_room(self._records, user_id, ACCOUNT_MEMBER, by=invitation.invited_by)

    async def admit(self, invitation: Invitation) -> str:
        pk, user_id = account_pk(invitation.target_id), invitation.claimed_by

        async def attempt() -> None:
            head = await self._records.head(pk)
            base = await self._directory.account_member(invitation.target_id, user_id)
            if _is_effect(base, invitation):
                return
            await self.stand(invitation, user_id)
            if base is not None:  # finish what a removal may have left undone
                await self._teams.end_memberships(base.message.account_id, user_id)
                await self._grants.end_grants(base.message)
            member = base.edit() if base else AccountMember(account_id=invitation.target_id)
            await _introduce(self._directory, member, invitation, self._kernel.now())
            member.role = invitation.terms.account_role
            member.permissions[:] = invitation.terms.account_permissions
            name = f"accounts/{member.account_id}/members/{user_id}"
            await self._records.commit(
                pk,
                [Write(ACCOUNT_MEMBER, member, base)],
                activity=Activity("account_member.added", name, account_id=member.account_id),
                if_head=head,
            )

        await deciding(attempt)
        return ""

    async def manages(self, target_id: str, user_id: str) -> bool:
        place = await self._directory.account_place(target_id, user_id)
        return _INVITE in held(place.member)


class TeamOffers:
    """Membership of a team."""

    def __init__(self, kernel: Kernel, directory: Directory) -> None:
        self._kernel = kernel
        self._records = kernel.records
        self._directory = directory

    async def offer(self, draft: Invitation, *, user_id: str) -> None:
        place = await self._place(draft)
        require_not_archived(place.team)
        if place.account.account is not None:
            require_open(place.account.account)
        team = place.team.message
        draft.target_name, draft.team_id = team.name, team.team_id
        draft.account_id, draft.workspace_id = team.account_id, team.workspace_id
        member = await self._directory.team_member(draft.target_id, user_id or "?")
        if member is not None and member.message.status not in _OUTSIDE:
            raise _member_already(f"teams/{draft.target_id}/members/{user_id}")

    async def stand(self, invitation: Invitation, user_id: str) -> None:
        await _offer_again(self, invitation, user_id)
        base = await self._directory.team_member(invitation.target_id, user_id)
        _require_outside(base, invitation)
        if invitation.account_id:
            own = await self._directory.account_member(invitation.account_id, user_id)
            inside = own is not None and own.message.status not in _OUTSIDE
            if inside == invitation.terms.guest:
                raise void()
            if own is not None and not inside:  # a guest whose membership ended since
                _require_outside(own, invitation)
        await require_room(self._records, user_id, TEAM_MEMBER, by=invitation.invited_by)

    async def admit(self, invitation: Invitation) -> str:
        pk, user_id = team_pk(invitation.target_id), invitation.claimed_by

        async def attempt() -> None:
            head = await self._records.head(pk)
            base = await self._directory.team_member(invitation.target_id, user_id)
            if _is_effect(base, invitation):
                return
            await self.stand(invitation, user_id)
            place = await self._place(invitation)
            member = base.edit() if base else TeamMember(team_id=invitation.target_id)
            await _introduce(self._directory, member, invitation, self._kernel.now())
            member.role, member.guest = invitation.terms.team_role, invitation.terms.guest
            name = f"teams/{member.team_id}/members/{user_id}"
            await self._records.commit(
                pk,
                [Write(TEAM_MEMBER, member, base)],
                activity=team_activity("team_member.added", place.team.message, name),
                if_head=head,
            )

        await deciding(attempt)
        return ""

    async def manages(self, target_id: str, user_id: str) -> bool:
        place = await team_place(self._directory, target_id, user_id)
        if place is None or place.is_admin:
            return place is not None
        return await self._imported(place, user_id) and not await self._entered(place)

    async def _imported(self, place: TeamPlace, user_id: str) -> bool:
        """Whether the user is the platform admin who imported the team (legacy_teams)."""
        team = place.team.message
        return (
            team.scope_type == TeamScopeType.TEAM_SCOPE_TYPE_STANDALONE
            and team.created_by == user_id
            and await self._directory.is_platform_admin(user_id)
        )

    async def _entered(self, place: TeamPlace) -> datetime | None:
        """When the root administrator accepted: from then on it is his team."""
        team = place.team.message
        root = await self._directory.team_member(team.team_id, team.root_admin_user_id)
        if root is None or root.message.status in _OUTSIDE:
            return None
        return from_timestamp(root.message.created_at)

    async def _offers(self, place: TeamPlace, draft: Invitation) -> bool:
        """Whether the inviter may offer this: an administrator, or who imported the
        team, as long as nobody had entered it when the offer was made."""
        if place.is_admin:
            return True
        entered = await self._entered(place)
        in_time = entered is None or from_timestamp(draft.issued_at) <= entered
        return in_time and await self._imported(place, draft.invited_by)

    async def _place(self, draft: Invitation) -> TeamPlace:
        place = await team_place(self._directory, draft.target_id, draft.invited_by)
        if place is None or not await self._offers(place, draft):
            raise permission_denied("manage_team", f"teams/{draft.target_id}")
        if draft.terms.guest:
            if place.team.message.scope_type != IN_ACCOUNT:
                raise invalid_field(
                    "terms.guest", "only teams of an account have guests; leave it false"
                )
            if _INVITE not in held(place.account.member):
                raise permission_denied("invite_members", f"teams/{draft.target_id}")
        return place


class ProjectOffers:
    """A grant on a project: decided and made by the project service."""

    def __init__(
        self, grants: GrantServiceAsyncStub, permissions: PermissionServiceAsyncStub
    ) -> None:
        self._grants = grants
        self._permissions = permissions

    async def offer(self, draft: Invitation, *, user_id: str) -> None:
        answer = await self._ask(draft, user_id, validate_only=True)
        draft.target_name = answer.project_name
        draft.account_id, draft.workspace_id = answer.account_id, answer.workspace_id
        draft.team_id = answer.team_id

    async def stand(self, invitation: Invitation, user_id: str) -> None:
        await self._ask(invitation, user_id, validate_only=True)

    async def admit(self, invitation: Invitation) -> str:
        answer = await self._ask(invitation, invitation.claimed_by, validate_only=False)
        return answer.grant.grant_id

    async def manages(self, target_id: str, user_id: str) -> bool:
        try:
            answer = await self._permissions.CheckPermission(
                CheckPermissionRequest(
                    project_id=target_id,
                    permission=Permission.PERMISSION_MANAGE_ACCESS,
                    user_id=user_id,
                )
            )
        except Exception as error:
            if reason_of(error) == Reason.ERROR_REASON_PERMISSION_DENIED:
                return False
            raise
        return answer.allowed

    async def _ask(
        self, invitation: Invitation, user_id: str, *, validate_only: bool
    ) -> CreateInvitedGrantResponse:
        kind, target_id = GrantTargetType.GRANT_TARGET_TYPE_USER, user_id
        if invitation.grantee_team_id:
            kind = GrantTargetType.GRANT_TARGET_TYPE_TEAM
            target_id = invitation.grantee_team_id
        elif invitation.grantee_account_id:
            kind = GrantTargetType.GRANT_TARGET_TYPE_ACCOUNT
            target_id = invitation.grantee_account_id
        request = CreateInvitedGrantRequest(
            project_id=invitation.target_id,
            invitation_id=invitation.invitation_id,
            inviter_user_id=invitation.invited_by,
            target_type=kind,
            target_id=target_id,
            permissions=invitation.terms.permissions,
            account_id=invitation.account_id,
            workspace_id=invitation.workspace_id,
            issued_at=invitation.issued_at,
            validate_only=validate_only,
        )
        if invitation.terms.HasField("grant_expires_at"):
            request.expires_at.CopyFrom(invitation.terms.grant_expires_at)
        return await self._grants.CreateInvitedGrant(request)


async def _offer_again(offers: Offers, invitation: Invitation, user_id: str) -> None:
    """The inviter could still offer the same, and the target is where it was."""
    if user_id == invitation.invited_by:
        raise void()
    draft = Invitation()
    draft.CopyFrom(invitation)
    await offers.offer(draft, user_id=user_id)
    if (draft.account_id, draft.workspace_id) != (invitation.account_id, invitation.workspace_id):
        raise void()


def _is_effect(base: Record[Any] | None, invitation: Invitation) -> bool:
    """Whether this invitation has admitted already, whatever happened since."""
    return base is not None and base.message.invitation_id == invitation.invitation_id


def _require_outside(base: Record[Any] | None, invitation: Invitation) -> None:
    """Raises INVITATION_VOID for a member, a suspended one too, and for one who was
    removed after the invitation was issued."""
    if base is None or base.message.status == MemberStatus.MEMBER_STATUS_INVITED:
        return
    issued: datetime = from_timestamp(invitation.issued_at)
    if base.message.status != REMOVED or from_timestamp(base.message.status_changed_at) >= issued:
        raise void()


async def _introduce(
    directory: Directory, member: Any, invitation: Invitation, now: float
) -> None:
    """Who the member is and where from. Raises INVITATION_VOID unless he and the
    inviter are active: both were at the claim, which may be a while ago."""
    found = await directory.active_user(invitation.claimed_by)
    inviter = await directory.active_user(invitation.invited_by)
    if found is None or inviter is None:
        raise void()
    user, moment = found.message, timestamp(now)
    member.user_id, member.email, member.name = user.user_id, user.email, user.name
    member.invitation_id = invitation.invitation_id
    member.status = MEMBER_ACTIVE
    member.status_changed_at.CopyFrom(moment)
    member.updated_at.CopyFrom(moment)
    member.status_changed_by = member.updated_by = user.user_id
    if not member.created_by:
        member.created_at.CopyFrom(moment)
        member.created_by = invitation.invited_by


def _member_already(resource: str) -> WorkspaceError:
    return WorkspaceError(
        Reason.ERROR_REASON_ALREADY_EXISTS,
        f"{resource} is a member already; change the membership instead",
        metadata={"resource": resource},
    )
