"""Finding users by a verified address, of whatever provider, and not without end."""

from __future__ import annotations

import pytest
from workspace.identity.v1 import account_service_pb2 as acs
from workspace.identity.v1 import identity_service_pb2 as ids
from workspace.identity.v1 import team_service_pb2 as tms
from workspace.identity.v1.user_pb2 import User
from workspace.project.v1 import grant_service_pb2 as gs

from services.model.families import FAMILIES
from services.model.ids import email_hash
from services.model.indexes import Index
from tests.harness import Workspace
from tests.integration.identity.inviting import VIEW, Scene
from tests.integration.identity.people import ANN, BOB, CAT, MEMBER, VIEWER, refused

EVE = "Eve@example.com"


@pytest.fixture
async def scene(ws: Workspace) -> Scene:
    opened = Scene(ws)
    await opened.enter()
    return opened


async def resolved(scene: Scene, email: str) -> str:
    answer = await scene.as_service().ResolveUser(ids.ResolveUserRequest(email=email))
    return str(answer.user_id)


async def test_the_index_has_verified_addresses_only(scene: Scene) -> None:
    family = FAMILIES["user"]
    user = User(user_id="u_1", email=EVE, email_verified=True)
    place = {Index.USER: (f"EMAIL#{email_hash('eve@example.com')}", "USER#u_1")}
    assert family.index_entries(user) == place
    user.email_verified = False
    assert family.index_entries(user) == {}
    assert family.index_entries(User(user_id="u_1", email_verified=True)) == {}


@pytest.mark.case("G14")
async def test_any_provider_and_letter_case(scene: Scene) -> None:
    eve = await scene.outsider(EVE)
    assert await resolved(scene, "eve@example.com") == eve
    assert await resolved(scene, ANN) == scene.ann  # of the local provider


async def test_not_verified_or_not_active_is_nobody(scene: Scene) -> None:
    await scene.outsider(EVE, verified=False)
    assert await resolved(scene, EVE) == ""
    eve = await scene.outsider(EVE, subject="s2")
    assert await resolved(scene, EVE) == eve
    await scene.edit("user", User(user_id=eve), status=2)
    assert await resolved(scene, EVE) == ""


async def test_many_who_may_not_come_in_hide_nobody(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("identity_svc.directory._PAGE", 2)
    people = sorted([await scene.outsider(EVE, subject=f"s{n}") for n in range(7)])
    for user in people[:-2]:
        await scene.edit("user", User(user_id=user), status=2)
    assert await resolved(scene, EVE) == "", "two have it"
    await scene.edit("user", User(user_id=people[-2]), status=2)
    assert await resolved(scene, EVE) == people[-1]
    monkeypatch.setattr("identity_svc.directory._NAMESAKES", 4)
    assert await resolved(scene, EVE) == "", "not without end"


async def test_an_address_that_two_have_is_nobodys(scene: Scene) -> None:
    """Until LinkIdentity joins them: then it is that of the one who stays."""
    twin = await scene.outsider(ANN)
    assert await resolved(scene, ANN) == ""
    await scene.edit("user", User(user_id=twin), status=2, linked_to_user_id=scene.ann)
    assert await resolved(scene, ANN) == scene.ann


async def test_members_and_grants_by_address_of_another_provider(scene: Scene) -> None:
    eve = await scene.outsider(EVE)
    added = await scene.accounts(ANN).AddAccountMember(
        acs.AddAccountMemberRequest(account_id=scene.account_id, email=EVE, role=VIEWER)
    )
    assert added.member.user_id == eve
    team_id = await scene.team(ANN)
    joined = await scene.teams(ANN).AddTeamMember(
        tms.AddTeamMemberRequest(team_id=team_id, email=EVE, role=MEMBER)
    )
    assert joined.member.user_id == eve
    project_id = await scene.project()
    made = await scene.grants(ANN).CreateGrant(
        gs.CreateGrantRequest(
            project_id=project_id, target_type=1, target_email=EVE, permissions=[VIEW]
        )
    )
    assert made.grant.target_id == eve


@pytest.mark.case("A14")
async def test_twenty_failures_a_minute_and_then_known_ones_too(scene: Scene) -> None:
    def add(email: str) -> acs.AddAccountMemberRequest:
        return acs.AddAccountMemberRequest(
            account_id=scene.account_id, email=email, role=VIEWER
        )

    for n in range(20):
        with refused("NOT_FOUND"):
            await scene.accounts(ANN).AddAccountMember(add(f"nobody{n}@example.com"))
    for email in ("nobody@example.com", CAT):
        with refused("LIMIT_EXCEEDED"):
            await scene.accounts(ANN).AddAccountMember(add(email))


async def test_the_count_is_the_persons_through_every_service(scene: Scene) -> None:
    """Grants by address are looked up by the project service, for the same caller."""
    project_id = await scene.project()

    def give(email: str) -> gs.CreateGrantRequest:
        return gs.CreateGrantRequest(
            project_id=project_id, target_type=1, target_email=email, permissions=[VIEW]
        )

    for n in range(20):
        with refused("NOT_FOUND"):
            await scene.grants(ANN).CreateGrant(give(f"nobody{n}@example.com"))
    with refused("LIMIT_EXCEEDED"):
        await scene.grants(ANN).CreateGrant(give(CAT))
    own = await scene.project(BOB, restricted=True)
    made = await scene.grants(BOB).CreateGrant(
        gs.CreateGrantRequest(
            project_id=own, target_type=1, target_email=ANN, permissions=[VIEW]
        )
    )
    assert made.grant.target_id == scene.ann


async def test_success_counts_nothing(scene: Scene) -> None:
    team_id = await scene.team(ANN)
    for n in range(25):
        email = f"friend{n}@example.com"
        await scene.sign_in(email)
        await scene.teams(ANN).AddTeamMember(
            tms.AddTeamMemberRequest(team_id=team_id, email=email, role=MEMBER)
        )
