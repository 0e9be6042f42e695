"""What an attacker tries with invitations, access requests and their leftovers."""

from __future__ import annotations

import base64
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import grpc.aio
import pytest
from workspace.identity.v1 import identity_service_pb2 as ids
from workspace.identity.v1 import invitation_service_pb2 as ivs

from services.tokens.machine import MachineSecret
from tests.harness import Workspace
from tests.integration.identity.inviting import (
    ACCEPTED,
    PENDING,
    REVOKED_,
    TO_VIEWERS,
    VIEW,
    Scene,
    Terms,
    crash_after,
)
from tests.integration.identity.people import (
    ADMINISTRATOR,
    ANN,
    BOB,
    CAT,
    DAN,
    MEMBER,
    new_request_id,
    reason_of,
    refused,
)


@pytest.fixture
async def scene(tmp_path: Path) -> AsyncIterator[Scene]:
    async with Workspace.open(tmp_path) as ws:
        opened = Scene(ws)
        await opened.enter()
        yield opened


async def rows_with(scene: Scene, text: str) -> list[str]:
    """Families of the rows that hold a text."""
    found, after = [], None
    while items := await scene.ws.records.scan(after, 500):
        found += [item.family for item in items if item.body and text in item.body]
        after = items[-1].key
    return found


@pytest.mark.case("I04")
@pytest.mark.parametrize("kind", ["account", "team", "project"])
async def test_i04_an_inviter_disabled_after_the_claim_gives_nothing(
    scene: Scene, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    await scene.bootstrap(DAN)
    made = await offered(scene, kind)
    with monkeypatch.context() as patch:
        crash_after(patch, scene.ws.records, 1)
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await scene.accept(CAT, made.token)
    assert reason_of(caught.value) == "INTERNAL"
    disabled = ids.DisableUserRequest(user_id=scene.ann)
    await scene.identity(DAN).DisableUser(disabled)
    await scene.sweep()
    after = await scene.read(made.invitation.invitation_id)
    assert after.status == REVOKED_
    await scene.identity(DAN).EnableUser(ids.EnableUserRequest(user_id=scene.ann))
    with refused("INVITATION_VOID"):
        await scene.accept(CAT, made.token)


async def offered(scene: Scene, kind: str) -> Any:
    if kind == "account":
        return await scene.invite()
    if kind == "project":
        project_id = await scene.project()
        return await scene.invite(project_id=project_id, terms=Terms(permissions=[VIEW]))
    team_id = await scene.team(ANN, account_id=scene.account_id)
    terms = Terms(team_role=MEMBER, guest=True)
    return await scene.invite(team_id=team_id, terms=terms)


@pytest.mark.case("I02")
async def test_a_request_id_of_somebody_else_opens_nothing(scene: Scene) -> None:
    """Neither the token of an invitation, nor what another one accepted."""
    await scene.add_member(ANN, scene.account_id, DAN, ADMINISTRATOR)
    request = ivs.CreateInvitationRequest(
        account_id=scene.account_id, email=CAT, terms=TO_VIEWERS, request_id=new_request_id()
    )
    made = await scene.invitations(ANN).CreateInvitation(request)
    with refused("PERMISSION_DENIED"):
        await scene.invitations(BOB).CreateInvitation(request)
    with refused("ALREADY_EXISTS"):
        await scene.invitations(DAN).CreateInvitation(request)
    accepting = new_request_id()
    done = await scene.accept(CAT, made.token, request_id=accepting)
    assert done.invitation.status == ACCEPTED
    for other in (ANN, BOB, DAN):
        with refused("INVITATION_VOID"):
            await scene.accept(other, made.token, request_id=accepting)


@pytest.mark.case("I01")
async def test_a_token_opens_its_own_invitation_alone(scene: Scene) -> None:
    own = await scene.invite(anyone_with_link=True)
    other = await scene.invite(email=DAN)
    with refused("INVITATION_VOID"):
        await scene.accept(BOB, other.token[:-43] + own.token[-43:])
    stored = await scene.read(other.invitation.invitation_id)
    assert stored.status == PENDING


@pytest.mark.case("I01")
async def test_secrets_and_their_hashes_are_in_no_event(scene: Scene) -> None:
    """Events go to feeds, webhooks and exports; the record alone keeps a hash."""
    made = await scene.invite()
    name = made.invitation.invitation_id
    first = (await scene.read(name)).token_hash
    again = await scene.invitations(ANN).ResendInvitation(
        ivs.ResendInvitationRequest(invitation_id=name)
    )
    second = (await scene.read(name)).token_hash
    made_token = await scene.identity(ANN).CreateMachineToken(
        ids.CreateMachineTokenRequest(name="robot")
    )
    secret = MachineSecret.parse(made_token.secret)
    kept = base64.b64encode(secret.sha256).decode()
    assert await rows_with(scene, second) == ["invitation"]
    assert await rows_with(scene, kept) == ["machine_token"]
    for text in (first, made.token[-43:], again.token[-43:], secret.secret):
        assert await rows_with(scene, text) == []
