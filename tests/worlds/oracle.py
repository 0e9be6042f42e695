"""Who may do what: a second evaluator, from the text of model.md ("Roles and permissions").

It shares nothing with `services.model.permissions`: words instead of numbers, whole
tables instead of the facts of one decision, and no short cuts.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

__all__ = [
    "RIGHTS",
    "Account",
    "Grant",
    "Member",
    "Project",
    "Reason",
    "Team",
    "World",
    "accessible",
    "people",
    "readable",
    "reasons",
    "rights",
]

RIGHTS = ("view", "comment", "review", "write", "manage_access", "owner")

FALLBACK = {
    "owner": "view comment review write manage_access",
    "account_admin": "view comment review write manage_access",
    "administrator": "view comment review write manage_access",
    "editor": "view comment review write",
    "viewer": "view",
}


@dataclass
class Member:
    """A user in an account or a team. `role` as the contract names it."""

    status: str
    role: str = ""
    guest: bool = False


@dataclass
class Account:
    status: str
    personal: bool = False
    members: dict[str, Member] = field(default_factory=dict)


@dataclass
class Team:
    status: str
    scope: str
    account_id: str = ""
    workspace_id: str = ""
    members: dict[str, Member] = field(default_factory=dict)


@dataclass
class Grant:
    """`rights` as stored, not expanded; `ends`: unix seconds, None = never."""

    grant_id: str
    kind: str
    target: str
    rights: frozenset[str]
    status: str = "active"
    ends: float | None = None
    source: str = "direct"


@dataclass
class Project:
    account_id: str = ""
    workspace_id: str = ""
    team_id: str = ""
    restricted: bool = False
    status: str = "active"
    grants: list[Grant] = field(default_factory=list)


@dataclass
class World:
    """Everything that decisions rest on, by id; `users` has the status of each."""

    users: dict[str, str] = field(default_factory=dict)
    accounts: dict[str, Account] = field(default_factory=dict)
    teams: dict[str, Team] = field(default_factory=dict)
    projects: dict[str, Project] = field(default_factory=dict)


@dataclass(frozen=True)
class Reason:
    """One of the five rules giving something. `grant_id` '' is the fallback."""

    rule: str
    grant_id: str
    rights: frozenset[str]


def expanded(given: Iterable[str]) -> frozenset[str]:
    """`owner` expands to all; any permission implies `view`."""
    known = {right for right in given if right in RIGHTS}
    if "owner" in known:
        return frozenset(RIGHTS)
    return frozenset(known | {"view"}) if known else frozenset()


def counts_as_active(world: World, account_id: str) -> bool:
    """Active, or archived: "it counts as active in 2-4"."""
    account = world.accounts.get(account_id)
    return account is not None and account.status in {"active", "archived"}


def standing(members: dict[str, Member], user: str) -> str:
    return members[user].status if user in members else "none"


def in_account(world: World, user: str, account_id: str) -> bool:
    if not counts_as_active(world, account_id):
        return False
    return standing(world.accounts[account_id].members, user) == "active"


def in_team(world: World, user: str, team_id: str) -> bool:
    """Rule 2: who is reached by a grant to the team."""
    team = world.teams.get(team_id)
    if team is None or team.status != "active":
        return False
    if standing(team.members, user) != "active":
        return False
    if team.scope != "account":
        return True
    if not counts_as_active(world, team.account_id):
        return False
    place = standing(world.accounts[team.account_id].members, user)
    if place == "active":
        return True
    # Suspending a member mutes what the account gives, its teams included: he is
    # still a member. Who was only invited or has left is none.
    return place != "suspended" and team.members[user].guest


def in_force(grant: Grant, now: float) -> bool:
    """A grant ends at `expires_at` by server time."""
    return grant.status == "active" and (grant.ends is None or now < grant.ends)


def reaches(world: World, grant: Grant, user: str) -> bool:
    match grant.kind:
        case "user":
            return grant.target == user
        case "team":
            return in_team(world, user, grant.target)
        case "account":
            return in_account(world, user, grant.target)
        case _:
            return False


def reasons(world: World, user: str, project_id: str, now: float) -> list[Reason]:
    """All that gives the user something, before what takes from all together."""
    project, found = world.projects[project_id], list[Reason]()
    for grant in project.grants:
        if not in_force(grant, now) or not reaches(world, grant, user):
            continue
        # Owner grants are for users only.
        given = grant.rights if grant.kind == "user" else grant.rights - {"owner"}
        if expanded(given):
            rule = f"{grant.kind}_grant"
            if grant.kind == "user" and grant.source == "owner_default":
                rule = "owner_grant"
            found.append(Reason(rule, grant.grant_id, expanded(given)))
    if project.account_id and not project.restricted:
        given = frozenset(fallback(world, user, project.account_id).split())
        if given:
            found.append(Reason("account_fallback", "", given))
    return found


def fallback(world: World, user: str, account_id: str) -> str:
    """Rule 4: what the role in the account gives."""
    if not in_account(world, user, account_id):
        return ""
    return FALLBACK.get(world.accounts[account_id].members[user].role, "")


def rights(world: World, user: str, project_id: str, now: float) -> frozenset[str]:
    """The effective permissions."""
    if project_id not in world.projects or world.users.get(user) != "active":
        return frozenset()
    home = home_status(world, project_id)
    if home not in {"active", "archived"}:
        return frozenset()
    held = frozenset[str]().union(*(r.rights for r in reasons(world, user, project_id, now)))
    return held & {"view"} if home == "archived" else held


def home_status(world: World, project_id: str) -> str:
    project = world.projects[project_id]
    home = world.accounts.get(project.account_id or project.workspace_id)
    return home.status if home else "none"


def readable(world: World, user: str, project_id: str, now: float) -> bool:
    """GetProject: `view`, or an owner of the suspended home who could view it were
    the account not suspended."""
    if "view" in rights(world, user, project_id, now):
        return True
    if home_status(world, project_id) != "suspended":
        return False
    project = world.projects[project_id]
    home_id = project.account_id or project.workspace_id
    home = world.accounts[home_id]
    mine = home.members.get(user)
    if mine is None or (mine.status, mine.role) != ("active", "owner"):
        return False
    opened = Account("active", home.personal, home.members)
    other = World(world.users, {**world.accounts, home_id: opened}, world.teams, world.projects)
    return "view" in rights(other, user, project_id, now)


def accessible(world: World, user: str, now: float, right: str = "view") -> list[str]:
    """Projects on which the user holds the right, in order of id."""
    return sorted(p for p in world.projects if right in rights(world, user, p, now))


def people(world: World, project_id: str, now: float, right: str = "view") -> list[str]:
    """Users who hold the right on the project, in order of id."""
    return sorted(u for u in world.users if right in rights(world, u, project_id, now))
