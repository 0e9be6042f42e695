"""The project services beside the real identity, over a socket and over HTTP."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from google.protobuf.field_mask_pb2 import FieldMask
from workspace.common.v1.permission_pb2 import Permission
from workspace.identity.v1.account_pb2 import Account
from workspace.identity.v1.account_service_pb2 import CreateAccountRequest, UpdateAccountRequest
from workspace.identity.v1.account_service_pb2_grpc import AccountServiceStub
from workspace.project.v1 import grant_service_pb2 as grants
from workspace.project.v1 import permission_service_pb2 as permissions
from workspace.project.v1 import project_service_pb2 as pb
from workspace.project.v1.grant_pb2 import GrantTargetType
from workspace.project.v1.grant_service_pb2_grpc import GrantServiceStub
from workspace.project.v1.permission_service_pb2_grpc import PermissionServiceStub
from workspace.project.v1.project_service_pb2_grpc import ProjectServiceStub

from tests.harness import Workspace
from tests.integration.project.world import refused

ANN, BOB = "ann@example.com", "bob@example.com"


@pytest.fixture
async def ws(tmp_path: Path) -> AsyncIterator[Workspace]:
    async with Workspace.open(tmp_path) as opened:
        await opened.sign_in(ANN)
        await opened.sign_in(BOB)
        yield opened


async def test_a_project_is_shared_and_taken_back(ws: Workspace) -> None:
    bob = await ws.sign_in(BOB)
    anns, bobs = (
        ws.socket_stub(ProjectServiceStub, as_=ANN),
        ws.socket_stub(ProjectServiceStub, as_=BOB),
    )
    project = (await anns.CreateProject(pb.CreateProjectRequest(name="Plan"))).project
    assert project.workspace_id
    wanted = pb.GetProjectRequest(project_id=project.project_id)
    assert (await refused(bobs.GetProject(wanted))).reason == "PERMISSION_DENIED"
    grant = (
        await ws.socket_stub(GrantServiceStub, as_=ANN).CreateGrant(
            grants.CreateGrantRequest(
                project_id=project.project_id,
                target_type=GrantTargetType.GRANT_TARGET_TYPE_USER,
                target_id=bob,
                permissions=[Permission.PERMISSION_COMMENT],
            )
        )
    ).grant
    seen = (await bobs.GetProject(wanted)).project
    assert list(seen.my_permissions) == [
        Permission.PERMISSION_VIEW,
        Permission.PERMISSION_COMMENT,
    ]
    listed = await bobs.ListProjects(pb.ListProjectsRequest())
    assert [p.project_id for p in listed.projects] == [project.project_id]
    checked = await ws.socket_stub(PermissionServiceStub, as_=ANN).CheckPermission(
        permissions.CheckPermissionRequest(
            project_id=project.project_id, permission=Permission.PERMISSION_WRITE, user_id=bob
        )
    )
    assert checked.allowed is False
    await ws.socket_stub(GrantServiceStub, as_=ANN).RevokeGrant(
        grants.RevokeGrantRequest(project_id=project.project_id, grant_id=grant.grant_id)
    )
    assert (await refused(bobs.GetProject(wanted))).reason == "PERMISSION_DENIED"
    assert not (await bobs.ListProjects(pb.ListProjectsRequest())).projects


async def test_a_project_moves_into_an_account(ws: Workspace) -> None:
    account = (
        await ws.stub(AccountServiceStub, as_=ANN).CreateAccount(
            CreateAccountRequest(name="One", type="client_org")
        )
    ).account
    stub = ws.stub(ProjectServiceStub, as_=ANN)
    project = (await stub.CreateProject(pb.CreateProjectRequest(name="Plan"))).project
    moved = await stub.AssignProject(
        pb.AssignProjectRequest(project_id=project.project_id, account_id=account.account_id)
    )
    assert moved.project.account_id == account.account_id
    assert moved.project.restricted
    no = await refused(
        ws.stub(ProjectServiceStub, as_=BOB).CreateProject(
            pb.CreateProjectRequest(name="Mine", account_id=account.account_id)
        )
    )
    assert (no.reason, no.metadata["permission"]) == ("PERMISSION_DENIED", "create_project")


async def test_an_owner_from_outside_meets_the_hold_of_the_account(ws: Workspace) -> None:
    """He cannot read the account; its hold reaches him as a membership fact."""
    accounts = ws.stub(AccountServiceStub, as_=ANN)
    account = (
        await accounts.CreateAccount(CreateAccountRequest(name="One", type="client_org"))
    ).account
    project = (
        await ws.stub(ProjectServiceStub, as_=ANN).CreateProject(
            pb.CreateProjectRequest(name="Plan", account_id=account.account_id)
        )
    ).project
    given = await ws.stub(GrantServiceStub, as_=ANN).CreateGrant(
        grants.CreateGrantRequest(
            project_id=project.project_id,
            target_type=GrantTargetType.GRANT_TARGET_TYPE_USER,
            target_email=BOB,
            permissions=[Permission.PERMISSION_OWNER],
        )
    )
    assert given.grant.target_id == await ws.sign_in(BOB)
    hold = UpdateAccountRequest(
        account=Account(account_id=account.account_id, legal_hold=True),
        update_mask=FieldMask(paths=["legal_hold"]),
    )
    await accounts.UpdateAccount(hold)
    delete = pb.DeleteProjectRequest(project_id=project.project_id)
    no = await refused(ws.stub(ProjectServiceStub, as_=BOB).DeleteProject(delete))
    resource = f"accounts/{account.account_id}"
    assert (no.reason, no.metadata["resource"]) == ("HELD", resource)
    hold.account.legal_hold = False
    await accounts.UpdateAccount(hold)
    await ws.stub(ProjectServiceStub, as_=BOB).DeleteProject(delete)


async def test_the_gateway_answers_the_same(ws: Workspace) -> None:
    async with ws.client(as_=ANN) as ann, ws.client(as_=BOB) as bob:
        made = await ann.post("/api/projects", json={"name": "Plan"})
        assert made.status_code == 200, made.text
        project_id = made.json()["project"]["project_id"]
        shown = await ann.get(f"/api/projects/{project_id}")
        assert shown.json()["project"] == made.json()["project"]
        denied = await bob.get(f"/api/projects/{project_id}")
        assert denied.status_code == 403
