"""The world as it is in the store, row by row: no index, no cache, no evaluator."""

from __future__ import annotations

from typing import Any

from workspace.common.v1.permission_pb2 import Permission
from workspace.identity.v1.account_pb2 import AccountRole, AccountStatus, MemberStatus
from workspace.identity.v1.team_pb2 import TeamRole, TeamScopeType, TeamStatus
from workspace.identity.v1.user_pb2 import UserStatus
from workspace.project.v1.grant_pb2 import GrantSource, GrantStatus, GrantTargetType
from workspace.project.v1.project_pb2 import ProjectStatus

from services.model.families import FAMILIES
from services.model.indexes import Index
from services.records.port import Key
from tests.harness import Workspace
from tests.worlds.making import Cast
from tests.worlds.oracle import Account, Grant, Member, Project, Team, World

__all__ = ["stored_world", "word"]


def word(enum: Any, prefix: str, value: int) -> str:
    """`ACCOUNT_STATUS_ACTIVE` -> `active`; unknown numbers as themselves."""
    if value not in enum.values():
        return f"unknown_{value}"
    return str(enum.Name(value)).removeprefix(prefix).lower()


async def stored_world(ws: Workspace, cast: Cast) -> World:
    """What is stored now of the cast."""
    world = World()
    for user_id in cast.users:
        row = await _row(ws, "user", f"USER#{user_id}")
        status = word(UserStatus, "USER_STATUS_", row.status) if row else "none"
        world.users[user_id] = status
    for account_id in [*cast.accounts, *cast.workspaces]:
        await _account(ws, world, account_id)
    for team_id in cast.teams:
        await _team(ws, world, team_id)
    for project_id in cast.projects:
        await _project(ws, world, project_id)
    return world


async def _row(ws: Workspace, family: str, pk: str) -> Any:
    record = await ws.records.get(FAMILIES[family], Key(pk, pk))
    return record.message if record else None


async def _rows(ws: Workspace, family: str, pk: str, prefix: str) -> list[Any]:
    page = await ws.records.query(FAMILIES[family], Index.BASE, pk, prefix=prefix, limit=500)
    assert page.next is None
    return [record.message for record in page.records]


def _member_status(value: int) -> str:
    return word(MemberStatus, "MEMBER_STATUS_", value)


async def _account(ws: Workspace, world: World, account_id: str) -> None:
    pk = f"ACCOUNT#{account_id}"
    row = await _row(ws, "account", pk)
    if row is None:
        return
    account = Account(word(AccountStatus, "ACCOUNT_STATUS_", row.status), row.type == "personal")
    for each in await _rows(ws, "account_member", pk, "MEMBER#"):
        account.members[each.user_id] = Member(
            _member_status(each.status), word(AccountRole, "ACCOUNT_ROLE_", each.role)
        )
    world.accounts[account_id] = account


async def _team(ws: Workspace, world: World, team_id: str) -> None:
    pk = f"TEAM#{team_id}"
    row = await _row(ws, "team", pk)
    team = Team(
        word(TeamStatus, "TEAM_STATUS_", row.status),
        word(TeamScopeType, "TEAM_SCOPE_TYPE_", row.scope_type),
        row.account_id,
        row.workspace_id,
    )
    for each in await _rows(ws, "team_member", pk, "MEMBER#"):
        team.members[each.user_id] = Member(
            _member_status(each.status), word(TeamRole, "TEAM_ROLE_", each.role), each.guest
        )
    world.teams[team_id] = team


async def _project(ws: Workspace, world: World, project_id: str) -> None:
    pk = f"PROJECT#{project_id}"
    row = await _row(ws, "project", pk)
    project = Project(
        row.account_id, row.workspace_id, row.team_id, row.restricted,
        word(ProjectStatus, "PROJECT_STATUS_", row.status),
    )
    for each in await _rows(ws, "project_grant", pk, "GRANT#"):
        project.grants.append(
            Grant(
                each.grant_id,
                word(GrantTargetType, "GRANT_TARGET_TYPE_", each.target_type),
                each.target_id,
                frozenset(word(Permission, "PERMISSION_", each_) for each_ in each.permissions),
                word(GrantStatus, "GRANT_STATUS_", each.status),
                each.expires_at.ToNanoseconds() / 1e9 if each.HasField("expires_at") else None,
                word(GrantSource, "GRANT_SOURCE_", each.source),
            )
        )
    world.projects[project_id] = project
