"""A grant is widened under the rules by which it could be given."""

from __future__ import annotations

from pathlib import Path

import grpc.aio
import pytest
from google.protobuf.field_mask_pb2 import FieldMask
from workspace.common.v1.permission_pb2 import Permission, PermissionPreset
from workspace.identity.v1.account_service_pb2 import CreateAccountRequest
from workspace.identity.v1.account_service_pb2_grpc import AccountServiceStub
from workspace.project.v1.grant_pb2 import Grant, GrantTargetType
from workspace.project.v1.grant_service_pb2 import CreateGrantRequest, UpdateGrantRequest
from workspace.project.v1.grant_service_pb2_grpc import GrantServiceStub
from workspace.project.v1.project_service_pb2 import CreateProjectRequest
from workspace.project.v1.project_service_pb2_grpc import ProjectServiceStub

from tests.harness import Workspace

ANN, CAROL, DAVE = "ann@example.com", "carol@example.com", "dave@example.com"
VIEW, WRITE = Permission.PERMISSION_VIEW, Permission.PERMISSION_WRITE


async def give(ws: Workspace, project_id: str, target_id: str, preset: int) -> Grant:
    answer = await ws.stub(GrantServiceStub, as_=ANN).CreateGrant(
        CreateGrantRequest(
            project_id=project_id,
            target_type=GrantTargetType.GRANT_TARGET_TYPE_USER,
            target_id=target_id,
            preset=preset,
        )
    )
    return answer.grant


async def change(ws: Workspace, who: str, grant: Grant, *permissions: int) -> Grant:
    wanted = Grant(
        project_id=grant.project_id, grant_id=grant.grant_id, permissions=permissions
    )
    answer = await ws.stub(GrantServiceStub, as_=who).UpdateGrant(
        UpdateGrantRequest(grant=wanted, update_mask=FieldMask(paths=["permissions"]))
    )
    return answer.grant


@pytest.mark.case("G01")
async def test_a_guest_manager_widens_no_grant_of_another_guest(tmp_path: Path) -> None:
    """Giving outside the account needs share_project; so does giving more."""
    async with Workspace.open(tmp_path) as ws:
        await ws.sign_in(ANN)
        carol, dave = await ws.sign_in(CAROL), await ws.sign_in(DAVE)
        account = await ws.stub(AccountServiceStub, as_=ANN).CreateAccount(
            CreateAccountRequest(name="Firm", type="client_org")
        )
        project = await ws.stub(ProjectServiceStub, as_=ANN).CreateProject(
            CreateProjectRequest(name="Plans", account_id=account.account.account_id)
        )
        project_id = project.project.project_id
        await give(ws, project_id, carol, PermissionPreset.PERMISSION_PRESET_MANAGER)
        daves = await give(ws, project_id, dave, PermissionPreset.PERMISSION_PRESET_COMMENTER)

        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await change(ws, CAROL, daves, VIEW, WRITE)
        assert refused.value.code() is grpc.StatusCode.PERMISSION_DENIED
        narrowed = await change(ws, CAROL, daves, VIEW)
        assert list(narrowed.permissions) == [VIEW]
        widened = await change(ws, ANN, daves, VIEW, WRITE)
        assert WRITE in widened.permissions


async def test_a_foreign_account_looks_like_one_that_is_not_there(tmp_path: Path) -> None:
    async with Workspace.open(tmp_path) as ws:
        await ws.sign_in(ANN)
        await ws.sign_in(CAROL)
        foreign = await ws.stub(AccountServiceStub, as_=CAROL).CreateAccount(
            CreateAccountRequest(name="Theirs", type="client_org")
        )
        project = await ws.stub(ProjectServiceStub, as_=ANN).CreateProject(
            CreateProjectRequest(name="Mine")
        )
        answers = []
        for target_id in (foreign.account.account_id, "a_nowhere"):
            with pytest.raises(grpc.aio.AioRpcError) as refused:
                await ws.stub(GrantServiceStub, as_=ANN).CreateGrant(
                    CreateGrantRequest(
                        project_id=project.project.project_id,
                        target_type=GrantTargetType.GRANT_TARGET_TYPE_ACCOUNT,
                        target_id=target_id,
                        preset=PermissionPreset.PERMISSION_PRESET_VIEWER,
                    )
                )
            text = (refused.value.details() or "").replace(target_id, "?")
            answers.append((refused.value.code(), text))
        assert answers[0] == answers[1]
