"""To which address a letter goes, if it goes: the last word before sending."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from workspace.identity.v1.preference_pb2 import NotificationDelivery
from workspace.identity.v1.user_pb2 import User

from identity_svc.directory import USER, Directory, user_pk
from identity_svc.notifications.facts import FactsOf
from identity_svc.notifications.invitation_facts import InvitationFacts
from identity_svc.notifications.letters import OF_ADDRESS, Letter
from services.model.families import FAMILIES
from services.model.ids import email_hash
from services.model.indexes import Index
from services.records.port import Key

__all__ = ["Mailbox", "Said"]

_PREFERENCE = FAMILIES["notification_preference"]
_NONE = NotificationDelivery.NOTIFICATION_DELIVERY_NONE
_NAMESAKES = 100


@dataclass(frozen=True, slots=True)
class Said:
    """A letter that is to be sent: `to` one address, `facts` for its words."""

    to: str
    facts: Mapping[str, str]


class Mailbox:
    """Mail goes to active users at verified addresses, and to addresses that an
    invitation names unless a user who is not active has them."""

    def __init__(
        self, directory: Directory, facts: FactsOf, invitations: InvitationFacts
    ) -> None:
        self._directory = directory
        self._facts = facts
        self._invitations = invitations

    async def open(self, letter: Letter) -> Said | None:
        """None when nothing is to be sent (any more)."""
        invitation_id = letter.about.get("invitation_id", "")
        of_invited = invitation_id if letter.kind == "invitation" else ""
        to = await self.address_of(letter.recipient, of_invited)
        if not to or not await self._is_wanted(letter):
            return None
        facts = await self._facts(letter)
        return Said(to, facts) if facts is not None else None

    async def address_of(self, recipient: str, invitation_id: str = "") -> str:
        """Empty for none. With an invitation it is the address that this names."""
        is_user = not recipient.startswith(OF_ADDRESS)
        user = await self._directory.active_user(recipient) if is_user else None
        if is_user and user is None:
            return ""
        if invitation_id:
            found = await self._invitations.waiting(invitation_id)
            email = found.email if found else ""
            if user is not None:
                reached = await self._directory.has_address(recipient, email)
            else:
                reached = await self._is_free(email)
            return email if reached else ""
        return user.message.email if user and user.message.email_verified else ""

    async def _is_wanted(self, letter: Letter) -> bool:
        if letter.recipient.startswith(OF_ADDRESS):
            return True
        key = Key(user_pk(letter.recipient), f"PREFERENCE#{letter.topic}")
        row = await self._directory.records.get(_PREFERENCE, key)
        return row is None or row.message.delivery != _NONE

    async def _is_free(self, email: str) -> bool:
        """Whether no user has the address, or one who is active does."""
        if not email:
            return False
        page = await self._directory.records.query(
            USER, Index.USER, f"EMAIL#{email_hash(email)}", prefix="USER#", limit=_NAMESAKES
        )
        ids = [_kept(row.message) for row in page.records]
        users = await self._directory.users(ids)
        active = [await self._directory.active_user(each) for each in ids]
        return any(active) or not any(users)


def _kept(user: User) -> str:
    return user.linked_to_user_id or user.user_id
