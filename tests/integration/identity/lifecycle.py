"""Scenes of accounts, projects and users that end: projects, due work, all rows."""

from __future__ import annotations

from typing import Any

from workspace.identity.v1 import account_pb2 as ac
from workspace.identity.v1 import account_service_pb2 as acs
from workspace.identity.v1 import identity_service_pb2 as ids
from workspace.project.v1 import grant_pb2 as gr
from workspace.project.v1 import grant_service_pb2 as gs
from workspace.project.v1 import project_service_pb2 as ps
from workspace.project.v1.grant_service_pb2_grpc import GrantServiceStub
from workspace.project.v1.project_service_pb2_grpc import ProjectServiceStub

from services.records.port import Item, Key
from tests.harness import Workspace
from tests.integration.identity.people import People


def projects(ws: Workspace, email: str) -> Any:
    return ws.stub(ProjectServiceStub, as_=email)


def grants(ws: Workspace, email: str) -> Any:
    return ws.stub(GrantServiceStub, as_=email)


async def new_project(ws: Workspace, email: str, **home: Any) -> str:
    if not home:
        session = await People(ws).identity(email).GetSession(ids.GetSessionRequest())
        home = {"workspace_id": session.session.user.personal_workspace_id}
    request = ps.CreateProjectRequest(name="Bridge", **home)
    return str((await projects(ws, email).CreateProject(request)).project.project_id)


async def give(
    ws: Workspace, by: str, project_id: str, user_id: str, *permissions: Any, **more: Any
) -> str:
    request = gs.CreateGrantRequest(
        project_id=project_id,
        target_type=gr.GRANT_TARGET_TYPE_USER,
        target_id=user_id,
        permissions=permissions,
        **more,
    )
    return str((await grants(ws, by).CreateGrant(request)).grant.grant_id)


async def owners_of(ws: Workspace, by: str, project_id: str) -> set[str]:
    answer = await grants(ws, by).ListGrants(gs.ListGrantsRequest(project_id=project_id))
    return {g.target_id for g in answer.grants if list(g.permissions) == [6]}


async def set_status(people: People, by: str, account_id: str, name: str) -> ac.Account:
    status = ac.AccountStatus.Value(f"ACCOUNT_STATUS_{name}")
    request = acs.SetAccountStatusRequest(account_id=account_id, status=status)
    return (await people.accounts(by).SetAccountStatus(request)).account


async def export_account(people: People, by: str, account_id: str, size: int = 50) -> list[Any]:
    found, token = list[Any](), ""
    while True:
        page = await people.accounts(by).ExportAccountData(
            acs.ExportAccountDataRequest(account_id=account_id, page_size=size, page_token=token)
        )
        found += page.records
        token = page.next_page_token
        if not token:
            return found


async def run_due(ws: Workspace, kind: str, subject: str, *, times: int = 50) -> float | None:
    """Run a handler until it has nothing to do now."""
    handlers = {k: h for module in ws.process.modules for k, h in module.due.items()}
    for _ in range(times):
        again = await handlers[kind](subject)
        if again is None or again > ws.process.kernel.now() + 1:
            return again
    raise AssertionError("the due work never comes to an end")


async def all_rows(ws: Workspace) -> list[Item]:
    rows, after = list[Item](), None
    while True:
        page = await ws.records.scan(after, 500)
        if not page:
            return rows
        rows += page
        after = Key(page[-1].key.pk, page[-1].key.sk)
