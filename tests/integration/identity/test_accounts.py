"""Accounts and their members: capabilities, ranks, the last owner."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from workspace.common.v1.classification_pb2 import Classification
from workspace.common.v1.visibility_pb2 import Visibility
from workspace.identity.v1 import account_pb2 as ac
from workspace.identity.v1 import account_service_pb2 as acs
from workspace.identity.v1 import identity_service_pb2 as ids

from identity_svc.accounts import rules as account_rules
from services.records.store import RecordStore
from tests.harness import Workspace
from tests.integration.identity.people import (
    ACCOUNT_ADMIN,
    ACTIVE,
    ADMINISTRATOR,
    ANN,
    BOB,
    CAT,
    DAN,
    EDITOR,
    MEMBER,
    OWNER,
    REMOVED,
    SUSPENDED,
    VIEWER,
    People,
    new_request_id,
    reason_of,
    refused,
)

CREATE = {"name": "Acme", "type": "client_org"}


def _update(account_id: str, mask: str, **values: Any) -> acs.UpdateAccountRequest:
    request = acs.UpdateAccountRequest(account=ac.Account(account_id=account_id, **values))
    request.update_mask.paths.extend(mask.split(","))
    return request


def _status(account_id: str, name: str, **more: Any) -> acs.SetAccountStatusRequest:
    status = ac.AccountStatus.Value(f"ACCOUNT_STATUS_{name}")
    return acs.SetAccountStatusRequest(account_id=account_id, status=status, **more)


async def _personal(people: People, email: str) -> str:
    session = await people.identity(email).GetSession(ids.GetSessionRequest())
    return str(session.session.user.personal_workspace_id)


async def _owners(people: People, by: str, account_id: str) -> set[str]:
    answer = await people.accounts(by).ListAccountMembers(
        acs.ListAccountMembersRequest(account_id=account_id, role=OWNER, status=ACTIVE)
    )
    return {member.email for member in answer.members}


async def test_create_makes_the_caller_owner_with_defaults(ws: Workspace) -> None:
    people = People(ws)
    ann, bob = await people.sign_in(ANN, BOB)
    made = await people.accounts(ANN).CreateAccount(acs.CreateAccountRequest(**CREATE))
    assert made.account.owner_user_id == made.owner.user_id == ann
    assert (made.owner.role, made.owner.status) == (OWNER, ACTIVE)
    assert made.account.data_classification == Classification.CLASSIFICATION_INTERNAL
    assert made.account.default_project_visibility == Visibility.VISIBILITY_PRIVATE
    assert made.account.etag
    assert made.consistency_token
    with refused("INVALID_FIELD"):
        await people.accounts(ANN).CreateAccount(
            acs.CreateAccountRequest(**(CREATE | {"type": "personal"}))
        )
    with refused("PERMISSION_DENIED"):
        await people.accounts(ANN).CreateAccount(
            acs.CreateAccountRequest(**CREATE, owner_user_id=bob)
        )


async def test_a_platform_admin_creates_for_others_but_is_no_member(ws: Workspace) -> None:
    people = People(ws)
    ann, bob = await people.sign_in(ANN, BOB)
    await people.bootstrap(ANN)
    admin = people.accounts(ANN)
    made = await admin.CreateAccount(acs.CreateAccountRequest(**CREATE, owner_user_id=bob))
    account_id = made.account.account_id
    with refused("NOT_FOUND"):
        await admin.CreateAccount(acs.CreateAccountRequest(**CREATE, owner_user_id="u_nobody"))
    assert (await admin.GetAccount(acs.GetAccountRequest(account_id=account_id))).account.name
    listed = await admin.ListAllAccounts(acs.ListAllAccountsRequest(type="client_org"))
    assert [a.account_id for a in listed.accounts] == [account_id]
    with refused("PERMISSION_DENIED"):
        await people.accounts(BOB).ListAllAccounts(acs.ListAllAccountsRequest())
    with refused("PERMISSION_DENIED"):
        await admin.AddAccountMember(
            acs.AddAccountMemberRequest(account_id=account_id, user_id=ann, role=VIEWER)
        )
    with refused("PERMISSION_DENIED"):
        await admin.ListAccountMembers(acs.ListAccountMembersRequest(account_id=account_id))


async def test_fifty_equal_creations_make_one_account(ws: Workspace) -> None:
    people = People(ws)
    await people.sign_in(ANN)
    request = acs.CreateAccountRequest(**CREATE, request_id=new_request_id())
    stub = people.accounts(ANN)
    answers = await asyncio.gather(*(stub.CreateAccount(request) for _ in range(50)))
    assert len({answer.account.SerializeToString(deterministic=True) for answer in answers}) == 1
    assert len((await stub.ListAccounts(acs.ListAccountsRequest(type="client_org"))).accounts) == 1
    with refused("REQUEST_ID_REUSED"):
        await stub.CreateAccount(
            acs.CreateAccountRequest(**(CREATE | {"name": "B"}), request_id=request.request_id)
        )


async def test_lists_are_complete_and_bound_to_their_caller(ws: Workspace) -> None:
    people = People(ws)
    await people.sign_in(ANN, BOB)
    made = {await people.account(ANN) for _ in range(4)}
    stub, seen, token = people.accounts(ANN), [], ""
    while True:
        page = await stub.ListAccounts(
            acs.ListAccountsRequest(type="client_org", page_size=2, page_token=token)
        )
        seen += [account.account_id for account in page.accounts]
        token = page.next_page_token
        if not token:
            break
        request = acs.ListAccountsRequest(type="client_org", page_token=token)
        with refused("INVALID_PAGE_TOKEN"):
            await people.accounts(BOB).ListAccounts(request)
        with refused("INVALID_PAGE_TOKEN"):
            await stub.ListAccounts(acs.ListAccountsRequest(page_token=token))
    assert seen == sorted(made)


async def test_update_needs_manage_account(ws: Workspace) -> None:
    people = People(ws)
    await people.sign_in(ANN, DAN)
    account = await people.account(ANN, bob=ACCOUNT_ADMIN, cat=ADMINISTRATOR)
    answer = await people.accounts(BOB).UpdateAccount(_update(account, "name", name="New"))
    assert answer.account.name == "New"
    for denied in (CAT, DAN):
        with refused("PERMISSION_DENIED"):
            await people.accounts(denied).UpdateAccount(_update(account, "name", name="X"))
    for field in ("status", "owner_user_id", "created_at", "suspended_by_platform", "nope"):
        with refused("INVALID_MASK"):
            await people.accounts(ANN).UpdateAccount(_update(account, field))
    with refused("ETAG_MISMATCH"):
        await people.accounts(ANN).UpdateAccount(_update(account, "name", name="X", etag='"x"'))
    with refused("PERMISSION_DENIED"):
        await people.accounts(ANN).UpdateAccount(_update("a_none", "name", name="X"))


async def test_quotas_are_the_platforms(ws: Workspace) -> None:
    people = People(ws)
    await people.sign_in(ANN, DAN)
    await people.bootstrap(DAN)
    account = await people.account(ANN)
    with refused("PERMISSION_DENIED"):
        await people.accounts(ANN).UpdateAccount(_update(account, "quota_bytes", quota_bytes=9))
    everything = _update(account, "*", name="All", type="client_org", quota_bytes=9)
    assert (await people.accounts(ANN).UpdateAccount(everything)).account.quota_bytes == 0
    limited = await people.accounts(DAN).UpdateAccount(
        _update(account, "quota_bytes", quota_bytes=9, name="not named by the mask")
    )
    assert (limited.account.quota_bytes, limited.account.name) == (9, "All")
    with refused("PERMISSION_DENIED"):
        await people.accounts(DAN).UpdateAccount(_update(account, "name", name="Mine"))


async def test_an_account_never_becomes_or_ceases_to_be_personal(ws: Workspace) -> None:
    people = People(ws)
    await people.sign_in(ANN)
    account, personal = await people.account(ANN), await _personal(people, ANN)
    with refused("INVALID_STATE"):
        await people.accounts(ANN).UpdateAccount(_update(account, "type", type="personal"))
    with refused("INVALID_STATE"):
        await people.accounts(ANN).UpdateAccount(_update(personal, "type", type="client_org"))


async def test_a_personal_workspace_has_one_member_and_stays_with_it(ws: Workspace) -> None:
    people = People(ws)
    ann, bob = await people.sign_in(ANN, BOB)
    personal = await _personal(people, ANN)
    with refused("INVALID_STATE"):
        await people.add_member(ANN, personal, BOB, VIEWER)
    with refused("INVALID_STATE"):
        await people.accounts(ANN).TransferAccountOwnership(
            acs.TransferAccountOwnershipRequest(account_id=personal, new_owner_user_id=bob)
        )
    with refused("LAST_OWNER"):
        await people.remove(ANN, personal, ANN)
    assert await _owners(people, ANN, personal) == {ANN}
    assert ann


async def test_status_and_what_the_platform_suspended(ws: Workspace) -> None:
    people = People(ws)
    await people.sign_in(ANN, DAN)
    await people.bootstrap(DAN)
    account = await people.account(ANN, bob=ADMINISTRATOR)
    owner, admin = people.accounts(ANN), people.accounts(DAN)
    with refused("PERMISSION_DENIED"):
        await people.accounts(BOB).SetAccountStatus(_status(account, "SUSPENDED"))
    own = await owner.SetAccountStatus(_status(account, "SUSPENDED", reason="holiday"))
    assert own.account.status_reason == "holiday"
    with refused("INVALID_STATE"):
        await owner.UpdateAccount(_update(account, "name", name="X"))
    with refused("INVALID_STATE"):
        await people.add_member(ANN, account, CAT, VIEWER)
    await owner.SetAccountStatus(_status(account, "ACTIVE"))
    await admin.SetAccountStatus(_status(account, "SUSPENDED"))
    for status in ("ACTIVE", "ARCHIVED"):
        with refused("PERMISSION_DENIED"):
            await owner.SetAccountStatus(_status(account, status))
    with refused("ETAG_MISMATCH"):
        await admin.SetAccountStatus(_status(account, "ACTIVE", etag=own.account.etag))
    await admin.SetAccountStatus(_status(account, "ACTIVE"))
    await owner.SetAccountStatus(_status(account, "ARCHIVED"))


async def test_members_are_added_by_id_or_address(ws: Workspace) -> None:
    people = People(ws)
    await people.sign_in(ANN, BOB, CAT)
    account = await people.account(ANN)
    await people.add_member(ANN, account, BOB, EDITOR)
    by_address = await people.accounts(ANN).AddAccountMember(
        acs.AddAccountMemberRequest(account_id=account, email="Cat@Example.com", role=VIEWER)
    )
    assert by_address.member.email == CAT
    with refused("ALREADY_EXISTS"):
        await people.add_member(ANN, account, BOB, EDITOR)
    for who in ({"user_id": "u_nobody"}, {"email": "nobody@example.com"}):
        with refused("NOT_FOUND"):
            await people.accounts(ANN).AddAccountMember(
                acs.AddAccountMemberRequest(account_id=account, role=VIEWER, **who)
            )
    with refused("PERMISSION_DENIED"):
        await people.add_member(BOB, account, DAN, VIEWER)


@pytest.mark.case("G01")
@pytest.mark.parametrize(
    ("actor", "role", "permissions", "allowed"),
    [
        (OWNER, OWNER, [], True),
        (ACCOUNT_ADMIN, OWNER, [], False),
        (ACCOUNT_ADMIN, ACCOUNT_ADMIN, [], True),
        (ADMINISTRATOR, ACCOUNT_ADMIN, [], False),
        (ADMINISTRATOR, ADMINISTRATOR, [], True),
        (ADMINISTRATOR, VIEWER, [ac.ACCOUNT_CAPABILITY_MANAGE_ACCOUNT], False),
        (ADMINISTRATOR, VIEWER, [ac.ACCOUNT_CAPABILITY_CREATE_TEAM], True),
    ],
)
async def test_nobody_gives_more_than_he_holds(
    ws: Workspace, actor: int, role: int, permissions: list[int], allowed: bool
) -> None:
    people = People(ws)
    await people.sign_in(ANN)
    (cat,) = await people.sign_in(CAT)
    account = await people.account(ANN, bob=actor)
    call = people.accounts(BOB).AddAccountMember
    request = acs.AddAccountMemberRequest(
        account_id=account, user_id=cat, role=role, permissions=permissions
    )
    if allowed:
        assert (await call(request)).member.role == role
    else:
        with refused("EXCEEDS_OWN_RIGHTS"):
            await call(request)


async def test_members_above_oneself_are_out_of_reach(ws: Workspace) -> None:
    people = People(ws)
    await people.sign_in(ANN, DAN)
    account = await people.account(ANN, bob=ACCOUNT_ADMIN, cat=VIEWER)
    with refused("EXCEEDS_OWN_RIGHTS"):
        await people.member(BOB, account, ANN, "role", role=VIEWER)
    with refused("EXCEEDS_OWN_RIGHTS"):
        await people.member(BOB, account, BOB, "role", role=OWNER)
    with refused("EXCEEDS_OWN_RIGHTS"):
        await people.remove(BOB, account, ANN)
    with refused("PERMISSION_DENIED"):
        await people.member(CAT, account, CAT, "role", role=EDITOR)
    assert (await people.member(BOB, account, CAT, "role", role=EDITOR)).role == EDITOR
    with refused("NOT_FOUND"):
        await people.member(BOB, account, DAN, "role", role=EDITOR)
    with refused("NOT_FOUND"):
        await people.remove(BOB, account, DAN)


async def test_update_member_refuses_wrong_input(ws: Workspace) -> None:
    people = People(ws)
    await people.sign_in(ANN)
    account = await people.account(ANN, bob=EDITOR)
    for mask in ("email", "invitation_id", "created_at", "nope"):
        with refused("INVALID_MASK"):
            await people.member(ANN, account, BOB, mask)
    for values in ({"status": REMOVED}, {"status": ac.MEMBER_STATUS_INVITED}):
        with refused("INVALID_FIELD"):
            await people.member(ANN, account, BOB, "status", **values)
    with refused("INVALID_FIELD"):
        await people.member(ANN, account, BOB, "role")
    with refused("ETAG_MISMATCH"):
        await people.member(ANN, account, BOB, "role", role=VIEWER, etag='"x"')
    await people.remove(ANN, account, BOB)
    with refused("INVALID_STATE"):
        await people.member(ANN, account, BOB, "role", role=VIEWER)
    with refused("NOT_FOUND"):
        await people.remove(ANN, account, BOB)


@pytest.mark.case("G07", "G09")
async def test_the_last_owner_stays(ws: Workspace) -> None:
    people = People(ws)
    await people.sign_in(ANN)
    account = await people.account(ANN, bob=ACCOUNT_ADMIN)
    for mask, values in (("role", {"role": VIEWER}), ("status", {"status": SUSPENDED})):
        with refused("LAST_OWNER"):
            await people.member(ANN, account, ANN, mask, **values)
    with refused("LAST_OWNER"):
        await people.remove(ANN, account, ANN)
    assert await _owners(people, ANN, account) == {ANN}


@pytest.mark.case("G09")
async def test_a_disabled_co_owner_does_not_count(ws: Workspace) -> None:
    people = People(ws)
    _, bob, _ = await people.sign_in(ANN, BOB, DAN)
    await people.bootstrap(DAN)
    account = await people.account(ANN, bob=OWNER)
    await people.identity(DAN).DisableUser(ids.DisableUserRequest(user_id=bob))
    with refused("LAST_OWNER"):
        await people.remove(ANN, account, ANN)


async def test_a_suspended_co_owner_does_not_count(ws: Workspace) -> None:
    people = People(ws)
    await people.sign_in(ANN)
    account = await people.account(ANN, bob=OWNER)
    await people.member(ANN, account, BOB, "status", status=SUSPENDED)
    with refused("LAST_OWNER"):
        await people.remove(ANN, account, ANN)


async def test_the_owner_in_charge_is_replaced_when_he_leaves(ws: Workspace) -> None:
    people = People(ws)
    await people.sign_in(ANN)
    account = await people.account(ANN, bob=OWNER)
    (bob,) = await people.sign_in(BOB)
    await people.remove(ANN, account, ANN)
    shown = await people.accounts(BOB).GetAccount(acs.GetAccountRequest(account_id=account))
    assert shown.account.owner_user_id == bob
    with refused("PERMISSION_DENIED"):
        await people.accounts(ANN).GetAccount(acs.GetAccountRequest(account_id=account))


async def _both_leave(people: People, account: str) -> list[str]:
    outcomes = await asyncio.gather(
        people.remove(ANN, account, ANN), people.remove(BOB, account, BOB), return_exceptions=True
    )
    return [reason_of(each) for each in outcomes if isinstance(each, BaseException)]


@pytest.mark.case("G08")
@pytest.mark.parametrize("round_", range(8))
async def test_two_last_owners_cannot_leave_at_once(ws: Workspace, round_: int) -> None:
    people = People(ws)
    await people.sign_in(ANN)
    account = await people.account(ANN, bob=OWNER)
    assert await _both_leave(people, account) == ["LAST_OWNER"]
    left = [who for who in (ANN, BOB) if await _is_owner(people, who, account)]
    assert len(left) == 1


@pytest.mark.case("G08")
async def test_without_if_head_both_owners_would_leave(
    ws: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The race of the test above is real: it is `if_head` that decides it."""
    people = People(ws)
    await people.sign_in(ANN)
    account = await people.account(ANN, bob=OWNER)
    commit, waiting, both = RecordStore.commit, [], asyncio.Event()

    async def blind(self: RecordStore, pk: str, *args: Any, **kwargs: Any) -> Any:
        if pk == f"ACCOUNT#{account}":
            waiting.append(pk)
            if len(waiting) == 2:
                both.set()
            await both.wait()  # both have decided before either commits
        kwargs.pop("if_head", None)
        return await commit(self, pk, *args, **kwargs)

    monkeypatch.setattr(RecordStore, "commit", blind)
    # Bob is not the owner in charge, so only Ann's change touches the account.
    assert await _both_leave(people, account) == []
    monkeypatch.undo()
    assert not [who for who in (ANN, BOB) if await _is_owner(people, who, account)]


async def _is_owner(people: People, email: str, account: str) -> bool:
    fact = await people.fact(email, account_id=account)
    return bool(fact.member_status == ACTIVE and fact.account_role == OWNER)


@pytest.mark.case("G08")
async def test_demotion_and_removal_race_leaves_an_owner(ws: Workspace) -> None:
    people = People(ws)
    await people.sign_in(ANN)
    account = await people.account(ANN, bob=OWNER)
    outcomes = await asyncio.gather(
        people.member(ANN, account, BOB, "role", role=VIEWER),
        people.member(BOB, account, ANN, "status", status=SUSPENDED),
        people.remove(ANN, account, ANN),
        return_exceptions=True,
    )
    assert any(isinstance(each, BaseException) for each in outcomes)
    assert [who for who in (ANN, BOB) if await _is_owner(people, who, account)]


async def test_ownership_is_transferred_in_one_commit(ws: Workspace) -> None:
    people = People(ws)
    _, bob, cat, _ = await people.sign_in(ANN, BOB, CAT, DAN)
    account = await people.account(ANN, bob=EDITOR, cat=VIEWER)
    request = acs.TransferAccountOwnershipRequest(
        account_id=account, new_owner_user_id=bob, former_owner_role=ADMINISTRATOR
    )
    for denied in (BOB, DAN):
        with refused("PERMISSION_DENIED"):
            await people.accounts(denied).TransferAccountOwnership(request)
    await people.member(ANN, account, CAT, "status", status=SUSPENDED)
    for wrong in (cat, "u_nobody"):
        with refused("INVALID_STATE"):
            await people.accounts(ANN).TransferAccountOwnership(
                acs.TransferAccountOwnershipRequest(account_id=account, new_owner_user_id=wrong)
            )
    with refused("ETAG_MISMATCH"):
        await people.accounts(ANN).TransferAccountOwnership(
            acs.TransferAccountOwnershipRequest(
                account_id=account, new_owner_user_id=bob, etag='"x"'
            )
        )
    answer = await people.accounts(ANN).TransferAccountOwnership(request)
    assert answer.account.owner_user_id == bob
    assert await _owners(people, BOB, account) == {BOB}
    assert (await people.fact(ANN, account_id=account)).account_role == ADMINISTRATOR


async def test_removal_ends_team_memberships_but_not_those_of_guests(ws: Workspace) -> None:
    people = People(ws)
    await people.sign_in(ANN)
    account = await people.account(ANN, bob=EDITOR)
    team, other = await people.team(ANN, account_id=account), await people.team(ANN)
    await people.add_to_team(ANN, team, BOB, MEMBER)
    await people.add_to_team(ANN, other, BOB, MEMBER)
    await people.add_to_team(ANN, team, CAT, MEMBER, guest=True)
    removed = await people.remove(ANN, account, BOB)
    assert removed.member.status == REMOVED
    assert (await people.fact(BOB, team_id=team)).member_status == REMOVED
    assert (await people.fact(BOB, team_id=other)).member_status == ACTIVE
    assert (await people.fact(CAT, team_id=team)).member_status == ACTIVE
    await people.add_member(ANN, account, BOB, VIEWER)
    fact = await people.fact(BOB, team_id=team)
    assert (fact.account_member_status, fact.member_status) == (ACTIVE, REMOVED)


async def test_an_interrupted_removal_is_tidied_by_its_replay_and_before_taking_back(
    ws: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    people = People(ws)
    await people.sign_in(ANN)
    account = await people.account(ANN, bob=EDITOR)
    team = await people.team(ANN, account_id=account)
    await people.add_to_team(ANN, team, BOB, MEMBER)
    commit = RecordStore.commit

    async def dying(self: RecordStore, pk: str, *args: Any, **kwargs: Any) -> Any:
        if pk.startswith("TEAM#"):
            raise TimeoutError
        return await commit(self, pk, *args, **kwargs)

    request_id = new_request_id()
    with monkeypatch.context() as patch:
        patch.setattr(RecordStore, "commit", dying)
        with refused("DEADLINE_EXCEEDED"):
            await people.remove(ANN, account, BOB, request_id=request_id)
    assert (await people.fact(BOB, team_id=team)).member_status == ACTIVE  # but muted
    assert (await people.remove(ANN, account, BOB, request_id=request_id)).member.status == REMOVED
    assert (await people.fact(BOB, team_id=team)).member_status == REMOVED


async def test_a_suspended_member_can_do_nothing_and_not_come_back_alone(ws: Workspace) -> None:
    people = People(ws)
    await people.sign_in(ANN)
    account = await people.account(ANN, bob=ACCOUNT_ADMIN)
    suspended = await people.member(ANN, account, BOB, "status", status=SUSPENDED)
    assert suspended.status_changed_by
    with refused("PERMISSION_DENIED"):
        await people.member(BOB, account, BOB, "status", status=ACTIVE)
    with refused("PERMISSION_DENIED"):
        await people.accounts(BOB).GetAccount(acs.GetAccountRequest(account_id=account))
    assert (await people.member(ANN, account, BOB, "status", status=ACTIVE)).status == ACTIVE


async def test_member_lists_hide_the_removed_unless_asked(ws: Workspace) -> None:
    people = People(ws)
    await people.sign_in(ANN)
    account = await people.account(ANN, bob=EDITOR, cat=VIEWER)
    await people.remove(ANN, account, CAT)
    stub = people.accounts(BOB)
    shown = await stub.ListAccountMembers(acs.ListAccountMembersRequest(account_id=account))
    assert {m.email for m in shown.members} == {ANN, BOB}
    gone = await stub.ListAccountMembers(
        acs.ListAccountMembersRequest(account_id=account, status=REMOVED)
    )
    assert {m.email for m in gone.members} == {CAT}
    with refused("PERMISSION_DENIED"):
        await people.accounts(CAT).ListAccountMembers(
            acs.ListAccountMembersRequest(account_id=account)
        )


async def test_memberships_of_a_user_are_limited(
    ws: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    people = People(ws)
    await people.sign_in(ANN, BOB, CAT)
    anns, cats = await people.account(ANN), await people.account(CAT)
    monkeypatch.setattr(account_rules, "MAX_MEMBERSHIPS", 2)  # the personal one counts
    with refused("LIMIT_EXCEEDED"):
        await people.account(ANN)
    await people.add_member(ANN, anns, BOB, VIEWER)
    await people.add_member(CAT, cats, BOB, VIEWER)
    # What others did to Bob leaves the room for his own accounts alone.
    bobs = await people.account(BOB)
    monkeypatch.setattr(account_rules, "MAX_MEMBERSHIPS", 1)
    await people.add_member(BOB, bobs, ANN, VIEWER)
    with refused("LIMIT_EXCEEDED"):
        await people.add_member(CAT, cats, ANN, VIEWER)


async def test_mutations_are_safe_to_repeat(ws: Workspace) -> None:
    people = People(ws)
    await people.sign_in(ANN)
    (bob, cat) = await people.sign_in(BOB, CAT)
    account = await people.account(ANN)
    stub, request_id = people.accounts(ANN), new_request_id()
    add = acs.AddAccountMemberRequest(
        account_id=account, user_id=bob, role=EDITOR, request_id=request_id
    )
    answers = await asyncio.gather(*(stub.AddAccountMember(add) for _ in range(50)))
    assert len({answer.member.SerializeToString(deterministic=True) for answer in answers}) == 1
    with refused("REQUEST_ID_REUSED"):
        await stub.AddAccountMember(
            acs.AddAccountMemberRequest(
                account_id=account, user_id=cat, role=EDITOR, request_id=request_id
            )
        )
    leave = acs.RemoveAccountMemberRequest(
        account_id=account, user_id=bob, request_id=new_request_id()
    )
    mine = people.accounts(BOB)
    gone = await asyncio.gather(*(mine.RemoveAccountMember(leave) for _ in range(20)))
    assert {answer.member.status for answer in gone} == {REMOVED}
