"""Inviting people to accounts, teams and projects, and what becomes of it."""

from __future__ import annotations

import asyncio
from typing import Any

import grpc
import pytest
from google.protobuf.timestamp_pb2 import Timestamp
from workspace.identity.v1 import invitation_service_pb2 as ivs
from workspace.identity.v1.account_pb2 import (
    ACCOUNT_CAPABILITY_INVITE_MEMBERS,
    ACCOUNT_CAPABILITY_MANAGE_ACCOUNT,
)
from workspace.identity.v1.invitation_service_pb2_grpc import InvitationServiceStub
from workspace.project.v1.grant_pb2 import GRANT_SOURCE_INVITATION

from tests.harness import Workspace
from tests.integration.identity.inviting import (
    ACCEPTED,
    COMMENT,
    DECLINED,
    EXPIRED,
    MANAGE,
    OWN,
    PENDING,
    REVOKED_,
    TO_EDITORS,
    TO_MEMBERS,
    TO_READERS,
    TO_VIEWERS,
    VIEW,
    WRITE,
    Scene,
    Terms,
)
from tests.integration.identity.people import (
    ACTIVE,
    ADMIN,
    ADMINISTRATOR,
    ANN,
    BOB,
    CAT,
    DAN,
    EDITOR,
    MEMBER,
    OWNER,
    VIEWER,
    new_request_id,
    reason_of,
    refused,
)


@pytest.fixture
async def scene(ws: Workspace) -> Scene:
    opened = Scene(ws)
    await opened.enter()
    return opened


class TestToAnAccount:
    async def test_accepting_makes_the_member(self, scene: Scene) -> None:
        made = await scene.invite(terms=TO_EDITORS, note="Come\nin")
        assert made.invitation.status == PENDING
        assert made.invitation.target_name == "Acme"
        assert made.invitation.token_hash == ""
        assert made.consistency_token
        done = await scene.accept(CAT, made.token)
        assert done.invitation.status == ACCEPTED
        assert done.invitation.resolved_by == scene.cat
        assert done.invitation.token_hash == ""
        fact = await scene.fact(CAT, account_id=scene.account_id)
        assert (fact.member_status, fact.account_role) == (ACTIVE, EDITOR)

    @pytest.mark.case("I01")
    async def test_the_token_is_256_bits_and_names_the_invitation(self, scene: Scene) -> None:
        one, two = await scene.invite(), await scene.invite(email=DAN)
        for made in (one, two):
            head, _, secret = made.token.partition(".")
            assert head == made.invitation.invitation_id
            assert len(secret) == 43  # 32 bytes in base64url
        assert one.token.partition(".")[2] != two.token.partition(".")[2]

    @pytest.mark.case("I01")
    async def test_a_replay_shows_the_token_again_and_keeps_it_nowhere(
        self, scene: Scene
    ) -> None:
        request_id = new_request_id()
        one = await scene.invite(request_id=request_id)
        two = await scene.invite(request_id=request_id)
        assert one == two
        with refused("REQUEST_ID_REUSED"):
            await scene.invite(request_id=request_id, terms=TO_EDITORS)
        secret = one.token.partition(".")[2]
        for item in await scene.ws.records.scan(None, 10_000):
            assert secret not in item.body, item.key

    async def test_twenty_at_once_with_one_request_id_make_one(self, scene: Scene) -> None:
        request_id = new_request_id()
        made = await asyncio.gather(*(scene.invite(request_id=request_id) for _ in range(20)))
        assert len({(each.invitation.invitation_id, each.token) for each in made}) == 1

    async def test_an_answer_too_large_for_its_row_hides_the_hash_too(self, scene: Scene) -> None:
        request_id, note = new_request_id(), "\U0001f642" * 4000
        one = await scene.invite(request_id=request_id, note=note)
        two = await scene.invite(request_id=request_id, note=note)
        assert one == two
        assert two.invitation.token_hash == ""

    async def test_a_manager_alone_invites_and_absent_is_as_forbidden(self, scene: Scene) -> None:
        for who in (BOB, DAN):
            with refused("PERMISSION_DENIED"):
                await scene.invite(who)
        with refused("PERMISSION_DENIED"):
            await scene.invite(account_id="a_" + "q" * 26)

    @pytest.mark.case("G01")
    async def test_nobody_offers_more_than_he_holds(self, scene: Scene) -> None:
        """G01, G02: roles above one's own, capabilities one lacks."""
        await scene.member(
            ANN, scene.account_id, BOB, "role,permissions", role=EDITOR,
            permissions=[ACCOUNT_CAPABILITY_INVITE_MEMBERS],
        )
        with refused("EXCEEDS_OWN_RIGHTS"):
            await scene.invite(BOB, terms=Terms(account_role=ADMINISTRATOR))
        with refused("EXCEEDS_OWN_RIGHTS"):
            await scene.invite(
                BOB,
                terms=Terms(
                    account_role=VIEWER, account_permissions=[ACCOUNT_CAPABILITY_MANAGE_ACCOUNT]
                ),
            )
        await scene.invite(BOB, terms=TO_EDITORS)

    async def test_one_waits_for_an_address_at_a_time(self, scene: Scene) -> None:
        first = await scene.invite()
        with refused("ALREADY_EXISTS"):
            await scene.invite(email=CAT.upper().replace("EXAMPLE.COM", "example.com"))
        await scene.expire(first.invitation.invitation_id)
        await scene.invite()

    async def test_a_member_is_not_invited(self, scene: Scene) -> None:
        with refused("ALREADY_EXISTS"):
            await scene.invite(email=BOB)

    async def test_only_an_active_shared_account_takes_members(self, scene: Scene) -> None:
        session = await scene.identity(ANN).GetSession(_session())
        with refused("INVALID_STATE"):
            await scene.invite(account_id=session.session.user.personal_workspace_id)
        await scene.edit("account", _account(scene.account_id), status=3)
        with refused("INVALID_STATE"):
            await scene.invite()

    @pytest.mark.parametrize(
        "fields",
        [
            {"email": ""},
            {"anyone_with_link": True, "email": CAT},
            {"terms": TO_MEMBERS},
            {"terms": TO_READERS},
            {"grantee_team_id": "t_1", "email": ""},
            {"email": "cat@example.com\r\nBcc: all@example.com"},
            {"note": "hello\r\nBcc: all@example.com"},
            {"note": "\x1b[31m"},
        ],
    )
    async def test_wrong_input_names_the_field(self, scene: Scene, fields: Any) -> None:
        with refused("INVALID_FIELD"):
            await scene.invite(**fields)


class TestToATeam:
    async def test_accepting_makes_the_member(self, scene: Scene) -> None:
        team_id = await scene.team(ANN, account_id=scene.account_id)
        made = await scene.invite(team_id=team_id, email=BOB, terms=TO_MEMBERS)
        await scene.accept(BOB, made.token)
        fact = await scene.fact(BOB, team_id=team_id)
        assert (fact.member_status, fact.team_role, fact.guest) == (ACTIVE, MEMBER, False)

    async def test_a_stranger_to_the_account_comes_as_a_guest_only(self, scene: Scene) -> None:
        team_id = await scene.team(ANN, account_id=scene.account_id)
        made = await scene.invite(team_id=team_id, terms=TO_MEMBERS)
        with refused("INVITATION_VOID"):
            await scene.accept(CAT, made.token)
        guest = Terms(team_role=MEMBER, guest=True)
        made = await scene.invite(team_id=team_id, email=DAN, terms=guest)
        await scene.accept(DAN, made.token)
        assert (await scene.fact(DAN, team_id=team_id)).guest

    async def test_guests_need_the_right_to_invite_into_the_account(self, scene: Scene) -> None:
        team_id = await scene.team(ANN, account_id=scene.account_id)
        await scene.add_to_team(ANN, team_id, BOB, ADMIN)
        with refused("PERMISSION_DENIED"):
            await scene.invite(BOB, team_id=team_id, terms=Terms(team_role=MEMBER, guest=True))
        await scene.invite(BOB, team_id=team_id, terms=TO_MEMBERS)

    async def test_an_archived_team_takes_nobody(self, scene: Scene) -> None:
        from workspace.identity.v1.team_service_pb2 import ArchiveTeamRequest

        team_id = await scene.team(ANN)
        made = await scene.invite(team_id=team_id, terms=TO_MEMBERS)
        await scene.teams(ANN).ArchiveTeam(ArchiveTeamRequest(team_id=team_id))
        with refused("INVALID_STATE"):
            await scene.invite(team_id=team_id, email=DAN, terms=TO_MEMBERS)
        with refused("INVITATION_VOID"):
            await scene.accept(CAT, made.token)


class TestToAProject:
    async def test_accepting_makes_the_grant(self, scene: Scene) -> None:
        project_id = await scene.project()
        made = await scene.invite(project_id=project_id, terms=Terms(permissions=[COMMENT]))
        assert made.invitation.target_name == "Bridge"
        assert made.invitation.account_id == scene.account_id
        done = await scene.accept(CAT, made.token)
        (grant,) = await scene.live_grants(project_id, scene.cat)
        assert done.invitation.grant_id == grant.grant_id
        assert grant.source == GRANT_SOURCE_INVITATION
        assert grant.source_id == made.invitation.invitation_id
        assert grant.created_by == scene.ann
        assert await scene.allowed(CAT, project_id, COMMENT)
        assert not await scene.allowed(CAT, project_id, WRITE)

    async def test_manage_access_and_share_project_are_needed(self, scene: Scene) -> None:
        project_id = await scene.project()
        with refused("PERMISSION_DENIED"):
            await scene.invite(BOB, project_id=project_id, terms=TO_READERS)
        await scene.give(project_id, BOB, MANAGE)
        with refused("PERMISSION_DENIED"):  # an editor has no share_project
            await scene.invite(BOB, project_id=project_id, terms=TO_READERS)
        with refused("PERMISSION_DENIED"):
            await scene.invite(project_id="p_" + "q" * 26, terms=TO_READERS)

    @pytest.mark.case("G01")
    async def test_never_more_and_never_longer_than_one_holds(self, scene: Scene) -> None:
        project_id = await scene.project()
        await scene.member(ANN, scene.account_id, BOB, "role", role=ADMINISTRATOR)
        end = Timestamp(seconds=4_000_000_000)
        await scene.give(project_id, BOB, MANAGE, COMMENT, expires_at=end)
        for terms in (
            Terms(permissions=[WRITE]),
            Terms(permissions=[OWN]),
            Terms(permissions=[COMMENT], grant_expires_at=Timestamp(seconds=4_000_000_001)),
        ):
            with refused("EXCEEDS_OWN_RIGHTS"):
                await scene.invite(BOB, project_id=project_id, terms=terms)
        made = await scene.invite(
            BOB, project_id=project_id, terms=Terms(permissions=[COMMENT])
        )
        await scene.accept(CAT, made.token)
        (grant,) = await scene.live_grants(project_id, scene.cat)
        assert grant.expires_at == end  # no longer than bob's own

    async def test_who_has_a_grant_is_not_invited(self, scene: Scene) -> None:
        project_id = await scene.project()
        await scene.give(project_id, CAT, VIEW)
        with refused("ALREADY_EXISTS"):
            await scene.invite(project_id=project_id, terms=TO_READERS)

    async def test_an_end_in_the_past_names_the_field(self, scene: Scene) -> None:
        project_id = await scene.project()
        terms = Terms(permissions=[VIEW], grant_expires_at=Timestamp(seconds=5))
        with refused("INVALID_FIELD"):
            await scene.invite(project_id=project_id, terms=terms)


class TestLists:
    @pytest.mark.case("G18")
    async def test_g18_every_invitation_is_listed_newest_first_and_revocable(
        self, scene: Scene
    ) -> None:
        project_id = await scene.project()
        made = [
            await scene.invite(project_id=project_id, email=f"p{n}@example.com", terms=TO_READERS)
            for n in range(3)
        ]
        made.append(
            await scene.invite(project_id=project_id, anyone_with_link=True, terms=TO_READERS)
        )
        stub, seen, token = scene.invitations(ANN), [], ""
        while True:
            page = await stub.ListInvitations(
                ivs.ListInvitationsRequest(project_id=project_id, page_size=3, page_token=token)
            )
            seen += [each.invitation_id for each in page.invitations]
            assert all(each.token_hash == "" for each in page.invitations)
            token = page.next_page_token
            if not token:
                break
        assert seen == [each.invitation.invitation_id for each in reversed(made)]
        for each in seen:
            await stub.RevokeInvitation(ivs.RevokeInvitationRequest(invitation_id=each))
        wanted = ivs.ListInvitationsRequest(project_id=project_id, status=PENDING)
        assert not (await stub.ListInvitations(wanted)).invitations

    async def test_to_account_and_team(self, scene: Scene) -> None:
        team_id = await scene.team(ANN, account_id=scene.account_id)
        to_account = await scene.invite()
        to_team = await scene.invite(team_id=team_id, email=BOB, terms=TO_MEMBERS)
        for wanted, made in (
            (ivs.ListInvitationsRequest(account_id=scene.account_id), to_account),
            (ivs.ListInvitationsRequest(team_id=team_id), to_team),
        ):
            listed = await scene.invitations(ANN).ListInvitations(wanted)
            assert [i.invitation_id for i in listed.invitations] == [
                made.invitation.invitation_id
            ]
            for who in (BOB, DAN):
                with refused("PERMISSION_DENIED"):
                    await scene.invitations(who).ListInvitations(wanted)

    async def test_mine_are_those_to_my_verified_address(self, scene: Scene) -> None:
        made = await scene.invite()
        mine = ivs.ListInvitationsRequest(mine=True)
        listed = await scene.invitations(CAT).ListInvitations(mine)
        assert [i.invitation_id for i in listed.invitations] == [made.invitation.invitation_id]
        assert not (await scene.invitations(DAN).ListInvitations(mine)).invitations

    async def test_expired_is_computed(self, scene: Scene) -> None:
        made = await scene.invite()
        invitation_id = made.invitation.invitation_id
        await scene.expire(invitation_id)
        for wanted, count in ((EXPIRED, 1), (PENDING, 0)):
            listed = await scene.invitations(ANN).ListInvitations(
                ivs.ListInvitationsRequest(account_id=scene.account_id, status=wanted)
            )
            assert len(listed.invitations) == count
        assert (await scene.read(invitation_id)).status == PENDING

    async def test_a_page_token_is_for_its_caller_and_arguments(self, scene: Scene) -> None:
        for n in range(2):
            await scene.invite(email=f"p{n}@example.com")
        wanted = ivs.ListInvitationsRequest(account_id=scene.account_id, page_size=1)
        page = await scene.invitations(ANN).ListInvitations(wanted)
        wanted.page_token = page.next_page_token
        wanted.status = EXPIRED
        with refused("INVALID_PAGE_TOKEN"):
            await scene.invitations(ANN).ListInvitations(wanted)

    async def test_get_is_for_maker_addressee_and_manager(self, scene: Scene) -> None:
        made = await scene.invite()
        wanted = ivs.GetInvitationRequest(invitation_id=made.invitation.invitation_id)
        for who in (ANN, CAT):
            got = await scene.invitations(who).GetInvitation(wanted)
            assert got.invitation.etag
            assert got.invitation.token_hash == ""
        missing = ivs.GetInvitationRequest(invitation_id="i_" + "q" * 26)
        for who, what in ((BOB, wanted), (DAN, wanted), (ANN, missing)):
            with refused("PERMISSION_DENIED"):
                await scene.invitations(who).GetInvitation(what)


class TestDecline:
    async def test_by_token_or_as_the_addressee(self, scene: Scene) -> None:
        for by_token in (True, False):
            made = await scene.invite()
            which = (
                {"token": made.token}
                if by_token
                else {"invitation_id": made.invitation.invitation_id}
            )
            done = await scene.invitations(CAT).DeclineInvitation(
                ivs.DeclineInvitationRequest(**which)
            )
            assert done.invitation.status == DECLINED
            assert done.invitation.resolved_by == scene.cat
            with refused("INVITATION_VOID"):
                await scene.accept(CAT, made.token)

    async def test_one_answer_for_unknown_not_pending_and_not_mine(self, scene: Scene) -> None:
        made = await scene.invite()
        link = await scene.invite(anyone_with_link=True)
        decline, answers = scene.invitations(DAN).DeclineInvitation, set()
        for which in (
            {"invitation_id": made.invitation.invitation_id},
            {"invitation_id": link.invitation.invitation_id},
            {"invitation_id": "i_" + "q" * 26},
            {"token": made.token},
            {"token": made.token[:-1] + ("A" if made.token[-1] != "A" else "B")},
        ):
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await decline(ivs.DeclineInvitationRequest(**which))
            answers.add((reason_of(caught.value), caught.value.details()))
        assert len(answers) == 1
        assert answers.pop()[0] == "INVITATION_VOID"

    async def test_a_repeat_with_its_request_id_answers_the_same(self, scene: Scene) -> None:
        made = await scene.invite()
        request = ivs.DeclineInvitationRequest(token=made.token, request_id=new_request_id())
        one = await scene.invitations(CAT).DeclineInvitation(request)
        assert await scene.invitations(CAT).DeclineInvitation(request) == one


class TestRevoke:
    async def test_the_token_is_void_and_a_repeat_changes_nothing(self, scene: Scene) -> None:
        made = await scene.invite()
        wanted = ivs.RevokeInvitationRequest(invitation_id=made.invitation.invitation_id)
        one = await scene.invitations(ANN).RevokeInvitation(wanted)
        two = await scene.invitations(ANN).RevokeInvitation(wanted)
        assert one.invitation == two.invitation
        assert one.invitation.status == REVOKED_
        with refused("INVITATION_VOID"):
            await scene.accept(CAT, made.token)

    async def test_needs_maker_or_manager_and_the_right_etag_and_state(self, scene: Scene) -> None:
        made = await scene.invite()
        wanted = ivs.RevokeInvitationRequest(invitation_id=made.invitation.invitation_id)
        for who in (BOB, CAT, DAN):
            with refused("PERMISSION_DENIED"):
                await scene.invitations(who).RevokeInvitation(wanted)
        wanted.etag = "old"
        with refused("ETAG_MISMATCH"):
            await scene.invitations(ANN).RevokeInvitation(wanted)
        await scene.accept(CAT, made.token)
        wanted.etag = ""
        with refused("INVALID_STATE"):
            await scene.invitations(ANN).RevokeInvitation(wanted)

    async def test_the_maker_may_though_he_manages_no_more(self, scene: Scene) -> None:
        await scene.member(ANN, scene.account_id, BOB, "role", role=ADMINISTRATOR)
        made = await scene.invite(BOB)
        await scene.remove(ANN, scene.account_id, BOB)
        await scene.invitations(BOB).RevokeInvitation(
            ivs.RevokeInvitationRequest(invitation_id=made.invitation.invitation_id)
        )

    async def test_request_id_with_another_payload(self, scene: Scene) -> None:
        made = await scene.invite()
        wanted = ivs.RevokeInvitationRequest(
            invitation_id=made.invitation.invitation_id, request_id=new_request_id()
        )
        one = await scene.invitations(ANN).RevokeInvitation(wanted)
        assert await scene.invitations(ANN).RevokeInvitation(wanted) == one
        wanted.etag = one.invitation.etag
        with refused("REQUEST_ID_REUSED"):
            await scene.invitations(ANN).RevokeInvitation(wanted)


class TestResend:
    def request(self, made: Any, **more: Any) -> ivs.ResendInvitationRequest:
        return ivs.ResendInvitationRequest(invitation_id=made.invitation.invitation_id, **more)

    @pytest.mark.case("I05")
    async def test_i05_a_raised_invitation_has_a_new_token_and_the_old_is_void(
        self, scene: Scene
    ) -> None:
        made = await scene.invite()
        again = await scene.invitations(ANN).ResendInvitation(
            self.request(made, terms=TO_EDITORS)
        )
        assert again.invitation.generation == 2
        assert again.token != made.token
        with refused("INVITATION_VOID"):
            await scene.accept(CAT, made.token)
        await scene.accept(CAT, again.token)
        assert (await scene.fact(CAT, account_id=scene.account_id)).account_role == EDITOR

    async def test_an_expired_one_lives_again(self, scene: Scene) -> None:
        made = await scene.invite()
        await scene.expire(made.invitation.invitation_id)
        request = self.request(made, request_id=new_request_id())
        again = await scene.invitations(ANN).ResendInvitation(request)
        assert await scene.invitations(ANN).ResendInvitation(request) == again
        await scene.accept(CAT, again.token)

    async def test_whoever_sends_it_again_answers_for_the_terms(self, scene: Scene) -> None:
        await scene.member(ANN, scene.account_id, BOB, "role", role=ADMINISTRATOR)
        made = await scene.invite(terms=Terms(account_role=OWNER))
        with refused("EXCEEDS_OWN_RIGHTS"):
            await scene.invitations(BOB).ResendInvitation(self.request(made))
        again = await scene.invitations(BOB).ResendInvitation(
            self.request(made, terms=TO_EDITORS)
        )
        assert again.invitation.invited_by == scene.bob
        assert again.invitation.created_by == scene.ann

    async def test_terms_fit_the_target(self, scene: Scene) -> None:
        made = await scene.invite()
        for terms in (TO_MEMBERS, TO_READERS, Terms()):
            with refused("INVALID_FIELD"):
                await scene.invitations(ANN).ResendInvitation(self.request(made, terms=terms))

    async def test_needs_a_manager_an_open_state_and_the_etag(self, scene: Scene) -> None:
        made = await scene.invite()
        for who in (BOB, CAT):
            with refused("PERMISSION_DENIED"):
                await scene.invitations(who).ResendInvitation(self.request(made))
        with refused("ETAG_MISMATCH"):
            await scene.invitations(ANN).ResendInvitation(self.request(made, etag="old"))
        await scene.accept(CAT, made.token)
        with refused("INVALID_STATE"):
            await scene.invitations(ANN).ResendInvitation(self.request(made))


async def test_over_a_socket_and_over_http(scene: Scene) -> None:
    """The whole way without the in-process channel; the token is in bodies only (I07)."""
    stub = scene.ws.socket_stub(InvitationServiceStub, as_=ANN)
    made = await stub.CreateInvitation(
        ivs.CreateInvitationRequest(account_id=scene.account_id, email=CAT, terms=TO_VIEWERS)
    )
    assert made.invitation.status == PENDING
    async with scene.ws.client(ANN) as client:
        sent = await client.post(
            "/api/invitations",
            json={
                "accountId": scene.account_id, "email": DAN,
                "terms": {"accountRole": "ACCOUNT_ROLE_VIEWER"},
            },
        )
        assert sent.status_code == 200, sent.text
        listed = await client.get(f"/api/invitations?accountId={scene.account_id}")
        assert len(listed.json()["invitations"]) == 2
    async with scene.ws.client(DAN) as client:
        bad = await client.post("/api/invitations:accept", json={"token": "i_x.y"})
        assert bad.status_code == 400
        assert bad.json()["details"][0]["reason"] == "ERROR_REASON_INVITATION_VOID"
        token = sent.json()["token"]
        done = await client.post("/api/invitations:accept", json={"token": token})
        assert done.json()["invitation"]["status"] == "INVITATION_STATUS_ACCEPTED"
        assert done.json()["invitation"]["token_hash"] == ""


def _session() -> Any:
    from workspace.identity.v1.identity_service_pb2 import GetSessionRequest

    return GetSessionRequest()


def _account(account_id: str) -> Any:
    from workspace.identity.v1.account_pb2 import Account

    return Account(account_id=account_id)
