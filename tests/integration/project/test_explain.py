"""ExplainPermission: the tree of a decision, its remedies, and what it hides."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest_asyncio
from workspace.identity.v1 import identity_service_pb2 as ids
from workspace.identity.v1 import team_service_pb2 as tms
from workspace.project.v1 import grant_service_pb2 as gs
from workspace.project.v1 import permission_service_pb2 as pms
from workspace.project.v1.permission_pb2 import ExplainNode, ExplainOutcome

from services.model.families import FAMILIES
from services.records.port import Key
from services.records.record import Activity, Write
from tests.harness import Workspace
from tests.integration.identity.people import ANN, BOB, CAT, DAN, SUSPENDED, refused
from tests.integration.project.scene import (
    EVE,
    EVERYBODY,
    FAY,
    LADDER,
    MANAGE,
    REVIEW,
    TEAM,
    USER,
    VIEW,
    WRITE,
    Scene,
)

ALLOWS = ExplainOutcome.EXPLAIN_OUTCOME_ALLOWS
NOTHING = ExplainOutcome.EXPLAIN_OUTCOME_GIVES_NOTHING
BLOCKS = ExplainOutcome.EXPLAIN_OUTCOME_BLOCKS


@pytest_asyncio.fixture
async def scene(tmp_path: Path) -> AsyncIterator[Scene]:
    async with Workspace.open(tmp_path) as ws:
        yield await Scene(ws).make()


async def explained(
    scene: Scene, permission: int, *, about: str = "", as_: str = ANN
) -> pms.ExplainPermissionResponse:
    request: Any = pms.ExplainPermissionRequest(
        project_id=scene.project_id,
        permission=permission,  # type: ignore[arg-type]
        user_id=scene.ids[about] if about else "",
    )
    answer: pms.ExplainPermissionResponse = await scene.permissions(as_).ExplainPermission(request)
    return answer


async def expire(scene: Scene, grant_id: str) -> None:
    """As if the end of the grant had come: nobody can choose a time in the past."""
    pk, family = f"PROJECT#{scene.project_id}", FAMILIES["project_grant"]
    record = await scene.ws.records.get(family, Key(pk, f"GRANT#{grant_id}"))
    grant = record.edit()
    grant.expires_at.FromDatetime(datetime.now(UTC) - timedelta(minutes=1))
    activity = Activity("grant.updated", f"projects/{scene.project_id}/grants/{grant_id}")
    await scene.ws.records.commit(pk, [Write(family, grant, base=record)], activity=activity)


def nodes(node: ExplainNode) -> Iterator[ExplainNode]:
    yield node
    for child in node.children:
        yield from nodes(child)


def named(answer: pms.ExplainPermissionResponse, rule: str) -> list[ExplainNode]:
    return [node for node in nodes(answer.root) if node.rule == rule]


async def require_the_truth(scene: Scene) -> None:
    """Allowed is what CheckPermission says, for everybody and everything."""
    for email in EVERYBODY:
        for permission in LADDER:
            answer = await explained(scene, permission, about=email)
            assert answer.allowed == await scene.check(email, permission), (email, permission)
            assert (answer.root.outcome == ALLOWS) == answer.allowed
            assert bool(answer.remedies) != answer.allowed


async def test_allowed_equals_check_permission_through_every_change(scene: Scene) -> None:
    await scene.grant(ANN, USER, scene.ids[DAN], MANAGE)
    await require_the_truth(scene)
    await scene.member(ANN, scene.account_id, BOB, "status", status=SUSPENDED)
    await scene.remove_from_team(ANN, scene.team_id, CAT)
    await scene.bootstrap(FAY)
    await scene.identity(FAY).DisableUser(ids.DisableUserRequest(user_id=scene.ids[EVE]))
    await require_the_truth(scene)
    answer = await explained(scene, VIEW, about=EVE)
    assert named(answer, "user_status")[0].outcome == BLOCKS
    assert answer.remedies[0].startswith(f"users/{scene.ids[EVE]} is not active")


async def test_every_contributing_source_is_a_node(scene: Scene) -> None:
    direct = await scene.grant(ANN, USER, scene.ids[BOB], WRITE)
    answer = await explained(scene, VIEW, about=BOB)
    allowing = [node for node in answer.root.children if node.source.kind]
    assert {node.rule for node in allowing} == {"user_grant", "team_grant", "account_fallback"}
    assert all(node.outcome == ALLOWS for node in allowing)
    team = named(answer, "team_grant")[0]
    assert team.source.team_id == scene.team_id
    facts = {child.rule: child for child in team.children}
    assert facts["team_membership"].resource == f"teams/{scene.team_id}"
    assert facts["account_membership"].resource == f"accounts/{scene.account_id}"
    user = named(answer, "user_grant")[0]
    assert user.resource == f"projects/{scene.project_id}/grants/{direct.grant_id}"
    fallback = named(answer, "account_fallback")[0]
    assert fallback.source.role == "editor"


async def test_a_suspended_membership_and_its_remedy(scene: Scene) -> None:
    await scene.team_member(ANN, scene.team_id, CAT, "status", status=SUSPENDED)
    answer = await explained(scene, VIEW, about=CAT)
    assert not answer.allowed
    assert named(answer, "team_membership")[0].outcome == BLOCKS
    cat = scene.ids[CAT]
    wanted = f"an administrator of teams/{scene.team_id} must reactivate the membership of "
    assert f"{wanted}users/{cat}" in answer.remedies


async def test_an_expired_grant_says_when(scene: Scene) -> None:
    grant = await scene.grant(ANN, USER, scene.ids[FAY], WRITE)
    await expire(scene, grant.grant_id)
    answer = await explained(scene, WRITE, as_=FAY)
    assert not answer.allowed
    assert named(answer, "grant_expiry")[0].outcome == BLOCKS
    assert any("expired at 20" in text and "must extend it" in text for text in answer.remedies)


async def test_a_revoked_grant_is_explained_to_its_receiver(scene: Scene) -> None:
    grant = await scene.grant(ANN, USER, scene.ids[FAY], WRITE)
    await scene.grants(ANN).RevokeGrant(
        gs.RevokeGrantRequest(project_id=scene.project_id, grant_id=grant.grant_id)
    )
    answer = await explained(scene, WRITE, as_=FAY)
    assert named(answer, "grant_status")[0].outcome == BLOCKS
    assert any(f"grants/{grant.grant_id} was revoked" in text for text in answer.remedies)


async def test_who_lacks_everything_else_is_told_that_nobody_gave_it(scene: Scene) -> None:
    answer = await explained(scene, WRITE, about=FAY)
    assert answer.remedies == [
        f"nobody gave users/{scene.ids[FAY]} 'write' on projects/{scene.project_id} in any other "
        "way: somebody with 'manage_access' who holds it must grant it"
    ]


async def test_restricted_and_archived_are_named(scene: Scene) -> None:
    other = await scene.project(ANN, scene.account_id, restricted=True)
    request: Any = pms.ExplainPermissionRequest(
        project_id=other, permission=VIEW, user_id=scene.ids[DAN]
    )
    answer = await scene.permissions(ANN).ExplainPermission(request)
    assert named(answer, "project_restricted")[0].outcome == BLOCKS
    assert any("must switch 'restricted' off" in text for text in answer.remedies)
    await scene.teams(ANN).ArchiveTeam(tms.ArchiveTeamRequest(team_id=scene.team_id))
    answer = await explained(scene, VIEW, about=CAT)
    assert named(answer, "team_status")[0].outcome == BLOCKS


async def test_others_need_manage_access_and_strangers_learn_nothing(scene: Scene) -> None:
    for email in (BOB, CAT, DAN, EVE, FAY):
        with refused("PERMISSION_DENIED"):
            await explained(scene, VIEW, about=ANN, as_=email)
    missing: Any = pms.ExplainPermissionRequest(project_id="p_nothing", permission=VIEW)
    for permission in LADDER:
        with refused("PERMISSION_DENIED"):
            await explained(scene, permission, as_=FAY)
    with refused("PERMISSION_DENIED"):
        await scene.permissions(ANN).ExplainPermission(missing)
    other = await scene.project(ANN, scene.account_id, restricted=True)
    with refused("PERMISSION_DENIED"):
        await scene.permissions(BOB).ExplainPermission(
            pms.ExplainPermissionRequest(project_id=other, permission=VIEW)
        )


async def test_a_service_is_told_what_exists(scene: Scene) -> None:
    request: Any = pms.ExplainPermissionRequest(
        project_id="p_nothing", permission=VIEW, user_id=scene.ids[ANN]
    )
    answer = await scene.asking().ExplainPermission(request)
    assert not answer.allowed
    assert answer.root.rule == "project"
    with refused("INVALID_FIELD"):
        await scene.asking().ExplainPermission(
            pms.ExplainPermissionRequest(project_id=scene.project_id, permission=VIEW)
        )


async def test_names_of_what_is_not_ones_own_are_hidden(scene: Scene) -> None:
    """bob was thrown out of a team that has a grant: he sees that there is one,
    not which; a holder of `manage_access` sees all."""
    team = await scene.team(ANN, account_id=scene.account_id)
    await scene.add_to_team(ANN, team, BOB, 2)
    grant = await scene.grant(ANN, TEAM, team, MANAGE)
    await scene.remove_from_team(ANN, team, BOB)
    own = await explained(scene, MANAGE, as_=BOB)
    assert not own.allowed
    text = str(own)
    assert team not in text
    assert grant.grant_id not in text
    assert scene.team_id in text, "his other team is his own"
    assert "an administrator of a team must add" in text
    full = str(await explained(scene, MANAGE, about=BOB))
    assert team in full
    assert grant.grant_id in full


async def test_other_peoples_grants_are_nowhere(scene: Scene) -> None:
    text = str(await explained(scene, REVIEW, as_=DAN))
    assert scene.ids[EVE] not in text
    assert scene.ids[CAT] not in text


async def test_the_gateway_answers_the_same(scene: Scene) -> None:
    async with scene.ws.client(as_=BOB) as client:
        answer = await client.get(
            f"/api/projects/{scene.project_id}/permissions:explain",
            params={"permission": "PERMISSION_MANAGE_ACCESS"},
        )
    assert answer.status_code == 200, answer.text
    assert answer.json()["remedies"] == list((await explained(scene, MANAGE, as_=BOB)).remedies)
