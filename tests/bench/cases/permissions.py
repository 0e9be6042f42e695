"""Permission checks by the null RPC of the same process.

The world: an account with a team, 100 projects that are assigned to the team,
each with two grants; bob is in the team and asks about himself.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass

from google.protobuf import empty_pb2
from workspace.common.v1.permission_pb2 import Permission
from workspace.identity.v1.account_pb2 import AccountRole
from workspace.identity.v1.account_service_pb2 import AddAccountMemberRequest, CreateAccountRequest
from workspace.identity.v1.account_service_pb2_grpc import AccountServiceStub
from workspace.identity.v1.team_pb2 import TeamRole
from workspace.identity.v1.team_service_pb2 import AddTeamMemberRequest, CreateTeamRequest
from workspace.identity.v1.team_service_pb2_grpc import TeamServiceStub
from workspace.project.v1.grant_pb2 import GrantTargetType
from workspace.project.v1.grant_service_pb2 import CreateGrantRequest
from workspace.project.v1.grant_service_pb2_grpc import GrantServiceStub
from workspace.project.v1.permission_service_pb2 import (
    BatchCheckPermissionsRequest,
    CheckItem,
    CheckPermissionRequest,
)
from workspace.project.v1.permission_service_pb2_grpc import PermissionServiceStub

from tests.bench.case import Bench
from tests.bench.figures import Figure, Goal, Result, interleave
from tests.bench.load import Call, PythonLoad
from tests.bench.null_service import METHOD
from tests.bench.people import Person, each, signed_in
from tests.bench.servers import Server, workspace

TITLE = "Permission checks, by the null RPC through the same interceptors"
_SERVICE = "/workspace.project.v1.PermissionService"
_PROJECTS = 100
_CALLS = 2000
_BATCH = 500
_BATCHES = 30
_SEQUENTIAL = 300
_US = 1e6


@dataclass(frozen=True, slots=True)
class _World:
    token: str
    projects: Sequence[str]


def run(bench: Bench) -> Result:
    """Calls per second, 32 callers; and microseconds a check in batches of
    500, one caller after the other (a null RPC is then the control)."""
    with workspace(bench.folder) as server:
        world = asyncio.run(_build(server))
        single = _single(bench, server, world)
        batch = _batch(bench, server, world)
    figures = [
        Figure(
            "CheckPermission", "calls/s", "null RPC",
            single["check"], single["null"], goal=Goal("ratio", at_least=0.85),
        ),
        Figure(
            "BatchCheckPermissions of 500", "us/check", "one null RPC",
            batch["batch"], batch["null"], more_is_better=False,
            goal=Goal("value", at_most=10),
        ),
    ]
    return Result(figures, bench.skipped)


def _single(bench: Bench, server: Server, world: _World) -> dict[str, list[float]]:
    check = CheckPermissionRequest(
        project_id=world.projects[0], permission=Permission.PERMISSION_VIEW
    )
    null = Call(server.grpc, METHOD, empty_pb2.Empty(), _CALLS, bearer=world.token)
    ours = Call(server.grpc, f"{_SERVICE}/CheckPermission", check, _CALLS, bearer=world.token)
    sides = {"null": lambda: bench.load.rate(null), "check": lambda: bench.load.rate(ours)}
    return interleave(bench.rounds, sides)


def _batch(bench: Bench, server: Server, world: _World) -> dict[str, list[float]]:
    """One caller leaves the client idle while the server works: Python does."""
    permissions = [value for value in Permission.values() if value][: _BATCH // _PROJECTS]
    items = [
        CheckItem(project_id=project, permission=permission)
        for permission in permissions
        for project in world.projects
    ]
    request = BatchCheckPermissionsRequest(items=items)
    batch = Call(
        server.grpc, f"{_SERVICE}/BatchCheckPermissions", request, _BATCHES, 1, world.token
    )
    null = Call(server.grpc, METHOD, empty_pb2.Empty(), _SEQUENTIAL, 1, world.token)
    client = PythonLoad()
    return interleave(
        bench.rounds,
        {
            "null": lambda: _US / client.rate(null),
            "batch": lambda: _US / client.rate(batch) / len(items),
        },
    )


async def _build(server: Server) -> _World:
    async with signed_in(server, "ann@example.com", "bob@example.com", "eve@example.com") as people:
        ann, bob, eve = people
        account_id, team_id = await _team(ann, bob)

        async def project(number: int) -> str:
            project_id = await ann.project(f"project {number}", account_id, team_id)
            await _grant(ann, project_id, bob.user_id, Permission.PERMISSION_COMMENT)
            await _grant(ann, project_id, eve.user_id, Permission.PERMISSION_WRITE)
            return project_id

        projects = await each(project, range(_PROJECTS))
        await _verify(bob, projects[0])
        return _World(bob.token, projects)


async def _team(ann: Person, bob: Person) -> tuple[str, str]:
    """A new account of ann with bob as a viewer, and a team there with bob."""
    accounts, teams = ann.stub(AccountServiceStub), ann.stub(TeamServiceStub)
    account = await accounts.CreateAccount(CreateAccountRequest(name="bench", type="company"))
    account_id = account.account.account_id
    await accounts.AddAccountMember(
        AddAccountMemberRequest(
            account_id=account_id, user_id=bob.user_id, role=AccountRole.ACCOUNT_ROLE_VIEWER
        )
    )
    team = await teams.CreateTeam(CreateTeamRequest(account_id=account_id, name="bench"))
    await teams.AddTeamMember(
        AddTeamMemberRequest(
            team_id=team.team.team_id, user_id=bob.user_id, role=TeamRole.TEAM_ROLE_MEMBER
        )
    )
    return account_id, team.team.team_id


async def _grant(ann: Person, project_id: str, user_id: str, permission: int) -> None:
    await ann.stub(GrantServiceStub).CreateGrant(
        CreateGrantRequest(
            project_id=project_id, target_id=user_id, permissions=[permission],  # type: ignore[list-item]
            target_type=GrantTargetType.GRANT_TARGET_TYPE_USER,
        )
    )


async def _verify(bob: Person, project_id: str) -> None:
    """A fast denial would be the wrong thing to measure."""
    check = bob.stub(PermissionServiceStub).CheckPermission
    answer = await check(
        CheckPermissionRequest(project_id=project_id, permission=Permission.PERMISSION_VIEW)
    )
    if not answer.allowed:
        raise RuntimeError("the world of the benchmark is wrong: bob may not view the project")
