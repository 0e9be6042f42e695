"""What mails on invitations say: the only ones that hold a secret."""

from __future__ import annotations

from workspace.common.v1.permission_pb2 import Permission
from workspace.identity.v1.invitation_pb2 import Invitation, InvitationStatus

from identity_svc.invitations.rules import (
    ACCOUNT_TARGET,
    INVITATION,
    PENDING,
    PROJECT_TARGET,
    TEAM_TARGET,
    invitation_key,
    is_expired,
)
from identity_svc.invitations.tokens import InvitationTokens
from identity_svc.notifications.letters import Letter
from identity_svc.notifications.places import Places
from identity_svc.notifications.wording import quoted, written_time
from services.kernel import Kernel
from services.records.record import Record

__all__ = ["InvitationFacts"]

_MANAGE = Permission.PERMISSION_MANAGE_ACCESS
_KINDS = {ACCOUNT_TARGET: "the account", TEAM_TARGET: "the team", PROJECT_TARGET: "the project"}
_ANSWERED = {
    "invitation_accepted": InvitationStatus.INVITATION_STATUS_ACCEPTED,
    "invitation_declined": InvitationStatus.INVITATION_STATUS_DECLINED,
}


class InvitationFacts:
    """See the module. A link is made for who is invited, by the address, alone."""

    def __init__(self, kernel: Kernel, places: Places, tokens: InvitationTokens) -> None:
        self._kernel = kernel
        self._places = places
        self._directory = places.directory
        self._tokens = tokens

    async def waiting(self, invitation_id: str, generation: str = "") -> Invitation | None:
        """The invitation while it can be accepted, of this generation if one is given."""
        found = await self._read(invitation_id)
        if found is None or found.status != PENDING or is_expired(found, self._kernel.now()):
            return None
        if generation and found.generation != int(generation):
            return None
        inviter = await self._directory.active_user(found.invited_by)
        return found if inviter is not None else None

    async def of_invited(self, letter: Letter) -> dict[str, str] | None:
        about = letter.about
        found = await self.waiting(about["invitation_id"], about["generation"])
        if found is None or found.anyone_with_link:
            return None
        token = self._tokens.token_of(found)
        if not self._tokens.matches(token, found):
            return None  # it was made elsewhere: its token is known there alone
        offer, base = await self._offer(found), self._kernel.public_url.rstrip("/")
        return offer | {"link": f"{base}/invitations#{token}"} if offer else None

    async def of_offered(self, letter: Letter) -> dict[str, str] | None:
        """To who answers for a team or an account; he needs no token."""
        about = letter.about
        found = await self.waiting(about["invitation_id"], about["generation"])
        if found is None:
            return None
        if found.grantee_team_id:
            place = await self._places.team_place(found.grantee_team_id, letter.recipient)
            if place is None or not place.is_admin:
                return None
            grantee = f"the team {quoted(place.team.message.name)}"
        else:
            account_id = found.grantee_account_id
            account = await self._directory.account(account_id)
            manages = await self._places.manages_account(account_id, letter.recipient)
            if account is None or not manages:
                return None
            grantee = f"the account {quoted(account.message.name)}"
        offer = await self._offer(found)
        return offer | {"grantee": grantee} if offer else None

    async def of_answer(self, letter: Letter) -> dict[str, str] | None:
        """To the inviter, who knows to what and whom he invited."""
        found = await self._read(letter.about["invitation_id"])
        if found is None or found.status != _ANSWERED[letter.kind]:
            return None
        who = ""
        if found.anyone_with_link or not found.email:
            name = await self._name(found.resolved_by)
            who = f" by {name}" if name else ""
        what = await self._what(found)
        return {"what": what or f"{_KINDS[found.target_type]} {found.target_id}", "who": who}

    async def _offer(self, found: Invitation) -> dict[str, str] | None:
        inviter, what = await self._name(found.invited_by), await self._what(found)
        if not what:
            return None  # the inviter may not invite to it any more
        return {
            "what": what,
            "inviter": inviter or "Somebody",
            "until": written_time(found.expires_at.seconds),
        }

    async def _what(self, found: Invitation) -> str:
        """By the name that the inviter sees now; whoever is invited may know it."""
        if found.target_type == ACCOUNT_TARGET:
            account = await self._directory.account(found.target_id)
            return f"the account {quoted(account.message.name)}" if account else ""
        if found.target_type == TEAM_TARGET:
            team = await self._directory.team(found.target_id)
            return f"the team {quoted(team.message.name)}" if team else ""
        seen = await self._places.effective(found.target_id, found.invited_by)
        if _MANAGE not in seen.effective_permissions.permissions:
            return ""
        return f"the project {quoted(seen.project_name)}"

    async def _name(self, user: str) -> str:
        found = await self._directory.active_user(user) if user else None
        return quoted(found.message.name) if found and found.message.name else ""

    async def _read(self, invitation_id: str) -> Invitation | None:
        found: Record[Invitation] | None = await self._directory.records.get(
            INVITATION, invitation_key(invitation_id)
        )
        return found.message if found else None
