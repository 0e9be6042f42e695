"""ImportLegacyTeam: nobody is in before he accepts."""

from __future__ import annotations

from typing import Any

import pytest
from workspace.identity.v1 import invitation_pb2 as iv
from workspace.identity.v1 import invitation_service_pb2 as ivs
from workspace.identity.v1 import team_pb2 as tm
from workspace.identity.v1 import team_service_pb2 as tms
from workspace.identity.v1.invitation_service_pb2_grpc import InvitationServiceStub

from tests.harness import Workspace
from tests.integration.identity.people import (
    ACTIVE,
    ADMIN,
    ANN,
    BOB,
    CAT,
    DAN,
    MEMBER,
    People,
    new_request_id,
    refused,
)


async def _people(ws: Workspace) -> tuple[People, str]:
    people = People(ws)
    ann, *_ = await people.sign_in(ANN, BOB, CAT, DAN)
    await people.bootstrap(DAN)
    return people, ann


def _import(root: str, *members: tuple[str, Any], **more: Any) -> tms.ImportLegacyTeamRequest:
    return tms.ImportLegacyTeamRequest(
        legacy_id=more.pop("legacy_id", "crew-7"),
        name="Old crew",
        root_admin_user_id=root,
        members=[tms.LegacyTeamMember(email=email, role=role) for email, role in members],
        **more,
    )


def _invitations(ws: Workspace, email: str) -> Any:
    return ws.stub(InvitationServiceStub, as_=email)


async def _accept(ws: Workspace, email: str, invitation: iv.Invitation) -> None:
    await _invitations(ws, email).AcceptInvitation(
        ivs.AcceptInvitationRequest(invitation_id=invitation.invitation_id)
    )


@pytest.mark.case("G05")
async def test_members_are_in_when_they_accept_and_not_before(ws: Workspace) -> None:
    people, ann = await _people(ws)
    request = _import(
        ann, (BOB, MEMBER), ("new@example.com", MEMBER), (BOB.upper(), ADMIN),
        request_id=new_request_id(),
    )
    done = await people.teams(DAN).ImportLegacyTeam(request)
    team_id = done.team.team_id
    assert done.team.scope_type == tm.TEAM_SCOPE_TYPE_STANDALONE
    assert done.team.root_admin_user_id == ann
    assert done.root_admin_invitation.email == ANN
    assert [r.WhichOneof("outcome") for r in done.results] == ["invitation", "invitation", "error"]
    assert not done.root_admin_invitation.token_hash
    assert await people.teams(DAN).ImportLegacyTeam(request) == done
    for email in (ANN, BOB, DAN):
        with refused("PERMISSION_DENIED"):
            await people.teams(email).GetTeam(tms.GetTeamRequest(team_id=team_id))
    await _accept(ws, ANN, done.root_admin_invitation)
    await _accept(ws, BOB, done.results[0].invitation)
    members = await people.teams(ANN).ListTeamMembers(tms.ListTeamMembersRequest(team_id=team_id))
    assert {(m.email, m.role, m.status) for m in members.members} == {
        (ANN, ADMIN, ACTIVE), (BOB, MEMBER, ACTIVE),
    }
    fact = await people.fact(ANN, team_id=team_id)
    assert fact.root_admin
    with refused("LAST_OWNER"):  # the rule holds from the acceptance on
        await people.remove_from_team(ANN, team_id, ANN)


async def test_who_imported_looks_after_it_until_it_is_entered(ws: Workspace) -> None:
    people, ann = await _people(ws)
    done = await people.teams(DAN).ImportLegacyTeam(_import(ann))
    platform = _invitations(ws, DAN)
    offer = ivs.CreateInvitationRequest(
        team_id=done.team.team_id, email=CAT,
        terms=iv.InvitationTerms(team_role=MEMBER),
    )
    await platform.CreateInvitation(offer)
    again = await platform.ResendInvitation(
        ivs.ResendInvitationRequest(invitation_id=done.root_admin_invitation.invitation_id)
    )
    with refused("PERMISSION_DENIED"):
        await _invitations(ws, BOB).CreateInvitation(offer)
    await _accept(ws, ANN, again.invitation)
    offer.email = BOB
    with refused("PERMISSION_DENIED"):
        await platform.CreateInvitation(offer)


async def test_what_is_refused(ws: Workspace) -> None:
    people, ann = await _people(ws)
    dan = await ws.sign_in(DAN)
    platform = people.teams(DAN)
    with refused("PERMISSION_DENIED"):
        await people.teams(ANN).ImportLegacyTeam(_import(ann))
    with refused("INVALID_FIELD"):
        await platform.ImportLegacyTeam(_import(dan))
    with refused("INVALID_FIELD"):
        await platform.ImportLegacyTeam(_import(ann, (DAN.upper(), MEMBER)))
    with refused("NOT_FOUND"):
        await platform.ImportLegacyTeam(_import("u_" + "q" * 26))
    request = _import(ann, request_id=new_request_id())
    await platform.ImportLegacyTeam(request)
    with refused("ALREADY_EXISTS"):
        await platform.ImportLegacyTeam(_import(ann))
    request.name = "Another"
    with refused("REQUEST_ID_REUSED"):
        await platform.ImportLegacyTeam(request)
