"""Who may do what with an invitation: its addressees, its inviter, managers."""

from __future__ import annotations

from collections.abc import Mapping

from workspace.identity.v1.account_pb2 import AccountCapability
from workspace.identity.v1.invitation_pb2 import Invitation
from workspace.identity.v1.team_pb2 import TeamStatus

from identity_svc.accounts.rules import ACTIVE, held
from identity_svc.directory import AccountPlace, Directory
from identity_svc.invitations.offers import Offers
from identity_svc.teams.rules import TeamPlace, team_place

__all__ = ["InvitationPeople"]

_SHARE = AccountCapability.ACCOUNT_CAPABILITY_SHARE_PROJECT
_NOBODY = "?"  # no id: a read for it finds nothing, and costs as much as another


class InvitationPeople:
    """See the module. `offers` by target type."""

    def __init__(self, directory: Directory, offers: Mapping[int, Offers]) -> None:
        self._directory = directory
        self._offers = offers

    async def is_addressee(self, invitation: Invitation, user_id: str) -> bool:
        """The user with the verified address; of a team or account, who answers for
        it. The same reads for every invitation."""
        person = await self._directory.has_address(user_id, invitation.email or _NOBODY)
        team = await self.answers_for_team(invitation.grantee_team_id or _NOBODY, user_id)
        account = await self.answers_for_account(
            invitation.grantee_account_id or _NOBODY, user_id
        )
        if invitation.grantee_team_id or invitation.grantee_account_id:
            return team or account
        return person and bool(invitation.email)

    async def answers_for_team(self, team_id: str, user_id: str) -> bool:
        """Whether the user administers the team, which is active."""
        place = await team_place(self._directory, team_id, user_id)
        return place is not None and place.is_admin and _is_open(place)

    async def answers_for_account(self, account_id: str, user_id: str) -> bool:
        """Whether the user may share projects of the account, which is active."""
        place: AccountPlace = await self._directory.account_place(account_id, user_id)
        account = place.account
        return (
            account is not None
            and account.message.status == ACTIVE
            and _SHARE in held(place.member)
        )

    async def is_manager(self, invitation: Invitation, user_id: str) -> bool:
        offers = self._offers[invitation.target_type]
        return await offers.manages(invitation.target_id, user_id)

    def made(self, invitation: Invitation, user_id: str) -> bool:
        """Whether the user made the invitation, or sent it again last."""
        return user_id in (invitation.created_by, invitation.invited_by)


def _is_open(place: TeamPlace) -> bool:
    account = place.account.account
    closed = account is not None and account.message.status != ACTIVE
    return place.team.message.status == TeamStatus.TEAM_STATUS_ACTIVE and not closed
