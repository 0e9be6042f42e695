"""Repeats, etags and page tokens of the identity services, RPC by RPC."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest
from google.protobuf.field_mask_pb2 import FieldMask
from workspace.identity.v1 import account_pb2 as ac
from workspace.identity.v1 import account_service_pb2 as acs
from workspace.identity.v1 import identity_service_pb2 as ids
from workspace.identity.v1 import team_pb2 as tm
from workspace.identity.v1 import team_service_pb2 as tms

from tests.harness import Workspace
from tests.integration.identity.people import (
    ACTIVE,
    ANN,
    BOB,
    CAT,
    DAN,
    EDITOR,
    MEMBER,
    VIEWER,
    People,
    new_request_id,
    refused,
)


@dataclass
class Things:
    """Ann's account with bob and cat, her team with bob; dan is platform admin."""

    account: str
    team: str
    bob: str
    cat: str


async def enter(ws: Workspace) -> tuple[People, Things]:
    people = People(ws)
    _, bob, cat, _ = await people.sign_in(ANN, BOB, CAT, DAN)
    await people.bootstrap(DAN)
    account = await people.account(ANN, bob=EDITOR, cat=EDITOR)
    team = await people.team(ANN, account_id=account)
    await people.add_to_team(ANN, team, BOB, MEMBER)
    await people.identity(DAN).DisableUser(ids.DisableUserRequest(user_id=cat))
    return people, Things(account, team, bob, cat)


def masked(kind: Any, mask: str, **fields: Any) -> Any:
    return kind(**fields, update_mask=FieldMask(paths=[mask]))


def with_etag(request: Any) -> None:
    request.etag = '"another"'


def nested_etag(name: str) -> Callable[[Any], None]:
    return lambda request: setattr(getattr(request, name), "etag", '"another"')


def with_machine_tokens(request: Any) -> None:
    request.include_machine_tokens = True


def renamed(request: Any) -> None:
    request.name = "Other"



Case = tuple[str, Callable[[Things], Any], Callable[[Any], None]]
CASES: dict[str, Case] = {
    "UpdateAccount": (
        "accounts",
        lambda t: masked(
            acs.UpdateAccountRequest, "name", account=ac.Account(account_id=t.account, name="New")
        ),
        nested_etag("account"),
    ),
    "SetAccountStatus": (
        "accounts",
        lambda t: acs.SetAccountStatusRequest(
            account_id=t.account, status=ac.ACCOUNT_STATUS_SUSPENDED
        ),
        with_etag,
    ),
    "TransferAccountOwnership": (
        "accounts",
        lambda t: acs.TransferAccountOwnershipRequest(
            account_id=t.account, new_owner_user_id=t.bob
        ),
        with_etag,
    ),
    "UpdateAccountMember": (
        "accounts",
        lambda t: masked(
            acs.UpdateAccountMemberRequest, "role",
            member=ac.AccountMember(account_id=t.account, user_id=t.bob, role=VIEWER),
        ),
        nested_etag("member"),
    ),
    "RemoveAccountMember": (
        "accounts",
        lambda t: acs.RemoveAccountMemberRequest(account_id=t.account, user_id=t.bob),
        with_etag,
    ),
    "DisableUser": ("identity", lambda t: ids.DisableUserRequest(user_id=t.bob), with_etag),
    "EnableUser": ("identity", lambda t: ids.EnableUserRequest(user_id=t.cat), with_etag),
    "RevokeSessions": (
        "identity", lambda t: ids.RevokeSessionsRequest(user_id=t.bob), with_machine_tokens,
    ),
    "CreateTeam": (
        "teams", lambda t: tms.CreateTeamRequest(account_id=t.account, name="More"), renamed,
    ),
    "UpdateTeam": (
        "teams",
        lambda t: masked(
            tms.UpdateTeamRequest, "name", team=tm.Team(team_id=t.team, name="New")
        ),
        nested_etag("team"),
    ),
    "ArchiveTeam": ("teams", lambda t: tms.ArchiveTeamRequest(team_id=t.team), with_etag),
    "AddTeamMember": (
        "teams",
        lambda t: tms.AddTeamMemberRequest(team_id=t.team, email=DAN, role=MEMBER, guest=True),
        lambda request: setattr(request, "role", tm.TEAM_ROLE_VIEWER),
    ),
    "UpdateTeamMember": (
        "teams",
        lambda t: masked(
            tms.UpdateTeamMemberRequest, "role",
            member=tm.TeamMember(team_id=t.team, user_id=t.bob, role=tm.TEAM_ROLE_VIEWER),
        ),
        nested_etag("member"),
    ),
    "RemoveTeamMember": (
        "teams",
        lambda t: tms.RemoveTeamMemberRequest(team_id=t.team, user_id=t.bob),
        with_etag,
    ),
    "TransferRootAdmin": (
        "teams",
        lambda t: tms.TransferRootAdminRequest(team_id=t.team, new_root_admin_user_id=t.bob),
        with_etag,
    ),
}


@pytest.mark.parametrize("method", CASES)
async def test_a_request_id_stands_for_one_payload(ws: Workspace, method: str) -> None:
    people, things = await enter(ws)
    service, build, change = CASES[method]
    caller = DAN if service == "identity" else ANN
    call = getattr(getattr(people, service)(caller), method)
    request = build(things)
    request.request_id = new_request_id()
    first = await call(request)
    again = await call(request)
    first.ClearField("consistency_token")
    again.ClearField("consistency_token")
    assert again == first
    change(request)
    with refused("REQUEST_ID_REUSED"):
        await call(request)


@pytest.mark.parametrize("method", ["RemoveAccountMember", "RemoveTeamMember"])
async def test_a_removal_of_another_version_is_refused(ws: Workspace, method: str) -> None:
    people, things = await enter(ws)
    service, build, change = CASES[method]
    call = getattr(getattr(people, service)(ANN), method)
    request = build(things)
    change(request)
    with refused("ETAG_MISMATCH"):
        await call(request)
    fact = await people.fact(BOB, team_id=things.team)
    assert (fact.member_status, fact.account_member_status) == (ACTIVE, ACTIVE)
    request.ClearField("etag")
    assert (await call(request)).member.status == ac.MEMBER_STATUS_REMOVED


LISTS: dict[str, tuple[str, str, Callable[[Things], Any], Callable[[Any], None]]] = {
    "ListAllAccounts": (
        "accounts", DAN,
        lambda t: acs.ListAllAccountsRequest(page_size=1),
        lambda request: setattr(request, "status", ac.ACCOUNT_STATUS_ACTIVE),
    ),
    "ListAccountMembers": (
        "accounts", ANN,
        lambda t: acs.ListAccountMembersRequest(account_id=t.account, page_size=1),
        lambda request: setattr(request, "role", EDITOR),
    ),
    "ListTeamMembers": (
        "teams", ANN,
        lambda t: tms.ListTeamMembersRequest(team_id=t.team, page_size=1),
        lambda request: setattr(request, "status", ac.MEMBER_STATUS_ACTIVE),
    ),
}


@pytest.mark.parametrize("method", LISTS)
async def test_page_tokens_belong_to_their_arguments(ws: Workspace, method: str) -> None:
    people, things = await enter(ws)
    service, caller, build, change = LISTS[method]
    call = getattr(getattr(people, service)(caller), method)
    request = build(things)
    token = (await call(request)).next_page_token
    assert token
    request.page_token = token + "x"
    with refused("INVALID_PAGE_TOKEN"):
        await call(request)
    request.page_token = token
    await call(request)
    change(request)
    with refused("INVALID_PAGE_TOKEN"):
        await call(request)
