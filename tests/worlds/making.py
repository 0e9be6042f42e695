"""Random worlds, written straight into the store."""

from __future__ import annotations

import random
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

from google.protobuf.timestamp_pb2 import Timestamp
from workspace.common.v1.permission_pb2 import Permission
from workspace.identity.v1.account_pb2 import (
    Account,
    AccountMember,
    AccountRole,
    AccountStatus,
    MemberStatus,
)
from workspace.identity.v1.team_pb2 import (
    Team,
    TeamMember,
    TeamRole,
    TeamScopeType,
    TeamStatus,
)
from workspace.identity.v1.user_pb2 import PlatformAdmin, User, UserStatus
from workspace.project.v1.grant_pb2 import Grant, GrantSource, GrantStatus, GrantTargetType
from workspace.project.v1.project_pb2 import Project, ProjectStatus

from services.model.families import FAMILIES
from services.model.indexes import Index
from services.records.port import Key
from services.records.record import Activity, Write
from tests.harness import Workspace

__all__ = ["Cast", "commit", "random_grant", "random_world", "timestamp"]

T = TypeVar("T")
DAY = 86_400.0
RIGHT_SETS = [[1], [2], [3], [4], [5], [6], [1, 2], [3, 4], [1, 4, 5], [2, 5], [5, 6], [3, 4, 5]]


@dataclass
class Cast:
    """The ids of one world. `people` can sign in (e-mail by user id); `ghosts` are
    users without a sign-in; `workspaces` the personal accounts of the people.

    `strange`: how often a row holds what no RPC of this version writes: zero states,
    unknown rights, a home that is not there; it could come from a peer. `of_teams`:
    a world of account teams with guests, to which alone everything is granted."""

    people: dict[str, str] = field(default_factory=dict)
    ghosts: list[str] = field(default_factory=list)
    accounts: list[str] = field(default_factory=list)
    workspaces: list[str] = field(default_factory=list)
    teams: list[str] = field(default_factory=list)
    projects: list[str] = field(default_factory=list)
    strange: float = 0.03
    of_teams: bool = False

    @property
    def users(self) -> list[str]:
        return [*self.people, *self.ghosts]

    @property
    def ids(self) -> list[str]:
        """Every id that a page token must not tell."""
        return [*self.users, *self.accounts, *self.workspaces, *self.teams, *self.projects]


def weighted(rng: random.Random, *choices: tuple[T, int]) -> T:
    return rng.choices([c for c, _ in choices], [w for _, w in choices])[0]


def timestamp(at: float) -> Timestamp:
    return Timestamp(seconds=int(at))


def member_status(rng: random.Random) -> MemberStatus.ValueType:
    return weighted(
        rng,
        (MemberStatus.MEMBER_STATUS_ACTIVE, 62),
        (MemberStatus.MEMBER_STATUS_SUSPENDED, 14),
        (MemberStatus.MEMBER_STATUS_REMOVED, 12),
        (MemberStatus.MEMBER_STATUS_INVITED, 10),
        (MemberStatus.MEMBER_STATUS_UNSPECIFIED, 2),
    )


def account_status(rng: random.Random) -> AccountStatus.ValueType:
    return weighted(
        rng,
        (AccountStatus.ACCOUNT_STATUS_ACTIVE, 70),
        (AccountStatus.ACCOUNT_STATUS_SUSPENDED, 12),
        (AccountStatus.ACCOUNT_STATUS_ARCHIVED, 15),
        (AccountStatus.ACCOUNT_STATUS_UNSPECIFIED, 3),
    )


def team_status(rng: random.Random) -> TeamStatus.ValueType:
    return weighted(
        rng,
        (TeamStatus.TEAM_STATUS_ACTIVE, 82),
        (TeamStatus.TEAM_STATUS_ARCHIVED, 15),
        (TeamStatus.TEAM_STATUS_UNSPECIFIED, 3),
    )


def user_status(rng: random.Random) -> UserStatus.ValueType:
    return weighted(
        rng,
        (UserStatus.USER_STATUS_ACTIVE, 80),
        (UserStatus.USER_STATUS_DISABLED, 17),
        (UserStatus.USER_STATUS_UNSPECIFIED, 3),
    )


def role(rng: random.Random, strange: float) -> AccountRole.ValueType:
    lowest = 0 if rng.random() < strange else 1
    return rng.choice(AccountRole.values()[lowest:])


async def commit(ws: Workspace, pk: str, messages: Sequence[Any]) -> str:
    """Write rows of one partition, new or changed; the consistency token."""
    writes = []
    for message in messages:
        family = next(f for f in FAMILIES.values() if isinstance(message, f.message))
        base = await _stored(ws, family, message)
        writes.append(Write(family, message, base=base))
    done = await ws.records.commit(pk, writes, activity=Activity("world.changed", "worlds/test"))
    token: str = ws.process.kernel.consistency.issue(done.pk, done.pseq, done.time_ms)
    return token


async def _stored(ws: Workspace, family: Any, message: Any) -> Any:
    return await ws.records.get(family, Key(*family.key_of(message)), deleted=True)


class _Maker:
    def __init__(self, ws: Workspace, rng: random.Random, name: str, cast: Cast) -> None:
        self.ws, self.rng, self.name, self.cast = ws, rng, name, cast

    def new_id(self, prefix: str) -> str:
        """In no order that anything could rest on."""
        return f"{prefix}_{self.rng.getrandbits(48):012x}{self.name}"

    async def people(self, count: int) -> None:
        for number in range(count):
            email = f"{self.name}.{number}@example.com"
            user_id = await self.ws.sign_in(email)
            self.cast.people[user_id] = email
            page = await self.ws.records.query(
                FAMILIES["account_member"], Index.USER, f"USER#{user_id}",
                prefix="MEMBER#ACCOUNT#",
            )
            self.cast.workspaces.append(page.records[0].message.account_id)
        for _ in range(2):
            user_id = self.new_id("u")
            row = User(user_id=user_id, status=user_status(self.rng))
            await commit(self.ws, f"USER#{user_id}", [row])
            self.cast.ghosts.append(user_id)

    async def account(self, *, tidy: bool) -> None:
        """`tidy`: an active one, owned by the first person."""
        rng, account_id = self.rng, self.new_id("a")
        self.cast.accounts.append(account_id)
        if not tidy and rng.random() < self.cast.strange:
            return  # named by others, but not there
        rows: list[Any] = []
        first = next(iter(self.cast.people))
        for user in self.cast.users:
            own = AccountMember(
                account_id=account_id, user_id=user, role=role(rng, self.cast.strange),
                status=self._standing(),
            )
            if tidy and user == first:
                own.role = AccountRole.ACCOUNT_ROLE_OWNER
                own.status = MemberStatus.MEMBER_STATUS_ACTIVE
            if rng.random() < (0.85 if self.cast.of_teams else 0.6) or (tidy and user == first):
                rows.append(own)
        status = AccountStatus.ACCOUNT_STATUS_ACTIVE if tidy else account_status(rng)
        if self.cast.of_teams and not tidy:
            status = rng.choice(AccountStatus.values()[2:])
        owner = next((r.user_id for r in rows if r.role == 1), first)
        row = Account(
            account_id=account_id, name="Firm", type="client_org", status=status,
            owner_user_id=owner,
        )
        await commit(self.ws, f"ACCOUNT#{account_id}", [row, *rows])

    def _standing(self) -> MemberStatus.ValueType:
        """In an account; in a world of teams each as likely."""
        if self.cast.of_teams:
            return self.rng.choice(MemberStatus.values())
        return member_status(self.rng)

    async def team(self) -> None:
        rng, team_id = self.rng, self.new_id("t")
        self.cast.teams.append(team_id)
        scope = rng.choice([*TeamScopeType.values()[1:], TeamScopeType.TEAM_SCOPE_TYPE_ACCOUNT])
        if self.cast.of_teams:
            scope = TeamScopeType.TEAM_SCOPE_TYPE_ACCOUNT
        people = list(self.cast.people)
        root = rng.choice(people)
        row = Team(
            team_id=team_id, name="Crew", status=team_status(rng), scope_type=scope,
            root_admin_user_id=root,
        )
        if scope == TeamScopeType.TEAM_SCOPE_TYPE_ACCOUNT:
            row.account_id = rng.choice(self.cast.accounts)
        elif scope == TeamScopeType.TEAM_SCOPE_TYPE_PERSONAL_WORKSPACE:
            row.workspace_id = self.cast.workspaces[people.index(root)]
        members = []
        for user in self.cast.users:
            if rng.random() < (0.9 if self.cast.of_teams else 0.55) or user == root:
                own = TeamMember(
                    team_id=team_id, user_id=user, status=member_status(rng),
                    role=rng.choice(TeamRole.values()[1:]),
                    guest=bool(row.account_id) and rng.random() < 0.5,
                )
                if self.cast.of_teams and rng.random() < 0.5:
                    own.status = MemberStatus.MEMBER_STATUS_ACTIVE
                members.append(own)
        await commit(self.ws, f"TEAM#{team_id}", [row, *members])

    async def project(self) -> None:
        rng, project_id = self.rng, self.new_id("p")
        self.cast.projects.append(project_id)
        people = list(self.cast.people)
        row = Project(
            project_id=project_id, name="Plan", created_by=rng.choice(people),
            restricted=rng.random() < 0.5,
            status=weighted(
                rng,
                (ProjectStatus.PROJECT_STATUS_ACTIVE, 8),
                (ProjectStatus.PROJECT_STATUS_ARCHIVED, 1),
                (ProjectStatus.PROJECT_STATUS_TRASHED, 1),
            ),
        )
        if rng.random() < (0.1 if self.cast.of_teams else 0.7):
            row.account_id = rng.choice(self.cast.accounts)
        else:
            row.workspace_id = rng.choice(self.cast.workspaces)
        rows: list[Any] = [row]
        if rng.random() < 0.85:
            rows.append(
                Grant(
                    grant_id=self.new_id("g"), project_id=project_id, target_id=row.created_by,
                    target_type=GrantTargetType.GRANT_TARGET_TYPE_USER,
                    permissions=[Permission.PERMISSION_OWNER],
                    source=GrantSource.GRANT_SOURCE_OWNER_DEFAULT,
                    status=GrantStatus.GRANT_STATUS_ACTIVE,
                )
            )
        rows += [
            random_grant(rng, self.cast, project_id, self.new_id("g"))
            for _ in range(rng.choice([0, 1, 2, 3, 5]))
        ]
        await commit(self.ws, f"PROJECT#{project_id}", rows)


def random_grant(rng: random.Random, cast: Cast, project_id: str, grant_id: str) -> Grant:
    """A grant to anybody of the world, in any state."""
    kind = 2 if cast.of_teams else rng.choice([1, 1, 2, 2, 3])
    targets: dict[int, list[str]] = {
        1: cast.users, 2: cast.teams or ["t_none"], 3: [*cast.accounts, *cast.workspaces[:1]]
    }
    grant = Grant(
        grant_id=grant_id, project_id=project_id, target_type=kind,  # type: ignore[arg-type]
        target_id=rng.choice(targets[kind]),
        permissions=rng.choice(RIGHT_SETS),  # type: ignore[arg-type]
        status=weighted(rng, (GrantStatus.GRANT_STATUS_ACTIVE, 85),
                        (GrantStatus.GRANT_STATUS_REVOKED, 15)),
        source=rng.choice(GrantSource.values()[1:]),
    )
    if rng.random() < 0.35:
        days = rng.choice([-30, -1, 1, 30])
        grant.expires_at.CopyFrom(timestamp(time.time() + days * DAY))
    if rng.random() < cast.strange:
        strange: list[Any] = [("permissions", [7]), ("permissions", []), ("status", 0),
                              ("status", 9), ("target_type", 0)]
        name, value = rng.choice(strange)
        if name == "permissions":
            del grant.permissions[:]
            grant.permissions.extend(value)
        else:
            setattr(grant, name, value)
    return grant


async def random_world(
    ws: Workspace,
    rng: random.Random,
    name: str,
    *,
    people: int = 5,
    projects: int = 6,
    strange: float = 0.03,
    of_teams: bool = False,
) -> Cast:
    """Make a world of its own (ids hold `name`) and say whom and what it has."""
    maker = _Maker(ws, rng, name, Cast(strange=strange, of_teams=of_teams))
    await maker.people(people)
    first = next(iter(maker.cast.people))
    await commit(ws, "PLATFORM", [PlatformAdmin(user_id=first)])
    for number in range(rng.choice([2, 3])):
        await maker.account(tidy=number == 0)
    for _ in range(rng.choice([2, 3, 4])):
        await maker.team()
    for _ in range(rng.randint(projects - 2, projects)):
        await maker.project()
    for user_id in list(maker.cast.people)[2:]:
        if rng.random() < 0.15:
            await change_user(ws, user_id, UserStatus.USER_STATUS_DISABLED)
    return maker.cast


async def change_user(ws: Workspace, user_id: str, status: int) -> str:
    row = (await ws.records.get(FAMILIES["user"], Key(f"USER#{user_id}", f"USER#{user_id}"))).edit()
    row.status = status
    return await commit(ws, f"USER#{user_id}", [row])
