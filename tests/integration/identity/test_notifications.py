"""Which events become mail, for whom, and in what words."""

from __future__ import annotations

import re
import time
from typing import Any

import pytest
from google.protobuf.field_mask_pb2 import FieldMask
from google.protobuf.timestamp_pb2 import Timestamp
from workspace.identity.v1 import account_pb2 as ac
from workspace.identity.v1 import account_service_pb2 as acs
from workspace.identity.v1 import identity_service_pb2 as ids
from workspace.identity.v1 import invitation_service_pb2 as ivs
from workspace.identity.v1 import preference_pb2 as pf
from workspace.identity.v1 import preference_service_pb2 as pfs
from workspace.identity.v1 import team_service_pb2 as tms
from workspace.identity.v1.user_pb2 import User
from workspace.project.v1 import grant_pb2 as gr
from workspace.project.v1 import grant_service_pb2 as gs
from workspace.project.v1 import project_service_pb2 as prs
from workspace.project.v1.project_service_pb2_grpc import ProjectServiceStub

from tests.integration.identity.inviting import (
    COMMENT,
    MANAGE,
    TO_MEMBERS,
    TO_READERS,
    VIEW,
    WRITE,
)
from tests.integration.identity.people import (
    ACCOUNT_ADMIN,
    ADMIN,
    ADMINISTRATOR,
    ANN,
    BOB,
    CAT,
    DAN,
    EDITOR,
    MEMBER,
    OWNER,
    SUSPENDED,
    VIEWER,
)
from tests.integration.identity.post import Post, only, text, to

EVE = "eve@example.com"
DAY = 24 * 3600
LINK = re.compile(r"https://ws\.example/invitations#(\S+)")


async def prefer(post: Post, email: str, topic: str, delivery: int) -> None:
    await post.preferences(email).UpdateNotificationPreferences(
        pfs.UpdateNotificationPreferencesRequest(
            user_id=await post.ws.sign_in(email),
            preferences=[pf.NotificationPreference(topic=topic, delivery=delivery)],
            update_mask=FieldMask(paths=["delivery"]),
        )
    )


async def route(post: Post, topic: str, **values: Any) -> None:
    await post.accounts(ANN).UpdateNotificationRouting(
        acs.UpdateNotificationRoutingRequest(
            notification_routing=ac.NotificationRouting(
                account_id=post.account_id, topic=topic, **values
            ),
            update_mask=FieldMask(paths=["disabled", "user_ids", "roles"]),
        )
    )


# -- invitations


@pytest.mark.case("I07")
async def test_an_invitation_goes_to_the_address_with_a_link_that_works(post: Post) -> None:
    made = await post.invite(email="New.One@example.com")
    mails = await post.deliver()
    mail = only(mails, "New.One@example.com")
    assert len(mails) == 1
    assert mail["Subject"] == 'Invitation to the account "Acme"'
    assert mail["Auto-Submitted"] == "auto-generated"
    assert f'"{ANN}" invites you to the account "Acme"' in text(mail)
    link = LINK.search(text(mail))
    assert link is not None
    assert link[1] == made.token
    await post.ws.sign_in("new.one@example.com")
    accepted = await post.accept("new.one@example.com", link[1])
    assert accepted.invitation.target_id == post.account_id


async def test_sent_again_the_link_is_the_new_one(post: Post) -> None:
    made = await post.invite()
    first = LINK.search(text(only(await post.deliver(), CAT)))
    again = await post.invitations(ANN).ResendInvitation(
        ivs.ResendInvitationRequest(invitation_id=made.invitation.invitation_id)
    )
    second = LINK.search(text(only(await post.deliver(), CAT)))
    assert first is not None
    assert second is not None
    assert (first[1], second[1]) == (made.token, again.token)
    assert first[1] != second[1]


async def test_of_two_generations_only_the_present_one_is_sent(post: Post) -> None:
    made = await post.invite()
    again = await post.invitations(ANN).ResendInvitation(
        ivs.ResendInvitationRequest(invitation_id=made.invitation.invitation_id)
    )
    assert again.token in text(only(await post.deliver(), CAT))


async def test_a_link_for_anyone_is_sent_to_nobody(post: Post) -> None:
    await post.invite(anyone_with_link=True)
    assert await post.deliver() == []


async def test_what_was_revoked_before_it_was_sent_is_not_sent(post: Post) -> None:
    made = await post.invite()
    await post.relay()
    await post.invitations(ANN).RevokeInvitation(
        ivs.RevokeInvitationRequest(invitation_id=made.invitation.invitation_id)
    )
    assert await post.deliver() == []


async def test_an_invitation_to_a_project_has_its_present_name(post: Post) -> None:
    project_id = await post.project()
    await post.skip()
    await post.invite(project_id=project_id, terms=TO_READERS)
    await post.ws.stub(ProjectServiceStub, as_=ANN).UpdateProject(
        prs.UpdateProjectRequest(
            project={"project_id": project_id, "name": "Tunnel"}, update_mask={"paths": ["name"]}
        )
    )
    mail = only(await post.deliver(), CAT)
    assert mail["Subject"] == 'Invitation to the project "Tunnel"'


async def test_a_team_is_asked_through_its_administrators_without_a_token(post: Post) -> None:
    team_id = await post.team(CAT, name="Welders")
    await post.add_to_team(CAT, team_id, DAN, MEMBER)
    project_id = await post.project()
    await post.skip()
    made = await post.invite(project_id=project_id, grantee_team_id=team_id, terms=TO_READERS)
    mails = await post.deliver()
    assert to(mails) == [CAT]
    assert mails[0]["Subject"] == 'An invitation waits for the team "Welders"'
    assert made.token not in text(mails[0])


@pytest.mark.parametrize("verb", ["accepted", "declined"])
async def test_the_inviter_is_told_of_the_answer(post: Post, verb: str) -> None:
    made = await post.invite()
    await post.skip()
    if verb == "accepted":
        await post.accept(CAT, made.token)
    else:
        request = ivs.DeclineInvitationRequest(token=made.token)
        await post.invitations(CAT).DeclineInvitation(request)
    mails = [each for each in await post.deliver() if "invitation" in each["Subject"].lower()]
    assert to(mails) == [ANN]
    assert mails[0]["Subject"] == f'Your invitation to the account "Acme" was {verb}'


async def test_a_disabled_user_is_not_reached_by_an_invitation(post: Post) -> None:
    await post.bootstrap(DAN)
    await post.identity(DAN).DisableUser(ids.DisableUserRequest(user_id=post.cat))
    await post.skip()
    await post.invite(email=CAT)
    assert await post.deliver() == []


async def test_an_inviter_who_lost_the_right_sends_no_link(post: Post) -> None:
    project_id = await post.project()
    grant = await post.give(project_id, BOB, VIEW, MANAGE)
    await post.member(ANN, post.account_id, BOB, "role", role=ADMINISTRATOR)
    await post.skip()
    await post.invite(BOB, project_id=project_id, terms=TO_READERS)
    await post.relay()
    await post.grants(ANN).RevokeGrant(
        gs.RevokeGrantRequest(project_id=project_id, grant_id=grant.grant_id)
    )
    assert CAT not in to(await post.later(0.1))


# -- grants


async def test_who_is_given_access_is_told(post: Post) -> None:
    project_id = await post.project()
    await post.skip()
    await post.give(project_id, BOB, VIEW, WRITE)
    mails = await post.deliver()
    assert to(mails) == [BOB]
    assert mails[0]["Subject"] == 'Access to "Bridge"'
    assert 'You now have access to the project "Bridge": view, write.' in text(mails[0])
    assert "project.shared" in text(mails[0])


async def test_a_change_is_told_and_a_note_is_not(post: Post) -> None:
    project_id = await post.project()
    grant = await post.give(project_id, BOB, VIEW)
    await post.skip()
    for mask, values in (("note", {"note": "x"}), ("permissions", {"permissions": [COMMENT]})):
        await post.grants(ANN).UpdateGrant(
            gs.UpdateGrantRequest(
                grant=gr.Grant(project_id=project_id, grant_id=grant.grant_id, **values),
                update_mask=FieldMask(paths=[mask]),
            )
        )
    mail = only(await post.deliver(), BOB)
    assert mail["Subject"] == 'Changed access to "Bridge"'
    assert "It is now: view, comment." in text(mail)


async def test_who_sees_the_project_no_more_reads_its_id(post: Post) -> None:
    project_id = await post.project(name="Secret bridge")
    grant = await post.give(project_id, BOB, VIEW)
    await post.skip()
    await post.grants(ANN).RevokeGrant(
        gs.RevokeGrantRequest(project_id=project_id, grant_id=grant.grant_id)
    )
    mail = only(await post.deliver(), BOB)
    assert project_id in text(mail)
    assert "Secret" not in mail.as_string()


async def test_what_was_given_and_taken_back_at_once_is_not_announced(post: Post) -> None:
    project_id = await post.project()
    await post.skip()
    grant = await post.give(project_id, BOB, VIEW)
    await post.grants(ANN).RevokeGrant(
        gs.RevokeGrantRequest(project_id=project_id, grant_id=grant.grant_id)
    )
    assert [each["Subject"] for each in await post.deliver()] == [
        "Access to a project was taken back"
    ]


async def test_of_a_team_the_administrators_are_told(post: Post) -> None:
    team_id = await post.team(ANN, account_id=post.account_id)
    await post.add_to_team(ANN, team_id, BOB, ADMIN)
    await post.member_of_account(DAN)
    await post.add_to_team(ANN, team_id, DAN, MEMBER)
    project_id = await post.project()
    await post.skip()
    await post.grants(ANN).CreateGrant(
        gs.CreateGrantRequest(
            project_id=project_id, target_type=gr.GRANT_TARGET_TYPE_TEAM, target_id=team_id,
            permissions=[VIEW],
        )
    )
    mails = await post.deliver()
    assert to(mails) == [BOB]  # ann did it herself
    assert 'The members of the team "Crew" now have access' in text(mails[0])


async def test_an_assigned_project_is_told_by_its_own_topic(post: Post) -> None:
    team_id = await post.team(ANN, account_id=post.account_id)
    await post.add_to_team(ANN, team_id, BOB, ADMIN)
    project_id = await post.project()
    await post.skip()
    await post.ws.stub(ProjectServiceStub, as_=ANN).AssignProject(
        prs.AssignProjectRequest(project_id=project_id, team_id=team_id)
    )
    mail = only(await post.deliver(), BOB)
    assert "project.assigned" in text(mail)


async def test_the_managers_of_an_account_are_told_of_a_project_that_enters(post: Post) -> None:
    await post.member(ANN, post.account_id, BOB, "role", role=ACCOUNT_ADMIN)
    project_id = await post.project(account_id="")
    await post.skip()
    await post.ws.stub(ProjectServiceStub, as_=ANN).AssignProject(
        prs.AssignProjectRequest(project_id=project_id, account_id=post.account_id)
    )
    mail = only(await post.deliver(), BOB)
    assert mail["Subject"] == 'A project came into the account "Acme"'
    assert project_id in text(mail)  # it is restricted: he may not see its name


async def test_a_grant_that_ends_is_told_of_seven_days_and_one_day_before(post: Post) -> None:
    project_id, ends = await post.project(), Timestamp(seconds=int(time.time()) + 30 * DAY)
    await post.give(project_id, BOB, VIEW, expires_at=ends)
    await post.deliver()
    assert await post.later(22 * DAY) == []
    week = await post.later(DAY + 60)
    assert [each["Subject"] for each in week] == ['Access to "Bridge" ends soon']
    assert await post.later(5 * DAY) == []
    assert to(await post.later(DAY)) == [BOB]
    assert await post.later(3 * DAY) == []


async def test_a_prolonged_grant_is_not_said_to_end(post: Post) -> None:
    project_id, ends = await post.project(), Timestamp(seconds=int(time.time()) + 8 * DAY)
    grant = await post.give(project_id, BOB, VIEW, expires_at=ends)
    await post.relay()
    await post.work()
    grant.expires_at.seconds += 30 * DAY
    await post.grants(ANN).UpdateGrant(
        gs.UpdateGrantRequest(grant=grant, update_mask=FieldMask(paths=["expires_at"]))
    )
    await post.deliver()
    assert await post.later(8 * DAY) == []
    assert to(await post.later(24 * DAY)) == [BOB]


# -- access requests


async def test_who_may_decide_is_asked_and_the_asker_hears(post: Post) -> None:
    project_id = await post.project()
    await post.give(project_id, BOB, VIEW, MANAGE)
    await post.skip()
    asked = await post.grants(CAT).RequestAccess(
        gs.RequestAccessRequest(project_id=project_id, permissions=[VIEW], note="please <b>")
    )
    mails = await post.deliver()
    assert to(mails) == [ANN, BOB]
    assert f'"{CAT}" asks for access to the project "Bridge": view.' in text(mails[0])
    assert "please" not in text(mails[0])
    await post.grants(ANN).DecideAccessRequest(
        gs.DecideAccessRequestRequest(
            project_id=project_id, approve=True, etag=asked.access_request.etag,
            access_request_id=asked.access_request.access_request_id,
        )
    )
    mails = await post.deliver()
    assert to(mails) == [CAT]
    assert mails[0]["Subject"] == 'You have access to "Bridge"'


async def test_who_is_declined_learns_no_name(post: Post) -> None:
    project_id = await post.project(name="Secret bridge")
    asked = await post.grants(CAT).RequestAccess(
        gs.RequestAccessRequest(project_id=project_id, permissions=[VIEW])
    )
    await post.skip()
    await post.grants(ANN).DecideAccessRequest(
        gs.DecideAccessRequestRequest(
            project_id=project_id, access_request_id=asked.access_request.access_request_id
        )
    )
    mail = only(await post.deliver(), CAT)
    assert project_id in text(mail)
    assert "Secret" not in mail.as_string()


async def test_a_request_for_a_project_that_is_not_there_is_mailed_to_nobody(post: Post) -> None:
    await post.grants(CAT).RequestAccess(
        gs.RequestAccessRequest(project_id="p_nothing", permissions=[VIEW])
    )
    assert await post.deliver() == []


async def test_who_may_not_decide_any_more_is_not_asked(post: Post) -> None:
    project_id = await post.project()
    grant = await post.give(project_id, BOB, VIEW, MANAGE)
    await post.skip()
    await post.grants(CAT).RequestAccess(
        gs.RequestAccessRequest(project_id=project_id, permissions=[VIEW])
    )
    await post.relay()
    await post.grants(ANN).RevokeGrant(
        gs.RevokeGrantRequest(project_id=project_id, grant_id=grant.grant_id)
    )
    assert to(await post.later(0.1)) == [ANN]


# -- members and owners


async def test_members_and_whom_the_account_routes_it_to(post: Post) -> None:
    await post.member(ANN, post.account_id, BOB, "role", role=ACCOUNT_ADMIN)
    await post.skip()
    await post.member_of_account(CAT, EDITOR)
    mails = await post.deliver()
    assert to(mails) == [BOB, CAT]
    assert text(mails[0]).count(f'"{CAT}" was added as a member of the account "Acme": editor.')
    assert 'You are now a member of the account "Acme": editor.' in text(mails[1])
    await post.member(ANN, post.account_id, CAT, "role", role=VIEWER)
    mails = await post.deliver()
    assert to(mails) == [BOB, CAT]
    assert 'Your membership in the account "Acme" was changed: viewer.' in text(mails[1])
    await post.member(ANN, post.account_id, CAT, "status", status=SUSPENDED)
    mail = only(await post.deliver(), CAT)
    assert f"the account {post.account_id} was changed: suspended." in text(mail)


async def test_who_was_removed_reads_ids_and_one_mail_for_account_and_teams(post: Post) -> None:
    await post.member_of_account(CAT, EDITOR)
    team_id = await post.team(ANN, account_id=post.account_id)
    await post.add_to_team(ANN, team_id, CAT, MEMBER)
    await post.skip()
    await post.remove(ANN, post.account_id, CAT)
    mail = only(await post.deliver(), CAT)
    assert mail["Subject"] == "You are no longer a member of an account"
    assert f"Your membership in the account {post.account_id} has ended" in text(mail)
    assert "Acme" not in mail.as_string()


async def test_team_members(post: Post) -> None:
    team_id = await post.team(ANN)
    await post.skip()
    await post.add_to_team(ANN, team_id, CAT, MEMBER)
    mails = await post.deliver()
    assert to(mails) == [CAT]
    assert 'You are now a member of the team "Crew": member.' in text(mails[0])
    await post.team_member(ANN, team_id, CAT, "role", role=ADMIN)
    assert "was changed: admin." in text(only(await post.deliver(), CAT))
    await post.remove_from_team(ANN, team_id, CAT)
    assert f"the team {team_id}" in text(only(await post.deliver(), CAT))


async def test_a_new_owner_and_a_new_root_administrator(post: Post) -> None:
    await post.accounts(ANN).TransferAccountOwnership(
        acs.TransferAccountOwnershipRequest(
            account_id=post.account_id, new_owner_user_id=post.bob
        )
    )
    mail = only(await post.deliver(), BOB)
    assert mail["Subject"] == 'The account "Acme" has a new owner'
    assert 'You are now the owner of the account "Acme".' in text(mail)
    team_id = await post.team(ANN)
    await post.add_to_team(ANN, team_id, CAT, ADMIN)
    await post.skip()
    await post.teams(ANN).TransferRootAdmin(
        tms.TransferRootAdminRequest(team_id=team_id, new_root_admin_user_id=post.cat)
    )
    assert "root administrator" in only(await post.deliver(), CAT)["Subject"]


async def test_orphaned_and_claimed_projects(post: Post) -> None:
    await post.member_of_account(CAT, OWNER)
    await post.member(ANN, post.account_id, BOB, "role", role=ADMINISTRATOR)
    project_id = await post.project(BOB, name="Left alone")
    await post.give(project_id, DAN, VIEW, MANAGE, by=BOB)
    await post.ws.sign_in(EVE)
    await post.bootstrap(EVE)
    await post.skip()
    await post.identity(EVE).DisableUser(ids.DisableUserRequest(user_id=post.bob))
    mails = await post.deliver()
    assert to(mails) == [ANN, CAT, DAN]
    assert mails[0]["Subject"] == "1 project without an owner"
    assert project_id in text(mails[0])  # restricted: an account owner does not see it
    assert 'the account "Acme"' in text(mails[0])
    assert '- "Left alone"' in text(mails[2])
    await post.accounts(ANN).ClaimOrphanedProject(
        acs.ClaimOrphanedProjectRequest(
            account_id=post.account_id, project_id=project_id, reason="the owner left",
        )
    )
    mails = await post.deliver()
    assert to(mails) == [CAT, DAN]
    assert mails[0]["Subject"] == f"The project {project_id} has a new owner"
    assert mails[1]["Subject"] == 'The project "Left alone" has a new owner'
    assert f'"{ANN}" is now its owner.' in text(mails[1])


# -- who wants mail, and who may get it


async def test_a_preference_switches_a_topic_off(post: Post) -> None:
    project_id = await post.project()
    await prefer(post, BOB, "project.shared", pf.NOTIFICATION_DELIVERY_NONE)
    await post.skip()
    await post.give(project_id, BOB, VIEW)
    assert await post.deliver() == []
    await prefer(post, BOB, "project.shared", pf.NOTIFICATION_DELIVERY_EMAIL)
    grant = (await post.live_grants(project_id, post.bob))[0]
    await post.grants(ANN).RevokeGrant(
        gs.RevokeGrantRequest(project_id=project_id, grant_id=grant.grant_id)
    )
    assert to(await post.deliver()) == [BOB]


async def test_routing_by_user_by_role_and_off(post: Post) -> None:
    await post.member_of_account(DAN, VIEWER)
    await route(post, "account.members", user_ids=[post.bob], roles=[ac.ACCOUNT_ROLE_VIEWER])
    await post.skip()
    await post.member_of_account(CAT, EDITOR)
    assert to(await post.deliver()) == [BOB, CAT, DAN]
    await route(post, "account.members", disabled=True, user_ids=[post.bob])
    await post.skip()
    await post.member(ANN, post.account_id, CAT, "role", role=OWNER)
    assert to(await post.deliver()) == [CAT]


async def test_routing_is_asked_again_when_the_mail_is_sent(post: Post) -> None:
    await post.member(ANN, post.account_id, BOB, "role", role=ACCOUNT_ADMIN)
    await post.skip()
    await post.member_of_account(CAT, EDITOR)
    await post.relay()
    await post.member(ANN, post.account_id, BOB, "status", status=SUSPENDED)
    assert to(await post.later(0.1)) == [CAT]


async def test_nobody_is_mailed_about_what_he_did(post: Post) -> None:
    await post.remove(BOB, post.account_id, BOB)
    assert BOB not in to(await post.deliver())


async def test_unverified_and_disabled_users_get_nothing(post: Post) -> None:
    project_id = await post.project()
    guest = await post.outsider("guest@example.com", verified=False)
    await post.skip()
    await post.edit("user", User(user_id=post.bob), email_verified=False)
    await post.give(project_id, BOB, VIEW)
    await post.bootstrap(DAN)
    await post.give(project_id, CAT, VIEW)
    await post.relay()
    await post.identity(DAN).DisableUser(ids.DisableUserRequest(user_id=post.cat))
    assert guest
    assert await post.later(0.1) == []


# -- names


@pytest.mark.case("I08")
async def test_names_cannot_make_headers_lines_or_links(post: Post) -> None:
    name = 'Bridge" now: see https://evil.example/ www.evil.example ' + "x" * 120
    project_id = await post.project(name=name)
    await post.skip()
    await post.give(project_id, BOB, VIEW)
    await post.edit(  # what no RPC accepts, but another instance might have
        "user", User(user_id=post.ann), name="Ann\r\nBcc: all@example.com\u202e\u2028x",
    )
    await post.invite(email="new@example.com")
    mails = await post.deliver()
    assert to(mails) == [BOB, "new@example.com"]
    shared, invitation = mails
    assert "\n" not in str(shared["Subject"])
    assert "https://evil" not in shared.as_string()
    assert "www.evil" not in shared.as_string()
    assert "x" * 100 not in shared.as_string()
    assert invitation["Bcc"] is None
    assert '"Ann Bcc: all@example.com x" invites you' in text(invitation)
    assert set(invitation.keys()) == {
        "From", "To", "Subject", "Date", "Message-ID", "Auto-Submitted", "Content-Type",
        "Content-Transfer-Encoding", "MIME-Version",
    }


async def test_a_team_invitation_names_the_team(post: Post) -> None:
    team_id = await post.team(ANN, name="Crew 7")
    await post.skip()
    await post.invite(team_id=team_id, terms=TO_MEMBERS)
    assert only(await post.deliver(), CAT)["Subject"] == 'Invitation to the team "Crew 7"'
