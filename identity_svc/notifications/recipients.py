"""From an event to letters: of what topic it is, and who is concerned.

Events say which records changed, by key; from their old and new values only ids,
states and rights are taken. Nobody gets a letter about what he did himself, and
each one letter about the same thing, for the strongest reason.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Mapping
from typing import Any, Final

from google.protobuf.json_format import MessageToDict
from workspace.common.v1.activity_pb2 import ActivityEvent, RecordChange
from workspace.identity.v1.invitation_pb2 import Invitation

from identity_svc.invitations.rules import INVITATION, invitation_key
from identity_svc.notifications.grant_changes import GrantChange, grant_changes
from identity_svc.notifications.letters import MANAGER, PERSON, ROUTED, Letter, address_key
from identity_svc.notifications.places import MOST_RECIPIENTS, Places
from identity_svc.notifications.wording import permission_words
from services.records.record import Record

__all__ = ["NEWS", "Recipients"]

_GRANTS: Final = ("grant.created", "grant.updated", "grant.revoked", "project.assigned",
                  "project.created")  # fmt: skip
_MEMBERS: Final = ("account_member.added", "account_member.updated", "account_member.removed",
                   "team_member.added", "team_member.updated", "team_member.removed")  # fmt: skip
NEWS: Final = frozenset(
    [
        *_GRANTS, *_MEMBERS, "invitation.created", "invitation.resent", "invitation.accepted",
        "invitation.declined", "access_request.created", "access_request.approved",
        "access_request.declined", "account.ownership_transferred",
        "team.root_admin_transferred", "user.disabled", "project.claimed",
    ]
)  # fmt: skip
"""Types of the events that somebody is written to about."""
_WAS: Final = {"added": "added", "updated": "changed", "removed": "removed"}
_RANK: Final = {PERSON: 0, MANAGER: 1, ROUTED: 2}
_LISTED: Final = 10
_Letters = list[Letter]


class Recipients:
    """See the module."""

    def __init__(self, places: Places) -> None:
        self._places = places
        self._directory = places.directory
        self._ways: Mapping[str, Callable[[ActivityEvent], Awaitable[_Letters]]] = {
            **dict.fromkeys(_GRANTS, self._of_grants),
            **dict.fromkeys(_MEMBERS, self._of_member),
            "invitation.created": self._of_invitation,
            "invitation.resent": self._of_invitation,
            "invitation.accepted": self._of_answer,
            "invitation.declined": self._of_answer,
            "access_request.created": self._of_request,
            "access_request.approved": self._of_decision,
            "access_request.declined": self._of_decision,
            "account.ownership_transferred": self._of_ownership,
            "team.root_admin_transferred": self._of_root_admin,
            "user.disabled": self._of_disabled,
            "project.claimed": self._of_claim,
        }

    async def of(self, event: ActivityEvent) -> list[Letter]:
        """At most 50, those whom it concerns most first."""
        way = self._ways.get(event.type)
        letters = await way(event) if way else []
        return _one_each(each for each in letters if each.recipient != event.actor_user_id)

    async def of_expiry(self, change: GrantChange) -> list[Letter]:
        """For whom a grant ends soon."""
        letters = await self._of_target(change, "grant_expiring", "grant.expiring")
        return _one_each(letters)

    async def _of_grants(self, event: ActivityEvent) -> _Letters:
        letters: _Letters = []
        for change in grant_changes(event):
            if change.was == "given" and change.source == "GRANT_SOURCE_INVITATION":
                continue  # who accepted knows, and the inviter is told
            if change.was == "revoked" and change.revoke_reason:
                continue  # the removal of a member, who is told of that
            assigned = change.was == "given" and change.source == "GRANT_SOURCE_ASSIGNMENT"
            topic = "project.assigned" if assigned else "project.shared"
            if change.was:
                letters += await self._of_target(change, f"grant_{change.was}", topic)
        return letters + await self._of_new_home(event)

    async def _of_target(self, change: GrantChange, kind: str, topic: str) -> _Letters:
        """The user, or who manages the team or account."""
        about = {
            "project_id": change.project_id, "grant_id": change.grant_id,
            "target_type": change.target_type, "target_id": change.target_id,
            "ends": str(change.ends),
        }  # fmt: skip
        match change.target_type:
            case "team":
                users = await self._places.team_managers(change.target_id)
            case "account":
                users = await self._places.account_managers(change.target_id)
            case _:
                return [Letter(change.target_id, kind, topic, about=about)]
        return [Letter(user, kind, topic, MANAGER, about) for user in users]

    async def _of_new_home(self, event: ActivityEvent) -> _Letters:
        """The managers of an account that a project came into."""
        if event.type != "project.assigned" or not event.account_id:
            return []
        change = _change(event, "project")
        if change is None or _value(change.before, "account_id") == event.account_id:
            return []
        about = {"project_id": event.project_id, "account_id": event.account_id}
        users = await self._places.account_managers(event.account_id)
        return [Letter(user, "project_entered", "project.assigned", MANAGER, about)
                for user in users]  # fmt: skip

    async def _of_invitation(self, event: ActivityEvent) -> _Letters:
        """To the address; a team or an account is asked through its managers."""
        found = await self._invitation(event)
        if found is None or found.anyone_with_link:
            return []
        topic = "invitation.received"
        change = _change(event, "invitation")
        sent = _value(change.after, "generation") if change else ""
        generation = int(float(sent)) if sent else found.generation
        about = {"invitation_id": found.invitation_id, "generation": str(generation)}
        if found.grantee_team_id:
            users = await self._places.team_managers(found.grantee_team_id)
        elif found.grantee_account_id:
            users = await self._places.account_managers(found.grantee_account_id)
        else:
            known = await self._directory.only_user_with(found.email)
            to = known.message.user_id if known else address_key(found.email)
            return [Letter(to, "invitation", topic, about=about)] if found.email else []
        return [Letter(user, "invitation_offered", topic, MANAGER, about) for user in users]

    async def _of_answer(self, event: ActivityEvent) -> _Letters:
        found = await self._invitation(event)
        if found is None:
            return []
        about = {"invitation_id": found.invitation_id}
        kind = event.type.replace(".", "_")
        return [Letter(found.invited_by, kind, "invitation.answered", about=about)]

    async def _of_request(self, event: ActivityEvent) -> _Letters:
        """Who may decide. Whom the account routes the topic to is not the last of
        many; whoever may not decide is left out when the mail is made."""
        topic, change = "project.access_requested", _change(event, "access_request")
        if change is None:
            return []
        about = {
            "project_id": event.project_id,
            "user_id": _value(change.after, "user_id"),
            "permissions": permission_words(_list(change.after, "permissions")),
        }
        managers = await self._places.project_managers(event.project_id)
        routed = await self._places.routed(event.account_id, topic) if managers else []
        users = [user for user in routed if user in managers] + managers
        return [Letter(user, "access_requested", topic, MANAGER, about) for user in users]

    async def _of_decision(self, event: ActivityEvent) -> _Letters:
        change = _change(event, "access_request")
        if change is None:
            return []
        about = {
            "project_id": event.project_id, "grant_id": _value(change.after, "grant_id"),
        }  # fmt: skip
        asker, kind = _value(change.after, "user_id"), event.type.replace("request.", "")
        return [Letter(asker, kind, "project.access_decided", about=about)] if asker else []

    async def _of_member(self, event: ActivityEvent) -> _Letters:
        """The person, and whom the account routes such changes to."""
        scope = event.type.partition("_")[0]
        change = _change(event, f"{scope}_member")
        if change is None or not _matters(change):
            return []
        collection, scope_id = event.resource.split("/")[:2]
        assert collection == f"{scope}s"
        user, topic = change.sk.removeprefix("MEMBER#"), f"{scope}.members"
        about = {
            "scope": scope, "scope_id": scope_id, "user_id": user,
            "was": _WAS[event.type.rpartition(".")[2]], "account_id": event.account_id,
        }  # fmt: skip
        return [
            Letter(user, "membership", topic, about=about),
            *await self._routed(event.account_id, "membership", topic, about),
        ]

    async def _of_ownership(self, event: ActivityEvent) -> _Letters:
        change = _change(event, "account")
        if change is None:
            return []
        owners = [_value(side, "owner_user_id") for side in (change.after, change.before)]
        topic = "account.members"
        about = {"scope": "account", "scope_id": event.account_id, "user_id": owners[0],
                 "account_id": event.account_id}  # fmt: skip
        return [
            *(Letter(user, "ownership", topic, about=about) for user in owners if user),
            *await self._routed(event.account_id, "ownership", topic, about),
        ]

    async def _of_root_admin(self, event: ActivityEvent) -> _Letters:
        change = _change(event, "team")
        if change is None:
            return []
        admins = [_value(side, "root_admin_user_id") for side in (change.after, change.before)]
        topic = "team.members"
        about = {"scope": "team", "scope_id": event.resource.split("/")[1],
                 "user_id": admins[0], "account_id": event.account_id}  # fmt: skip
        return [
            *(Letter(user, "ownership", topic, about=about) for user in admins if user),
            *await self._routed(event.account_id, "ownership", topic, about),
        ]

    async def _of_disabled(self, event: ActivityEvent) -> _Letters:
        """One letter to each person about all the projects that nobody owns now."""
        user = event.resource.split("/")[1]
        found = await self._places.orphaned_by(user)
        concerned: dict[tuple[str, str, str], list[str]] = {}
        for project_id, account_id in found.items():
            for manager in await self._places.project_managers(project_id):
                concerned.setdefault((manager, MANAGER, ""), []).append(project_id)
            for each in await self._places.routed(account_id, "project.orphaned"):
                concerned.setdefault((each, ROUTED, account_id), []).append(project_id)
        return [
            Letter(
                to, "projects_orphaned", "project.orphaned", why,
                {"account_id": account_id, "user_id": user, "count": str(len(projects)),
                 "projects": " ".join(projects[:_LISTED])},
            )
            for (to, why, account_id), projects in concerned.items()
        ]  # fmt: skip

    async def _of_claim(self, event: ActivityEvent) -> _Letters:
        """The new owner, the managers, and whom the account routes it to."""
        topic, project_id = "project.orphaned", event.project_id
        given = [each for each in grant_changes(event) if each.was == "given"]
        owner = given[0].target_id if given else ""
        about = {
            "project_id": project_id, "user_id": owner, "account_id": event.account_id,
        }  # fmt: skip
        managers = await self._places.project_managers(project_id)
        return [
            *(Letter(each.target_id, "project_claimed", topic, about=about) for each in given),
            *(Letter(user, "project_claimed", topic, MANAGER, about) for user in managers),
            *await self._routed(event.account_id, "project_claimed", topic, about),
        ]

    async def _routed(
        self, account_id: str, kind: str, topic: str, about: Mapping[str, str]
    ) -> _Letters:
        users = await self._places.routed(account_id, topic)
        return [Letter(user, kind, topic, ROUTED, about) for user in users]

    async def _invitation(self, event: ActivityEvent) -> Invitation | None:
        invitation_id = event.resource.split("/")[1]
        found: Record[Invitation] | None = await self._directory.records.get(
            INVITATION, invitation_key(invitation_id)
        )
        return found.message if found else None


def _one_each(letters: Iterable[Letter]) -> list[Letter]:
    """Of letters about the same to the same person that with the strongest reason."""
    kept: dict[tuple[str, str, str], Letter] = {}
    for each in sorted(letters, key=lambda letter: _RANK[letter.why]):
        same = (each.recipient, each.kind, repr(sorted(each.about.items())))
        kept.setdefault(same, each)
    return list(kept.values())[:MOST_RECIPIENTS]


def _matters(change: RecordChange) -> bool:
    """Whether a membership began, ended, or means something else than before."""
    if not change.HasField("before"):
        return True
    fields = ("role", "status", "permissions", "guest")
    before, after = MessageToDict(change.before), MessageToDict(change.after)
    return any(before.get(name) != after.get(name) for name in fields)


def _change(event: ActivityEvent, family: str) -> RecordChange | None:
    return next((each for each in event.changes if each.family == family), None)


def _value(side: Any, name: str) -> str:
    return str(side[name]) if name in side.fields else ""


def _list(side: Any, name: str) -> list[str]:
    return [str(each) for each in side[name]] if name in side.fields else []
