"""TryMembershipChange: the record as it would be, decided as the change decides."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from workspace.identity.v1 import account_service_pb2 as acs
from workspace.identity.v1 import identity_service_pb2 as ids
from workspace.identity.v1 import team_service_pb2 as tms
from workspace.identity.v1.account_pb2 import AccountStatus
from workspace.identity.v1.identity_service_pb2_grpc import IdentityServiceStub
from workspace.identity.v1.membership_change_pb2 import DisableUserChange, ProposedMembershipChange
from workspace.identity.v1.team_pb2 import TeamStatus
from workspace.identity.v1.user_pb2 import UserStatus

from services.records.trial import trial_kernel, tried
from tests.harness import Workspace
from tests.integration.identity.people import (
    ANN,
    BOB,
    CAT,
    DAN,
    EDITOR,
    REMOVED,
    People,
    new_request_id,
    refused,
)
from tests.integration.project.scene import written_since


@pytest.fixture
async def people(ws: Workspace) -> People:
    people = People(ws)
    await people.sign_in(ANN, BOB, CAT, DAN)
    return people


def trial(people: People, as_: str, **change: Any) -> Any:
    """As the project service, with the token of a person."""
    stub: Any = people.ws.service_stub(IdentityServiceStub, service="project_svc", as_=as_)
    return stub.TryMembershipChange(
        ids.TryMembershipChangeRequest(change=ProposedMembershipChange(**change))
    )


async def test_each_change_answers_its_record_and_writes_nothing(people: People) -> None:
    account = await people.account(ANN, bob=EDITOR)
    team = await people.team(ANN, account_id=account)
    bob = await people.ws.sign_in(BOB)
    await people.bootstrap(ANN)
    cursor = await people.ws.records.tail()
    removal = acs.RemoveAccountMemberRequest(account_id=account, user_id=bob)
    member = (await trial(people, ANN, remove_account_member=removal)).account_member
    assert (member.user_id, member.status) == (bob, REMOVED)
    assert (member.email, member.name) == ("", ""), "ids are enough"
    suspended = AccountStatus.ACCOUNT_STATUS_SUSPENDED
    status = acs.SetAccountStatusRequest(account_id=account, status=suspended)
    assert (await trial(people, ANN, set_account_status=status)).account.status == suspended
    archived = tms.ArchiveTeamRequest(team_id=team)
    answer = await trial(people, ANN, archive_team=archived)
    assert answer.team.status == TeamStatus.TEAM_STATUS_ARCHIVED
    answer = await trial(people, ANN, disable_user=DisableUserChange(user_id=bob))
    assert answer.user.status == UserStatus.USER_STATUS_DISABLED
    assert not answer.user.email
    assert not await written_since(people.ws, cursor)
    assert (await people.fact(BOB, account_id=account)).member_status != REMOVED


async def test_what_would_change_nothing_has_no_record(people: People) -> None:
    team = await people.team(ANN)
    archived = tms.ArchiveTeamRequest(team_id=team)
    await people.teams(ANN).ArchiveTeam(archived)
    answer = await trial(people, ANN, archive_team=archived)
    assert answer.WhichOneof("after") is None


async def test_a_request_id_is_ignored(people: People) -> None:
    """Even that of the change itself, which has been made."""
    account = await people.account(ANN, bob=EDITOR)
    bob = await people.ws.sign_in(BOB)
    removal = acs.RemoveAccountMemberRequest(
        account_id=account, user_id=bob, request_id=new_request_id()
    )
    first, second = await asyncio.gather(
        trial(people, ANN, remove_account_member=removal),
        trial(people, ANN, remove_account_member=removal),
    )
    assert first.account_member.user_id == second.account_member.user_id == bob
    await people.accounts(ANN).RemoveAccountMember(removal)
    with refused("NOT_FOUND"):
        await trial(people, ANN, remove_account_member=removal)


async def test_it_decides_about_the_person_and_is_for_the_project_service(people: People) -> None:
    account = await people.account(ANN, bob=EDITOR)
    status = acs.SetAccountStatusRequest(
        account_id=account, status=AccountStatus.ACCOUNT_STATUS_ARCHIVED
    )
    with refused("PERMISSION_DENIED"):
        await trial(people, BOB, set_account_status=status)
    with refused("PERMISSION_DENIED"):
        await trial(people, "", set_account_status=status)
    request = ids.TryMembershipChangeRequest(
        change=ProposedMembershipChange(set_account_status=status)
    )
    with refused("PERMISSION_DENIED"):
        await people.identity(ANN).TryMembershipChange(request)
    with refused("PERMISSION_DENIED"):
        await people.as_service("storage_svc").TryMembershipChange(request)
    with refused("INVALID_FIELD"):
        await people.as_service().TryMembershipChange(ids.TryMembershipChangeRequest())


async def test_a_trial_kernel_cannot_write(ws: Workspace) -> None:
    """Whatever a use case does besides its commit fails; due work is not kept."""
    kernel = trial_kernel(ws.process.kernel)
    for write in ("commit", "put_row", "delete_row", "on_commit", "driver"):
        with pytest.raises(AssertionError, match=write):
            getattr(kernel.records, write)
    cursor = await ws.records.tail()
    await kernel.due.schedule("kind", "of-a-trial", 0)
    items = (await ws.records.changes(cursor, 100)).items
    assert not any("of-a-trial" in item.body for item in items)

    async def nothing() -> str:
        return "unchanged"

    async def broken() -> None:
        raise ValueError("as it is")

    assert await tried(nothing()) == []
    with pytest.raises(ValueError, match="as it is"):
        await tried(broken())
