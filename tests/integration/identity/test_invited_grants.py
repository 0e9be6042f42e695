"""CreateInvitedGrant: what the project service decides for an accepted invitation."""

from __future__ import annotations

from typing import Any

import pytest
from google.protobuf.timestamp_pb2 import Timestamp
from workspace.project.v1 import grant_pb2 as gr
from workspace.project.v1 import grant_service_pb2 as gs
from workspace.project.v1 import project_service_pb2 as prs
from workspace.project.v1.grant_service_pb2_grpc import GrantServiceStub
from workspace.project.v1.project_service_pb2_grpc import ProjectServiceStub

from tests.harness import Workspace
from tests.integration.identity.inviting import COMMENT, MANAGE, OWN, VIEW, WRITE, Scene
from tests.integration.identity.people import ADMINISTRATOR, ANN, BOB, CAT, new_request_id, refused

INVITATION = "i_" + "a" * 26


@pytest.fixture
async def scene(ws: Workspace) -> Scene:
    opened = Scene(ws)
    await opened.enter()
    opened.project_id = await opened.project()  # type: ignore[attr-defined]
    return opened


async def create(scene: Any, service: str = "identity_svc", as_: str = "", **fields: Any) -> Any:
    stub = scene.ws.service_stub(GrantServiceStub, service=service, as_=as_)
    request = {
        "project_id": scene.project_id, "invitation_id": INVITATION,
        "inviter_user_id": scene.ann, "target_type": gr.GRANT_TARGET_TYPE_USER,
        "target_id": scene.cat, "permissions": [COMMENT],
    }
    return await stub.CreateInvitedGrant(gs.CreateInvitedGrantRequest(**request | fields))


async def test_the_grant_names_invitation_and_inviter(scene: Any) -> None:
    made = await create(scene)
    assert made.grant.source == gr.GRANT_SOURCE_INVITATION
    assert made.grant.source_id == INVITATION
    assert made.grant.created_by == scene.ann
    assert (made.account_id, made.project_name) == (scene.account_id, "Bridge")
    assert made.consistency_token
    assert await scene.allowed(CAT, scene.project_id, COMMENT)


async def test_a_repeat_answers_the_grant_there_is_whatever_became_of_it(scene: Any) -> None:
    one = await create(scene, request_id=new_request_id())
    assert (await create(scene)).grant == one.grant
    await scene.grants(ANN).RevokeGrant(
        gs.RevokeGrantRequest(project_id=scene.project_id, grant_id=one.grant.grant_id)
    )
    again = await create(scene)
    assert again.grant.grant_id == one.grant.grant_id
    assert again.grant.status == gr.GRANT_STATUS_REVOKED
    assert not await scene.allowed(CAT, scene.project_id)


async def test_validate_only_writes_nothing(scene: Any) -> None:
    made = await create(scene, validate_only=True)
    assert not made.HasField("grant")
    assert not made.consistency_token
    await create(scene, validate_only=True, target_id="")
    assert await scene.live_grants(scene.project_id, scene.cat) == []
    with refused("INVALID_FIELD"):
        await create(scene, target_id="")


async def test_only_identity_may_call(scene: Any) -> None:
    for service in ("", "storage_svc"):
        with refused("PERMISSION_DENIED"):
            await create(scene, service=service, as_=ANN)


async def test_the_inviter_decides_not_who_calls(scene: Any) -> None:
    for inviter in (scene.bob, scene.dan, "u_" + "q" * 26):
        with refused("PERMISSION_DENIED"):
            await create(scene, as_=ANN, inviter_user_id=inviter)
    with refused("PERMISSION_DENIED"):
        await create(scene, project_id="p_" + "q" * 26)


@pytest.mark.case("G01", "G02")
async def test_never_more_never_longer_and_not_to_oneself(scene: Any) -> None:
    await scene.member(ANN, scene.account_id, BOB, "role", role=ADMINISTRATOR)
    end = Timestamp(seconds=4_000_000_000)
    await scene.give(scene.project_id, BOB, MANAGE, COMMENT, expires_at=end)
    bob = {"inviter_user_id": scene.bob}
    for fields in (
        {"permissions": [WRITE]}, {"permissions": [OWN]}, {"target_id": scene.bob},
        {"expires_at": Timestamp(seconds=4_000_000_001)},
    ):
        with refused("EXCEEDS_OWN_RIGHTS"):
            await create(scene, **bob, **fields)
    assert (await create(scene, **bob)).grant.expires_at == end


async def test_the_home_the_state_and_the_receiver(scene: Any) -> None:
    with refused("INVALID_STATE"):
        await create(scene, account_id="a_other")
    await create(scene, account_id=scene.account_id, validate_only=True)
    with refused("NOT_FOUND"):
        await create(scene, target_id="u_" + "q" * 26)
    for kind in (gr.GRANT_TARGET_TYPE_TEAM, gr.GRANT_TARGET_TYPE_ACCOUNT):
        with refused("NOT_FOUND"):
            await create(scene, target_type=kind, target_id="x_" + "q" * 26)
    await scene.give(scene.project_id, CAT, VIEW)
    with refused("ALREADY_EXISTS"):
        await create(scene)
    await scene.ws.stub(ProjectServiceStub, as_=ANN).DeleteProject(
        prs.DeleteProjectRequest(project_id=scene.project_id)
    )
    with refused("INVALID_STATE"):
        await create(scene, target_id=scene.dan)


async def test_what_was_taken_away_after_the_offer_stays_away(scene: Any) -> None:
    grant = await scene.give(scene.project_id, CAT, VIEW)
    await scene.grants(ANN).RevokeGrant(
        gs.RevokeGrantRequest(project_id=scene.project_id, grant_id=grant.grant_id)
    )
    with refused("INVALID_STATE"):
        await create(scene, issued_at=grant.created_at)
    later = Timestamp(seconds=grant.created_at.seconds + 60)
    await create(scene, issued_at=later)
