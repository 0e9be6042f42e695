"""Streams of what changed: memberships for services, permissions for people."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import grpc
import grpc.aio
import pytest
from workspace.common.v1.consistency_pb2 import Consistency
from workspace.common.v1.permission_pb2 import Permission
from workspace.identity.v1 import account_pb2 as ac
from workspace.identity.v1 import account_service_pb2 as acs
from workspace.identity.v1 import identity_service_pb2 as ids
from workspace.identity.v1.identity_service_pb2_grpc import IdentityServiceStub
from workspace.project.v1 import grant_service_pb2 as gs
from workspace.project.v1 import permission_service_pb2 as pb
from workspace.project.v1 import project_service_pb2 as ps
from workspace.project.v1.permission_service_pb2_grpc import PermissionServiceStub
from workspace.project.v1.project_pb2 import Project

from services.events.feed import HEARTBEAT_SECONDS
from services.rpc.resume_tokens import ResumeTokens
from tests.harness import Workspace
from tests.integration.project.test_freshness import (
    ANN,
    BOB,
    EVE,
    TO_USER,
    Scene,
)
from tests.integration.project.world import Refused


@pytest.fixture
async def scene(tmp_path: Path) -> AsyncIterator[Scene]:
    async with Workspace.open(tmp_path) as ws:
        yield await Scene.make(ws)


class Watch:
    """An open stream. `next` passes over checkpoints."""

    def __init__(self, call: Any) -> None:
        self._call = call
        self.token = ""

    async def read(self) -> Any:
        async with asyncio.timeout(10):
            message = await self._call.read()
        assert message is not grpc.aio.EOF
        self.token = message.resume_token
        return message

    async def next(self) -> Any:
        while (message := await self.read()).checkpoint:
            pass
        return message

    async def refusal(self) -> Refused:
        """How the stream ends; what still comes before is passed over."""
        try:
            while True:
                await self.read()
        except grpc.aio.AioRpcError as error:
            return Refused(error)


@asynccontextmanager
async def memberships(scene: Scene, token: str = "") -> AsyncIterator[Watch]:
    stub = scene.ws.service_stub(IdentityServiceStub, service="project_svc")
    call = stub.WatchMemberships(ids.WatchMembershipsRequest(resume_token=token))
    try:
        yield Watch(call)
    finally:
        call.cancel()


@asynccontextmanager
async def permissions(
    scene: Scene, who: str, *projects: str, token: str = "", service: str = ""
) -> AsyncIterator[Watch]:
    stub = scene.ws.service_stub(PermissionServiceStub, service=service, as_=who)
    request = pb.WatchPermissionsRequest(project_ids=projects, resume_token=token)
    call = stub.WatchPermissions(request)
    try:
        yield Watch(call)
    finally:
        call.cancel()


async def started(watch: Watch) -> Watch:
    assert (await watch.read()).checkpoint
    return watch


class TestMemberships:
    async def test_the_first_message_comes_at_once_and_tells_where_it_begins(
        self, scene: Scene
    ) -> None:
        async with memberships(scene) as watch:
            first = await watch.read()
            assert first.checkpoint
            assert first.resume_token
            assert first.HasField("watermark")
            assert not first.changes

    async def test_every_kind_of_fact_is_told(self, scene: Scene) -> None:
        async with memberships(scene) as watch:
            await started(watch)
            left = await scene.remove_from_team(scene.bob)
            change = (await watch.next()).changes[0]
            assert (change.user_id, change.scope.team_id) == (scene.bob, scene.team_id)
            assert change.version.partition == f"TEAM#{scene.team_id}"
            token = scene.ws.process.kernel.consistency.verify(left.consistency_token)
            assert change.version.sequence == token.pseq
            assert change.occurred_at.ToMilliseconds() == token.commit_time_ms
            await scene.accounts.SetAccountStatus(
                acs.SetAccountStatusRequest(
                    account_id=scene.account_id, status=ac.ACCOUNT_STATUS_SUSPENDED
                )
            )
            change = (await watch.next()).changes[0]
            assert (change.user_id, change.scope.account_id) == ("", scene.account_id)

    async def test_a_checkpoint_moves_the_watermark_on_when_idle(self, scene: Scene) -> None:
        async with memberships(scene) as watch:
            first, second = await watch.read(), await watch.read()
            assert second.checkpoint
            moved = second.watermark.ToNanoseconds() - first.watermark.ToNanoseconds()
            assert 0 < moved < 4 * HEARTBEAT_SECONDS * 1e9

    async def test_what_happens_meanwhile_is_told_when_it_resumes(self, scene: Scene) -> None:
        async with memberships(scene) as watch:
            token = (await started(watch)).token
        await scene.remove_from_team(scene.bob)
        async with memberships(scene, token) as watch:
            assert (await watch.next()).changes[0].user_id == scene.bob
            token = watch.token
        async with memberships(scene, token) as watch:
            assert (await watch.read()).checkpoint, "it is not told again after its token"

    async def test_projects_and_preferences_are_none_of_its_business(self, scene: Scene) -> None:
        async with memberships(scene) as watch:
            await started(watch)
            await scene.project()
            await scene.remove_from_team(scene.bob)
            assert len((await watch.next()).changes) == 1

    @pytest.mark.parametrize("token", ["x", "AQ", "A" * 4096])
    async def test_a_token_of_another_store_is_out_of_range(
        self, scene: Scene, token: str
    ) -> None:
        async with memberships(scene, token) as watch:
            no = await watch.refusal()
        assert (no.code.name, no.reason) == ("OUT_OF_RANGE", "CURSOR_LOST")

    async def test_it_is_for_services_alone(self, scene: Scene) -> None:
        stub = scene.ws.stub(IdentityServiceStub, as_=ANN)
        watch = Watch(stub.WatchMemberships(ids.WatchMembershipsRequest()))
        assert (await watch.refusal()).reason == "PERMISSION_DENIED"


class TestPermissions:
    async def test_a_person_is_told_of_himself_alone(self, scene: Scene) -> None:
        """eve's grant on bob's project is nothing of bob's."""
        async with permissions(scene, BOB) as watch:
            await started(watch)
            await scene.grant(scene.project_id, TO_USER, scene.eve)
            private = await scene.project()
            await scene.grant(private, TO_USER, scene.eve)
            grant_id = await scene.grant(private, TO_USER, scene.bob)
            given = await watch.next()
            assert (given.project_id, given.user_id) == (private, scene.bob)
            assert given.HasField("occurred_at")
            await scene.grants.RevokeGrant(
                gs.RevokeGrantRequest(project_id=private, grant_id=grant_id)
            )
            taken = await watch.next()
            assert (taken.project_id, taken.user_id) == (private, scene.bob)
            level = {"at_least_as_fresh": Consistency.AtLeastAsFresh(
                tokens=[taken.consistency_token])}  # fmt: skip
            assert not await scene.allowed(BOB, private, **level)

    async def test_who_lost_the_membership_is_told(self, scene: Scene) -> None:
        async with permissions(scene, BOB) as watch:
            await started(watch)
            await scene.remove_from_team(scene.bob)
            told = await watch.next()
            assert (told.project_id, told.user_id) == ("", scene.bob)

    async def test_who_lost_the_fallback_of_the_account_is_told(self, scene: Scene) -> None:
        open_id = await scene.project(restricted=False)
        async with permissions(scene, EVE) as watch:
            await started(watch)
            await scene.project()  # restricted: she is not told that it exists
            await scene.projects.AssignProject(
                ps.AssignProjectRequest(
                    project_id=open_id, account_id=scene.account_id, restricted=True
                )
            )
            told = await watch.next()
            assert (told.project_id, told.user_id) == (open_id, scene.eve)

    async def test_a_manager_is_told_of_everybody_on_the_project(self, scene: Scene) -> None:
        async with permissions(scene, ANN, scene.project_id) as watch:
            await started(watch)
            await scene.grant(scene.project_id, TO_USER, scene.eve)
            told = await watch.next()
            assert (told.project_id, told.user_id) == (scene.project_id, scene.eve)
            await scene.remove_from_team(scene.bob)
            told = await watch.next()
            assert (told.project_id, told.user_id) == (scene.project_id, scene.bob)

    async def test_a_name_is_no_permission(self, scene: Scene) -> None:
        async with permissions(scene, ANN, scene.project_id) as watch:
            await started(watch)
            named = Project(project_id=scene.project_id, name="New")
            await scene.projects.UpdateProject(ps.UpdateProjectRequest(project=named))
            await scene.grant(scene.project_id, TO_USER, scene.eve)
            assert (await watch.next()).user_id == scene.eve

    async def test_it_is_in_order_for_each_project(self, scene: Scene) -> None:
        async with permissions(scene, ANN, scene.project_id) as watch:
            await started(watch)
            for user_id in (scene.bob, scene.eve):
                await scene.grant(scene.project_id, TO_USER, user_id)
            consistency = scene.ws.process.kernel.consistency
            told = [await watch.next(), await watch.next()]
            assert [each.user_id for each in told] == [scene.bob, scene.eve]
            pseqs = [consistency.verify(each.consistency_token).pseq for each in told]
            assert pseqs == sorted(pseqs)

    async def test_it_resumes_and_loses_nothing(self, scene: Scene) -> None:
        async with permissions(scene, ANN, scene.project_id) as watch:
            token = (await started(watch)).token
        for user_id in (scene.bob, scene.eve):
            await scene.grant(scene.project_id, TO_USER, user_id)
        async with permissions(scene, ANN, scene.project_id, token=token) as watch:
            first = await watch.next()
            token = watch.token
        async with permissions(scene, ANN, scene.project_id, token=token) as watch:
            seen = [first.user_id, (await watch.next()).user_id]
        assert set(seen) <= {scene.bob, scene.eve}
        assert seen[-1] in (scene.bob, scene.eve)

    async def test_a_service_is_told_everything(self, scene: Scene) -> None:
        async with permissions(scene, "", service="sync_svc") as watch:
            await started(watch)
            await scene.grant(scene.project_id, TO_USER, scene.eve)
            told = await watch.next()
            assert (told.project_id, told.user_id) == (scene.project_id, scene.eve)
            await scene.remove_from_team(scene.bob)
            told = await watch.next()
            assert (told.project_id, told.user_id) == ("", scene.bob)

    @pytest.mark.case("Z22")
    async def test_it_ends_when_the_right_ends(self, scene: Scene) -> None:
        """bob learns that it was taken from him, and then nothing more."""
        private = await scene.project()
        grant_id = await scene.grant(private, TO_USER, scene.bob)
        async with permissions(scene, BOB, private) as watch:
            await started(watch)
            await scene.grants.RevokeGrant(
                gs.RevokeGrantRequest(project_id=private, grant_id=grant_id)
            )
            assert (await watch.next()).user_id == scene.bob
            no = await watch.refusal()
        assert (no.reason, no.metadata["permission"]) == ("PERMISSION_DENIED", "view")

    @pytest.mark.case("Z22")
    async def test_it_ends_when_manage_access_ends(self, scene: Scene) -> None:
        made = await scene.grants.CreateGrant(
            gs.CreateGrantRequest(
                project_id=scene.project_id, target_type=TO_USER, target_id=scene.bob,
                permissions=[Permission.PERMISSION_MANAGE_ACCESS],
            )
        )
        async with permissions(scene, BOB, scene.project_id) as watch:
            await started(watch)
            await scene.grants.RevokeGrant(
                gs.RevokeGrantRequest(
                    project_id=scene.project_id, grant_id=made.grant.grant_id
                )
            )
            no = await watch.refusal()
        assert no.metadata["permission"] == "manage_access"
        assert await scene.allowed(BOB), "he may still view it, by his team"

    async def test_it_ends_with_the_session(self, scene: Scene) -> None:
        async with permissions(scene, BOB) as watch:
            await started(watch)
            await scene.ws.stub(IdentityServiceStub, as_=BOB).RevokeSessions(
                ids.RevokeSessionsRequest(user_id=scene.bob)
            )
            assert (await watch.refusal()).reason == "UNAUTHENTICATED"

    async def test_absent_and_forbidden_look_the_same(self, scene: Scene) -> None:
        private = await scene.project()
        for project_id in (private, "p_absent"):
            async with permissions(scene, BOB, project_id) as watch:
                no = await watch.refusal()
            assert (no.reason, no.metadata["permission"]) == ("PERMISSION_DENIED", "view")

    @pytest.mark.case("Z08")
    async def test_a_token_is_bound_to_caller_and_arguments(self, scene: Scene) -> None:
        async with permissions(scene, ANN, scene.project_id) as watch:
            token = (await started(watch)).token
        for who, projects in ((BOB, [scene.project_id]), (ANN, []), (ANN, ["p_absent"])):
            async with permissions(scene, who, *projects, token=token) as watch:
                no = await watch.refusal()
            assert (no.code.name, no.reason) == ("INVALID_ARGUMENT", "INVALID_PAGE_TOKEN")

    async def test_a_token_that_is_too_old_is_out_of_range(self, scene: Scene) -> None:
        tokens = ResumeTokens(
            scene.ws.process.kernel.instance_key,
            method="/workspace.project.v1.PermissionService/WatchPermissions",
            caller=f"/{scene.ann}",
            request=pb.WatchPermissionsRequest(),
        )
        async with permissions(scene, ANN, token=tokens.issue('["other", 1, "", ""]')) as watch:
            no = await watch.refusal()
        assert (no.code.name, no.reason) == ("OUT_OF_RANGE", "CURSOR_LOST")

    async def test_over_http_it_is_ndjson(self, scene: Scene) -> None:
        async with scene.ws.client(as_=BOB) as client:
            url = "/api/permissions:watch"
            async with client.stream("GET", url) as response:
                assert response.status_code == 200
                assert response.headers["content-type"] == "application/x-ndjson"
                lines = response.aiter_lines()
                first = json.loads(await anext(lines))["result"]
                assert first["checkpoint"] is True
                await scene.remove_from_team(scene.bob)
                while (told := json.loads(await anext(lines))["result"]).get("checkpoint"):
                    pass
                member = {"user_id": scene.bob, "userId": scene.bob}
                assert member.items() & told.items()
            denied = await client.get(url, params={"project_ids": "p_absent"})
            assert denied.status_code == 403
