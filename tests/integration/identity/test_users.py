"""Users: who sees whom, the own name, disabling, revoking sessions, bootstrap."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from workspace.identity.v1 import account_service_pb2 as acs
from workspace.identity.v1 import identity_service_pb2 as ids
from workspace.identity.v1 import user_pb2 as us
from workspace.identity.v1.identity_service_pb2_grpc import IdentityServiceStub

from tests.harness import Workspace
from tests.integration.identity.people import (
    ANN,
    BOB,
    CAT,
    DAN,
    EDITOR,
    MEMBER,
    OWNER,
    SUSPENDED,
    People,
    new_request_id,
    reason_of,
    refused,
)


def _rename(user_id: str, name: str, **more: Any) -> ids.UpdateUserRequest:
    etag = more.pop("etag", "")
    request = ids.UpdateUserRequest(user=us.User(user_id=user_id, name=name, etag=etag), **more)
    request.update_mask.paths.append("name")
    return request


@pytest.mark.case("Z14")
async def test_people_see_those_they_share_an_account_or_team_with(ws: Workspace) -> None:
    people = People(ws)
    ann, bob, cat, _ = await people.sign_in(ANN, BOB, CAT, DAN)
    account = await people.account(ANN, bob=EDITOR)
    team = await people.team(CAT)
    await people.add_to_team(CAT, team, ANN, MEMBER)
    seen = (await people.identity(BOB).GetUser(ids.GetUserRequest(user_id=ann))).user
    assert (seen.user_id, seen.email) == (ann, ANN)
    assert not seen.issuer
    assert not seen.personal_workspace_id
    assert not seen.etag
    own = (await people.identity(ANN).GetUser(ids.GetUserRequest(user_id=ann))).user
    assert own.issuer
    assert own.etag
    assert (await people.identity(ANN).GetUser(ids.GetUserRequest(user_id=cat))).user.name
    for stranger in (bob, cat, "u_nobody"):
        with refused("PERMISSION_DENIED"):
            await people.identity(DAN).GetUser(ids.GetUserRequest(user_id=stranger))
    await people.member(ANN, account, BOB, "status", status=SUSPENDED)
    with refused("PERMISSION_DENIED"):
        await people.identity(BOB).GetUser(ids.GetUserRequest(user_id=ann))


async def test_a_platform_admin_reads_every_user(ws: Workspace) -> None:
    people = People(ws)
    _, bob = await people.sign_in(ANN, BOB)
    await people.bootstrap(ANN)
    assert (await people.identity(ANN).GetUser(ids.GetUserRequest(user_id=bob))).user.issuer
    with refused("PERMISSION_DENIED"):
        await people.identity(ANN).GetUser(ids.GetUserRequest(user_id="u_nobody"))


async def test_the_own_name_changes_and_copies_follow(ws: Workspace) -> None:
    people = People(ws)
    ann, bob = await people.sign_in(ANN, BOB)
    account = await people.account(ANN, bob=EDITOR)
    me = people.identity(BOB)
    before = (await me.GetUser(ids.GetUserRequest(user_id=bob))).user
    answer = await me.UpdateUser(_rename(bob, "Robert", etag=before.etag))
    assert answer.user.name == "Robert"
    assert answer.consistency_token
    members = await people.accounts(ANN).ListAccountMembers(
        acs.ListAccountMembersRequest(account_id=account)
    )
    assert {m.user_id: m.name for m in members.members}[bob] == "Robert"
    with refused("ETAG_MISMATCH"):
        await me.UpdateUser(_rename(bob, "Bobby", etag=before.etag))
    with refused("PERMISSION_DENIED"):
        await me.UpdateUser(_rename(ann, "Nan"))
    for bad in ("", " x", "a\u200bb"):
        with refused("INVALID_FIELD"):
            await me.UpdateUser(_rename(bob, bad))


async def test_copies_follow_in_every_account(ws: Workspace) -> None:
    """More than are written at once."""
    people = People(ws)
    _, bob = await people.sign_in(ANN, BOB)
    accounts = [await people.account(ANN, bob=EDITOR) for _ in range(20)]
    await people.identity(BOB).UpdateUser(_rename(bob, "Robert"))
    for account in accounts:
        request = acs.ListAccountMembersRequest(account_id=account)
        members = (await people.accounts(ANN).ListAccountMembers(request)).members
        assert {m.user_id: m.name for m in members}[bob] == "Robert"


@pytest.mark.case("Z11")
@pytest.mark.parametrize("field", ["email", "status", "user_id", "tokens_not_before", "nope"])
async def test_server_set_fields_are_refused(ws: Workspace, field: str) -> None:
    people = People(ws)
    (ann,) = await people.sign_in(ANN)
    request = _rename(ann, "Ann")
    request.update_mask.paths.append(field)
    with refused("INVALID_MASK"):
        await people.identity(ANN).UpdateUser(request)


async def test_update_is_safe_to_repeat(ws: Workspace) -> None:
    people = People(ws)
    (ann,) = await people.sign_in(ANN)
    me, request = people.identity(ANN), _rename(ann, "Anna", request_id=new_request_id())
    answers = await asyncio.gather(*(me.UpdateUser(request) for _ in range(50)))
    assert len({answer.user.etag for answer in answers}) == 1
    with refused("REQUEST_ID_REUSED"):
        await me.UpdateUser(_rename(ann, "Other", request_id=request.request_id))


async def test_users_of_an_account(ws: Workspace) -> None:
    people = People(ws)
    await people.sign_in(ANN, BOB, CAT, DAN)
    account = await people.account(ANN, bob=EDITOR, cat=EDITOR)
    await people.remove(ANN, account, CAT)
    seen, token = [], ""
    while True:
        page = await people.identity(BOB).ListUsers(
            ids.ListUsersRequest(account_id=account, page_size=1, page_token=token)
        )
        seen += [user.email for user in page.users]
        token = page.next_page_token
        if not token:
            break
    assert sorted(seen) == [ANN, BOB]
    named = await people.identity(BOB).ListUsers(
        ids.ListUsersRequest(account_id=account, name_prefix="ann")
    )
    assert [user.email for user in named.users] == [ANN]
    for stranger in (CAT, DAN):
        with refused("PERMISSION_DENIED"):
            await people.identity(stranger).ListUsers(ids.ListUsersRequest(account_id=account))
    with refused("INVALID_PAGE_TOKEN"):
        await people.identity(BOB).ListUsers(
            ids.ListUsersRequest(account_id=account, page_token="x")
        )


async def test_a_disabled_user_holds_nothing_at_once(ws: Workspace) -> None:
    people = People(ws)
    _, bob = await people.sign_in(ANN, BOB)
    await people.bootstrap(ANN)
    account = await people.account(BOB)
    team = await people.team(BOB)
    admin = people.identity(ANN)
    with refused("PERMISSION_DENIED"):
        await people.identity(BOB).DisableUser(ids.DisableUserRequest(user_id=bob))
    with refused("NOT_FOUND"):
        await admin.DisableUser(ids.DisableUserRequest(user_id="u_nobody"))
    with refused("ETAG_MISMATCH"):
        await admin.DisableUser(ids.DisableUserRequest(user_id=bob, etag='"other"'))
    answer = await admin.DisableUser(ids.DisableUserRequest(user_id=bob, reason="left"))
    assert answer.user.status == us.USER_STATUS_DISABLED
    left = {orphan.account_id or orphan.team_id for orphan in answer.orphans}
    assert {account, team} < left  # and the personal workspace
    assert answer.orphan_count == 3
    with refused("USER_DISABLED"):
        await people.identity(BOB).GetSession(ids.GetSessionRequest())
    issue = ids.IssueLocalTokenRequest(email=BOB, local_secret=people.secret)
    with refused("USER_DISABLED"):
        await ws.stub(IdentityServiceStub).IssueLocalToken(issue)
    enabled = await admin.EnableUser(ids.EnableUserRequest(user_id=bob))
    assert enabled.user.status == us.USER_STATUS_ACTIVE
    with refused("UNAUTHENTICATED"):  # old tokens stay refused
        await people.identity(BOB).GetSession(ids.GetSessionRequest())
    issued = await ws.stub(IdentityServiceStub).IssueLocalToken(issue)
    fresh: Any = ws._stub(IdentityServiceStub, issued.access_token, "")
    assert (await fresh.GetSession(ids.GetSessionRequest())).session.user.user_id == bob


async def test_enabling_is_for_platform_admins(ws: Workspace) -> None:
    people = People(ws)
    (ann,) = await people.sign_in(ANN)
    with refused("PERMISSION_DENIED"):
        await people.identity(ANN).EnableUser(ids.EnableUserRequest(user_id=ann))
    await people.bootstrap(ANN)
    with refused("NOT_FOUND"):
        await people.identity(ANN).EnableUser(ids.EnableUserRequest(user_id="u_nobody"))


async def test_a_co_owner_keeps_an_account_from_being_orphaned(ws: Workspace) -> None:
    people = People(ws)
    _, bob = await people.sign_in(ANN, BOB)
    await people.bootstrap(ANN)
    account = await people.account(BOB, cat=OWNER)
    answer = await people.identity(ANN).DisableUser(ids.DisableUserRequest(user_id=bob))
    assert account not in {orphan.account_id for orphan in answer.orphans}


@pytest.mark.case("T54")
async def test_revoked_sessions_end_at_once_and_a_new_sign_in_works(ws: Workspace) -> None:
    people = People(ws)
    ann, _ = await people.sign_in(ANN, BOB)
    me = people.identity(ANN)
    with refused("PERMISSION_DENIED"):
        await people.identity(BOB).RevokeSessions(ids.RevokeSessionsRequest(user_id=ann))
    answer = await me.RevokeSessions(
        ids.RevokeSessionsRequest(user_id=ann, include_machine_tokens=True)
    )
    assert answer.user.HasField("tokens_not_before")
    with refused("UNAUTHENTICATED"):
        await me.GetSession(ids.GetSessionRequest())
    issued = await ws.stub(IdentityServiceStub).IssueLocalToken(
        ids.IssueLocalTokenRequest(email=ANN, local_secret=people.secret)
    )
    fresh: Any = ws._stub(IdentityServiceStub, issued.access_token, "")
    assert (await fresh.GetSession(ids.GetSessionRequest())).session.user.user_id == ann
    await people.bootstrap(BOB)
    await people.identity(BOB).RevokeSessions(ids.RevokeSessionsRequest(user_id=ann))
    with refused("UNAUTHENTICATED"):
        await fresh.GetSession(ids.GetSessionRequest())


@pytest.mark.case("G10")
async def test_bootstrap_works_once_even_when_raced(ws: Workspace) -> None:
    people = People(ws)
    await people.sign_in(ANN, BOB, CAT)
    with refused("PERMISSION_DENIED"):
        await people.identity(ANN).BootstrapPlatformAdmin(
            ids.BootstrapPlatformAdminRequest(bootstrap_secret="wrong")
        )
    request = ids.BootstrapPlatformAdminRequest(
        bootstrap_secret=people.secret, request_id=new_request_id()
    )
    calls = [people.identity(who).BootstrapPlatformAdmin(request) for who in (ANN, BOB, CAT)]
    outcomes = await asyncio.gather(*calls, return_exceptions=True)
    failed = [reason_of(each) for each in outcomes if isinstance(each, BaseException)]
    assert failed == ["ALREADY_EXISTS"] * 2
    winner = (ANN, BOB, CAT)[[isinstance(each, BaseException) for each in outcomes].index(False)]
    again = await people.identity(winner).BootstrapPlatformAdmin(request)
    assert again.platform_admin.source == "bootstrap"
    session = (await people.identity(winner).GetSession(ids.GetSessionRequest())).session
    assert session.is_platform_admin


async def test_services_resolve_verified_addresses_of_active_users(ws: Workspace) -> None:
    people = People(ws)
    _, bob, _ = await people.sign_in(ANN, BOB, DAN)
    await people.bootstrap(DAN)

    async def resolved(email: str) -> str:
        request = ids.ResolveUserRequest(email=email)
        return (await people.as_service().ResolveUser(request)).user_id

    assert await resolved("Bob@Example.com") == bob
    assert await resolved("nobody@example.com") == ""
    await people.identity(DAN).DisableUser(ids.DisableUserRequest(user_id=bob))
    assert await resolved(BOB) == ""
    for stub in (people.identity(ANN), people.as_service("storage_svc")):
        with refused("PERMISSION_DENIED"):
            await stub.ResolveUser(ids.ResolveUserRequest(email=BOB))
