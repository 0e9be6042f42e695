"""What a letter says, as things are when it is sent, or that it is not sent.

Each kind checks again that the recipient may know: a right that ended, a routing
that changed, an invitation that was answered end the letter. A name is shown to
those who may see the record now; others read its id. None: nothing is sent.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Final

from workspace.common.v1.permission_pb2 import Permission
from workspace.identity.v1.account_pb2 import AccountRole, MemberStatus
from workspace.identity.v1.team_pb2 import TeamRole
from workspace.identity.v1.user_pb2 import UserStatus
from workspace.project.v1.permission_service_pb2 import GetEffectivePermissionsResponse

from identity_svc.accounts.rules import is_active
from identity_svc.notifications.invitation_facts import InvitationFacts
from identity_svc.notifications.letters import PERSON, ROUTED, Letter
from identity_svc.notifications.open_conflicts import open_conflict
from identity_svc.notifications.places import Places
from identity_svc.notifications.wording import permission_words, quoted, written_time

__all__ = ["FactsOf"]

_MANAGE: Final = Permission.PERMISSION_MANAGE_ACCESS
_VIEW: Final = Permission.PERMISSION_VIEW
_OWNER: Final = Permission.PERMISSION_OWNER
_SUSPENDED: Final = MemberStatus.MEMBER_STATUS_SUSPENDED
_REMOVED: Final = MemberStatus.MEMBER_STATUS_REMOVED
_ERASED: Final = UserStatus.USER_STATUS_ERASED
_KINDS: Final = {"account": "an account", "team": "a team"}
_Facts = dict[str, str]


class FactsOf:
    """See the module."""

    def __init__(self, places: Places, invitations: InvitationFacts) -> None:
        self._places = places
        self._directory = places.directory
        self._ways: Mapping[str, Callable[[Letter], Awaitable[_Facts | None]]] = {
            "invitation": invitations.of_invited,
            "invitation_offered": invitations.of_offered,
            "invitation_accepted": invitations.of_answer,
            "invitation_declined": invitations.of_answer,
            "grant_given": self._of_grant,
            "grant_changed": self._of_grant,
            "grant_expiring": self._of_grant,
            "grant_revoked": self._of_revoked,
            "project_entered": self._of_entered,
            "access_requested": self._of_request,
            "access_approved": self._of_grant,
            "access_declined": self._of_declined,
            "membership": self._of_membership,
            "ownership": self._of_ownership,
            "projects_orphaned": self._of_orphaned,
            "project_claimed": self._of_claimed,
            "sync_conflict": self._of_conflict,
        }

    async def __call__(self, letter: Letter) -> _Facts | None:
        """What `wording.words_of` needs; None when nothing is to be said any more."""
        return await self._ways[letter.kind](letter)

    async def _of_grant(self, letter: Letter) -> _Facts | None:
        """Of a grant that is in force for the recipient."""
        about = letter.about
        found = await self._places.effective(about["project_id"], letter.recipient)
        sources = found.effective_permissions.sources
        source = next((each for each in sources if each.grant_id == about["grant_id"]), None)
        if source is None or not found.project_name or not await self._still_manages(letter):
            return None
        ends = source.expires_at.seconds if source.HasField("expires_at") else 0
        if letter.kind == "grant_expiring" and ends != int(about["ends"]):
            return None  # it was prolonged, or ends earlier: of that there is another letter
        return {
            "project": quoted(found.project_name),
            "permissions": permission_words(map(Permission.Name, source.permissions)),
            "until": f" (until {written_time(ends)})" if ends else "",
            "ends": written_time(ends),
            "holder": await self._whose(letter, "You"),
            "whose": await self._whose(letter, "you"),
        }

    async def _of_revoked(self, letter: Letter) -> _Facts | None:
        if not await self._still_manages(letter):
            return None
        found = await self._places.effective(letter.about["project_id"], letter.recipient)
        rest = permission_words(map(Permission.Name, found.effective_permissions.permissions))
        return {
            "project": _named(found, letter.about["project_id"]),
            "whose": await self._whose(letter, "you"),
            "rest": f"What you still hold there: {rest}." if rest else "",
        }

    async def _still_manages(self, letter: Letter) -> bool:
        """Whether who is written to as a manager of the target still is one."""
        target = letter.about.get("target_id", "")
        match letter.about.get("target_type", ""):
            case "team":
                place = await self._places.team_place(target, letter.recipient)
                return place is not None and place.is_member and place.is_admin
            case "account":
                return await self._places.manages_account(target, letter.recipient)
        return True

    async def _whose(self, letter: Letter, you: str) -> str:
        target = letter.about.get("target_id", "")
        match letter.about.get("target_type", ""):
            case "team":
                name = await self._team(target, letter.recipient)
                return f"The members of {name}" if you == "You" else name
            case "account":
                name = await self._account(target, letter.recipient)
                return f"The members of {name}" if you == "You" else name
        return you

    async def _of_entered(self, letter: Letter) -> _Facts | None:
        account_id = letter.about["account_id"]
        if not await self._places.manages_account(account_id, letter.recipient):
            return None
        found = await self._places.effective(letter.about["project_id"], letter.recipient)
        return {
            "project": _named(found, letter.about["project_id"]),
            "scope": await self._account(account_id, letter.recipient),
        }

    async def _of_request(self, letter: Letter) -> _Facts | None:
        found = await self._places.effective(letter.about["project_id"], letter.recipient)
        if _MANAGE not in found.effective_permissions.permissions:
            return None
        if await self._directory.active_user(letter.about["user_id"]) is None:
            return None
        return {
            "project": quoted(found.project_name),
            "permissions": letter.about["permissions"],
            "person": await self._person(letter.about["user_id"]),
        }

    async def _of_declined(self, letter: Letter) -> _Facts | None:
        found = await self._places.effective(letter.about["project_id"], letter.recipient)
        return {"project": _named(found, letter.about["project_id"])}

    async def _of_membership(self, letter: Letter) -> _Facts | None:
        about = letter.about
        member = await self._member(about["scope"], about["scope_id"], about["user_id"])
        ended = member is None or member.message.status == _REMOVED
        if ended != (about["was"] == "removed"):
            return None  # it is otherwise by now: of that there is another letter
        if letter.why == PERSON:
            return await self._of_own_membership(letter, member)
        if not await self._is_routed(letter):
            return None
        scope = await self._scope(about, letter.recipient)
        person = await self._person(about["user_id"])
        state = f": {_state(member)}" if not ended else ""
        return {
            "title": f"A member of {scope} was {about['was']}",
            "sentence": f"{person} was {about['was']} as a member of {scope}{state}."
            if about["was"] != "changed"
            else f"The membership of {person} in {scope} was changed{state}.",
        }

    async def _of_own_membership(self, letter: Letter, member: Any) -> _Facts | None:
        about = letter.about
        scope = await self._scope(about, letter.recipient)
        if about["was"] == "removed":
            if about["scope"] == "team" and await self._left_account(about, letter.recipient):
                return None  # he is told of the account, which the team is part of
            return {
                "title": f"You are no longer a member of {_KINDS[about['scope']]}",
                "sentence": f"Your membership in {scope} has ended, and with it the access "
                "that it gave.",
            }
        title = "You are now a member of" if about["was"] == "added" else "Your membership in"
        changed = "" if about["was"] == "added" else " was changed"
        return {
            "title": f"{title} {scope}{changed}",
            "sentence": f"{title} {scope}{changed}: {_state(member)}.",
        }

    async def _left_account(self, about: Mapping[str, str], user: str) -> bool:
        account_id = about["account_id"]
        return bool(account_id) and not is_active(
            await self._directory.account_member(account_id, user)
        )

    async def _of_ownership(self, letter: Letter) -> _Facts | None:
        about = letter.about
        if letter.why == ROUTED and not await self._is_routed(letter):
            return None
        member = await self._member(about["scope"], about["scope_id"], letter.recipient)
        if letter.why == PERSON and not is_active(member):
            return None
        own = letter.recipient == about["user_id"]
        return {
            "scope": await self._scope(about, letter.recipient),
            "role": "owner" if about["scope"] == "account" else "root administrator",
            "person": "You" if own else await self._person(about["user_id"]),
            "be": "are" if own else "is",
        }

    async def _of_orphaned(self, letter: Letter) -> _Facts | None:
        about = letter.about
        if await self._directory.active_user(about["user_id"]) is not None:
            return None  # he is back
        if letter.why == ROUTED and not await self._is_routed(letter):
            return None
        lines = []
        for project_id in about["projects"].split():
            found = await self._places.effective(project_id, letter.recipient)
            held = found.effective_permissions.permissions
            if letter.why == ROUTED or _MANAGE in held:
                lines.append(f"- {_named(found, project_id)}")
        if not lines:
            return None
        more = int(about["count"]) - len(about["projects"].split())
        lines += [f"- and {more} more"] if more else []
        account_id = about["account_id"]
        count = len(lines) - bool(more) + more
        scope = await self._account(account_id, letter.recipient) if account_id else ""
        return {
            "person": await self._person(about["user_id"]),
            "count": "1 project" if count == 1 else f"{count} projects",
            "of": f" of {scope}" if scope else "",
            "list": "\n".join(lines),
        }

    async def _of_claimed(self, letter: Letter) -> _Facts | None:
        about = letter.about
        if letter.why == ROUTED and not await self._is_routed(letter):
            return None
        found = await self._places.effective(about["project_id"], letter.recipient)
        if letter.why != ROUTED and _VIEW not in found.effective_permissions.permissions:
            return None
        own = letter.recipient == about["user_id"]
        return {
            "project": _named(found, about["project_id"]),
            "person": "You" if own else await self._person(about["user_id"]),
            "be": "are" if own else "is",
        }

    async def _of_conflict(self, letter: Letter) -> _Facts | None:
        """Of a conflict that is open still. Names only for those who see the project."""
        about = letter.about
        row = await open_conflict(self._directory.records, about["conflict_id"])
        if row is None or (letter.why == ROUTED and not await self._is_routed(letter)):
            return None
        name, place = "", f"the account {about['account_id']}"
        if about["project_id"]:
            found = await self._places.effective(about["project_id"], letter.recipient)
            held = found.effective_permissions.permissions
            if letter.why != ROUTED and _OWNER not in held:
                return None
            place = f"the project {_named(found, about['project_id'])}"
            name = str(row["name"]) if _VIEW in held else ""
        return {
            "what": about["family"].replace("_", " ") + (f" {quoted(name)}" if name else ""),
            "place": place,
            "id": about["conflict_id"],
        }

    async def _is_routed(self, letter: Letter) -> bool:
        return await self._places.is_routed(
            letter.about["account_id"], letter.topic, letter.recipient
        )

    async def _member(self, scope: str, scope_id: str, user: str) -> Any:
        if scope == "account":
            return await self._directory.account_member(scope_id, user)
        return await self._directory.team_member(scope_id, user)

    async def _scope(self, about: Mapping[str, str], recipient: str) -> str:
        if about["scope"] == "account":
            return await self._account(about["scope_id"], recipient)
        return await self._team(about["scope_id"], recipient)

    async def _account(self, account_id: str, recipient: str) -> str:
        place = await self._directory.account_place(account_id, recipient)
        if place.account is None or not is_active(place.member):
            return f"the account {account_id}"
        return f"the account {quoted(place.account.message.name)}"

    async def _team(self, team_id: str, recipient: str) -> str:
        place = await self._places.team_place(team_id, recipient)
        if place is None or not (place.is_member or place.is_admin):
            return f"the team {team_id}"
        return f"the team {quoted(place.team.message.name)}"

    async def _person(self, user: str) -> str:
        found = await self._directory.user(user) if user else None
        if found is None or found.message.status == _ERASED or not found.message.name:
            return "Somebody"
        return quoted(found.message.name)


def _named(found: GetEffectivePermissionsResponse, project_id: str) -> str:
    return quoted(found.project_name) if found.project_name else project_id


def _state(member: Any) -> str:
    """`editor`, `suspended`, or `viewer, as a guest`."""
    row = member.message
    if row.status == _SUSPENDED:
        return "suspended"
    if row.DESCRIPTOR.name == "TeamMember":
        role = TeamRole.Name(row.role).removeprefix("TEAM_ROLE_")
        return role.lower() + (", as a guest" if row.guest else "")
    return AccountRole.Name(row.role).removeprefix("ACCOUNT_ROLE_").lower().replace("_", " ")
