"""Who is removed from an account keeps nothing on its projects."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest
from google.protobuf.timestamp_pb2 import Timestamp
from workspace.common.v1.permission_pb2 import PERMISSION_COMMENT, PERMISSION_OWNER
from workspace.identity.v1 import identity_service_pb2 as ids
from workspace.project.v1 import grant_service_pb2 as gs
from workspace.project.v1 import permission_service_pb2 as pms
from workspace.project.v1 import project_service_pb2 as prs
from workspace.project.v1.grant_pb2 import (
    GRANT_STATUS_ACTIVE,
    GRANT_STATUS_REVOKED,
    GRANT_TARGET_TYPE_USER,
    Grant,
)
from workspace.project.v1.grant_service_pb2_grpc import GrantServiceStub
from workspace.project.v1.permission_service_pb2_grpc import PermissionServiceStub
from workspace.project.v1.project_service_pb2_grpc import ProjectServiceStub

import project_svc.grants.member_grants
from project_svc.grants.member_grants import MemberGrants
from services.model.errors import Reason, WorkspaceError
from services.records.store import RecordStore
from tests.harness import Workspace
from tests.integration.identity.people import (
    ANN,
    BOB,
    DAN,
    EDITOR,
    OWNER,
    REMOVED,
    VIEWER,
    People,
    new_request_id,
    refused,
)


class Scene(People):
    """An account of ann with bob in it, and projects."""

    async def enter(self, role: int = EDITOR) -> None:
        self.ann, self.bob, _ = await self.sign_in(ANN, BOB, DAN)
        self.account_id = await self.account(ANN, bob=role)

    async def project(self, by: str = ANN, **fields: Any) -> str:
        request = prs.CreateProjectRequest(
            **{"name": "Bridge", "account_id": self.account_id, "restricted": True} | fields
        )
        made = await self.ws.stub(ProjectServiceStub, as_=by).CreateProject(request)
        return str(made.project.project_id)

    async def give(self, project_id: str, permission: int = PERMISSION_COMMENT) -> None:
        await self.ws.stub(GrantServiceStub, as_=ANN).CreateGrant(
            gs.CreateGrantRequest(
                project_id=project_id,
                target_type=GRANT_TARGET_TYPE_USER,
                target_id=self.bob,
                permissions=[permission],
            )
        )

    async def held(self, project_id: str, user_id: str = "") -> list[int]:
        asked = pms.GetEffectivePermissionsRequest(
            project_id=project_id, user_id=user_id or self.bob
        )
        stub = self.ws.service_stub(PermissionServiceStub, service="identity_svc")
        answer = await stub.GetEffectivePermissions(asked)
        return list(answer.effective_permissions.permissions)

    async def visible(self, email: str = BOB) -> set[str]:
        stub = self.ws.stub(ProjectServiceStub, as_=email)
        return {p.project_id for p in (await stub.ListProjects(prs.ListProjectsRequest())).projects}

    async def grants(self, project_id: str, status: int) -> list[Grant]:
        answer = await self.ws.stub(GrantServiceStub, as_=ANN).ListGrants(
            gs.ListGrantsRequest(project_id=project_id, status=status)
        )
        return [grant for grant in answer.grants if grant.target_id == self.bob]

    async def revoke(self, **more: Any) -> gs.RevokeMemberGrantsResponse:
        stub = self.ws.service_stub(GrantServiceStub, service="identity_svc")
        return await stub.RevokeMemberGrants(  # type: ignore[no-any-return]
            gs.RevokeMemberGrantsRequest(
                account_id=self.account_id, user_id=self.bob, reason="test", **more
            )
        )


@pytest.fixture
async def scene(ws: Workspace) -> Scene:
    scene = Scene(ws)
    await scene.enter()
    return scene


async def test_nothing_on_the_accounts_projects_is_left(scene: Scene) -> None:
    some = [await scene.project() for _ in range(3)]
    await scene.give(some[0])
    await scene.give(some[1], PERMISSION_OWNER)
    elsewhere = await scene.project(account_id="")
    await scene.give(elsewhere)
    assert await scene.visible() == {*some[:2], elsewhere}
    await scene.remove(ANN, scene.account_id, BOB)
    assert [await scene.held(project_id) for project_id in some] == [[], [], []]
    assert await scene.visible() == {elsewhere}
    (row,) = await scene.grants(some[0], GRANT_STATUS_REVOKED)
    assert (row.revoked_by, row.revoke_reason) == (scene.ann, "account_member_removed")
    assert await scene.grants(elsewhere, GRANT_STATUS_ACTIVE)


async def test_leaving_oneself_is_the_same(scene: Scene) -> None:
    project_id = await scene.project()
    await scene.give(project_id)
    await scene.remove(BOB, scene.account_id, BOB)
    assert await scene.held(project_id) == []


@pytest.mark.case("G07")
async def test_the_last_enabled_owner_stays_and_is_named(scene: Scene) -> None:
    await scene.bootstrap(DAN)
    his, shared = await scene.project(by=BOB), await scene.project()
    await scene.give(shared, PERMISSION_OWNER)
    await scene.remove(ANN, scene.account_id, BOB)
    assert PERMISSION_OWNER in await scene.held(his)
    assert await scene.held(shared) == []
    again = await scene.revoke()
    assert (again.complete, again.revoked_count, again.kept_count) == (True, 0, 1)
    assert [(g.project_id, g.target_id) for g in again.kept] == [(his, scene.bob)]


async def test_a_disabled_co_owner_keeps_no_project(scene: Scene) -> None:
    await scene.bootstrap(DAN)
    project_id = await scene.project()
    await scene.give(project_id, PERMISSION_OWNER)
    await scene.identity(DAN).DisableUser(ids.DisableUserRequest(user_id=scene.ann))
    answer = await scene.revoke()
    assert [g.project_id for g in answer.kept] == [project_id]
    await scene.identity(DAN).EnableUser(ids.EnableUserRequest(user_id=scene.ann))
    answer = await scene.revoke()
    assert (answer.revoked_count, answer.kept_count) == (1, 0)


@pytest.mark.case("G08")
@pytest.mark.parametrize("_", range(4))
async def test_two_owners_who_go_at_once_leave_one_owner(ws: Workspace, _: int) -> None:
    scene = Scene(ws)
    await scene.enter(role=OWNER)
    await scene.add_member(ANN, scene.account_id, DAN, OWNER)
    project_id = await scene.project()
    await scene.give(project_id, PERMISSION_OWNER)
    await asyncio.gather(
        scene.remove(ANN, scene.account_id, ANN), scene.remove(BOB, scene.account_id, BOB)
    )
    owners = [u for u in (scene.ann, scene.bob) if await scene.held(project_id, u)]
    assert len(owners) == 1


async def _interrupted(
    scene: Scene, monkeypatch: pytest.MonkeyPatch, *, request_id: str = ""
) -> str:
    """A project with a grant that a removal could not revoke."""
    project_id = await scene.project()
    await scene.give(project_id)
    commit = RecordStore.commit

    async def failing(self: RecordStore, pk: str, *args: Any, **kwargs: Any) -> Any:
        if pk == f"PROJECT#{project_id}":
            raise WorkspaceError(Reason.ERROR_REASON_BACKEND_UNAVAILABLE, "gone")
        return await commit(self, pk, *args, **kwargs)

    with monkeypatch.context() as patch:
        patch.setattr(RecordStore, "commit", failing)
        with refused("BACKEND_UNAVAILABLE"):
            await scene.remove(ANN, scene.account_id, BOB, request_id=request_id)
    assert (await scene.fact(BOB, account_id=scene.account_id)).account_member_status == REMOVED
    assert await scene.held(project_id)
    return project_id


async def test_a_repeat_finishes_an_interrupted_removal(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    same = new_request_id()
    project_id = await _interrupted(scene, monkeypatch, request_id=same)
    done = await scene.remove(ANN, scene.account_id, BOB, request_id=same)
    assert done.member.status == REMOVED
    assert await scene.held(project_id) == []


async def test_so_does_a_repeat_that_finds_no_member(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    project_id = await _interrupted(scene, monkeypatch)
    with refused("NOT_FOUND"):
        await scene.remove(ANN, scene.account_id, BOB)
    assert await scene.held(project_id) == []


async def test_so_does_taking_back(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    project_id = await _interrupted(scene, monkeypatch)
    await scene.add_member(ANN, scene.account_id, BOB, VIEWER)
    assert await scene.held(project_id) == []


async def test_what_is_given_later_is_not_taken(scene: Scene) -> None:
    project_id = await scene.project()
    await scene.give(project_id)
    answer = await scene.revoke(granted_until=Timestamp(seconds=1))
    assert (answer.complete, answer.revoked_count) == (True, 0)
    (grant,) = await scene.grants(project_id, GRANT_STATUS_ACTIVE)
    answer = await scene.revoke(granted_until=grant.created_at)
    assert (answer.revoked_count, bool(answer.consistency_token)) == (1, True)


async def test_many_projects_take_several_calls(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(project_svc.grants.member_grants, "_MOST_COMMITS", 2)
    monkeypatch.setattr(project_svc.grants.member_grants, "_ROWS", 2)
    some = [await scene.project() for _ in range(5)]
    for project_id in some:
        await scene.give(project_id)
    answers = [await scene.revoke() for _ in range(4)]
    assert [a.revoked_count for a in answers] == [2, 2, 1, 0]
    assert [a.complete for a in answers] == [False, False, True, True]
    for project_id in some:  # a removal makes the calls itself
        await scene.give(project_id)
    await scene.remove(ANN, scene.account_id, BOB)
    assert await scene.visible() == set()


async def test_a_project_that_moved_away_meanwhile_is_left_alone(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The index proposes; the project as it is under the head decides."""
    project_id = await scene.project()
    await scene.give(project_id)
    projects = MemberGrants._projects

    async def late(self: MemberGrants, request: Any) -> AsyncIterator[str]:
        async for each in projects(self, request):
            session = await scene.identity(ANN).GetSession(ids.GetSessionRequest())
            await scene.ws.stub(ProjectServiceStub, as_=ANN).AssignProject(
                prs.AssignProjectRequest(
                    project_id=each, workspace_id=session.session.user.personal_workspace_id
                )
            )
            yield each

    monkeypatch.setattr(MemberGrants, "_projects", late)
    assert (await scene.revoke()).revoked_count == 0
    assert await scene.held(project_id)
