"""What a change of the model does, from the text of model.md: the world after it."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

from tests.worlds.changes import Change
from tests.worlds.making import Cast
from tests.worlds.oracle import Grant, Member, World
from tests.worlds.questions import names

__all__ = ["expected", "finishes_removal"]

ROLES = ("", "owner", "account_admin", "administrator", "editor", "viewer")
TEAM_ROLES = ("", "admin", "member", "viewer")
STATUSES = ("", "invited", "active", "suspended", "removed")
ACCOUNT_STATUSES = ("", "active", "suspended", "archived")
TARGETS = ("", "user", "team", "account")


def expected(world: World, cast: Cast, change: Change, now: float) -> World | None:
    """A world with the change made; None where model.md leaves room (AssignProject:
    its grants depend on what the mover holds)."""
    del cast
    after = copy.deepcopy(world)
    effect = EFFECTS.get(change.kind)
    if effect is None:
        return None
    effect(after, change.request, now)
    return after


def finishes_removal(world: World, change: Change) -> bool:
    """Whether somebody is taken back, or removed again, who was removed: that first
    ends what his removal, if it was interrupted, left in force."""
    if change.kind not in {"add_account_member", "remove_account_member"}:
        return False
    account = world.accounts.get(change.request.account_id)
    member = account.members.get(change.request.user_id) if account else None
    return member is not None and member.status == "removed"


def add_account_member(world: World, request: Any, now: float) -> None:
    known = world.accounts[request.account_id].members.get(request.user_id)
    if known is not None and known.status == "removed":
        remove_account_member(world, request, now)
    member = Member("active", ROLES[request.role])
    world.accounts[request.account_id].members[request.user_id] = member


def update_account_member(world: World, request: Any, _: float) -> None:
    row = request.member
    member = world.accounts[row.account_id].members[row.user_id]
    if "role" in request.update_mask.paths:
        member.role = ROLES[row.role]
    if "status" in request.update_mask.paths:
        member.status = STATUSES[row.status]


def remove_account_member(world: World, request: Any, now: float) -> None:
    """Removing a member "ends memberships in its teams (guests aside) and revokes
    direct grants on the account's projects"; the last owner grant of a project of
    an enabled user stays."""
    account_id, user = request.account_id, request.user_id
    world.accounts[account_id].members[user].status = "removed"
    for team in world.teams.values():
        own = team.members.get(user)
        if team.scope == "account" and team.account_id == account_id and own and not own.guest:
            own.status = "removed"
    for project in world.projects.values():
        if project.account_id == account_id:
            owners = [g for g in project.grants if owns(world, g)]
            for grant in project.grants:
                if (grant.kind, grant.target) != ("user", user):
                    continue
                others = [g for g in owners if g.target != user]
                if not ("owner" in grant.rights and not others):
                    grant.status = "revoked"


def owns(world: World, grant: Grant) -> bool:
    """An owner grant in force of an enabled user."""
    return (
        grant.kind == "user"
        and grant.status == "active"
        and "owner" in grant.rights
        and world.users.get(grant.target) == "active"
    )


def add_team_member(world: World, request: Any, _: float) -> None:
    world.teams[request.team_id].members[request.user_id] = Member(
        "active", TEAM_ROLES[request.role], request.guest
    )


def update_team_member(world: World, request: Any, _: float) -> None:
    row = request.member
    member = world.teams[row.team_id].members[row.user_id]
    if "status" in request.update_mask.paths:
        member.status = STATUSES[row.status]


def remove_team_member(world: World, request: Any, _: float) -> None:
    world.teams[request.team_id].members[request.user_id].status = "removed"


def set_account_status(world: World, request: Any, _: float) -> None:
    world.accounts[request.account_id].status = ACCOUNT_STATUSES[request.status]


def archive_team(world: World, request: Any, _: float) -> None:
    world.teams[request.team_id].status = "archived"


def disable_user(world: World, request: Any, _: float) -> None:
    world.users[request.user_id] = "disabled"


def create_grant(world: World, request: Any, _: float) -> None:
    ends = request.expires_at.ToNanoseconds() / 1e9 if request.HasField("expires_at") else None
    grant = Grant(
        "new", TARGETS[request.target_type], request.target_id, names(request.permissions),
        ends=ends,
    )
    world.projects[request.project_id].grants.append(grant)


def update_grant(world: World, request: Any, _: float) -> None:
    grant = grant_of(world, request.grant.project_id, request.grant.grant_id)
    if "permissions" in request.update_mask.paths:
        grant.rights = names(request.grant.permissions)
    if "expires_at" in request.update_mask.paths:
        has = request.grant.HasField("expires_at")
        grant.ends = request.grant.expires_at.ToNanoseconds() / 1e9 if has else None


def revoke_grant(world: World, request: Any, _: float) -> None:
    grant_of(world, request.project_id, request.grant_id).status = "revoked"


def restricted(world: World, request: Any, _: float) -> None:
    world.projects[request.project.project_id].restricted = request.project.restricted


def grant_of(world: World, project_id: str, grant_id: str) -> Grant:
    grants = world.projects[project_id].grants
    return next(grant for grant in grants if grant.grant_id == grant_id)


EFFECTS: dict[str, Callable[[World, Any, float], None]] = {
    each.__name__: each
    for each in (
        add_account_member, update_account_member, remove_account_member, add_team_member,
        update_team_member, remove_team_member, set_account_status, archive_team, disable_user,
        create_grant, update_grant, revoke_grant, restricted,
    )
}  # fmt: skip
