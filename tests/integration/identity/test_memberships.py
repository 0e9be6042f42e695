"""Membership facts for permission decisions, and lists of memberships."""

from __future__ import annotations

from typing import Any

import pytest
from workspace.common.v1.classification_pb2 import Classification
from workspace.identity.v1 import account_pb2 as ac
from workspace.identity.v1 import identity_service_pb2 as ids
from workspace.identity.v1 import membership_pb2 as ms
from workspace.identity.v1 import team_pb2 as tm
from workspace.identity.v1 import user_pb2 as us
from workspace.identity.v1.identity_service_pb2_grpc import IdentityServiceStub

from services.records.port import DriverUnavailable
from services.rpc.errors import error_info
from tests.harness import Workspace
from tests.integration.identity.people import (
    ACCOUNT_ADMIN,
    ACTIVE,
    ADMIN,
    ADMINISTRATOR,
    ANN,
    BOB,
    CAT,
    EDITOR,
    MEMBER,
    OWNER,
    REMOVED,
    People,
    refused,
)


def _batch(user_id: str, *scopes: dict[str, str]) -> ids.BatchGetMembershipsRequest:
    return ids.BatchGetMembershipsRequest(
        user_id=user_id, scopes=[ms.ScopeRef(**scope) for scope in scopes]
    )


async def test_only_listed_services_ask(ws: Workspace) -> None:
    people = People(ws)
    (ann,) = await people.sign_in(ANN)
    for stub in (
        people.identity(ANN),
        ws.service_stub(IdentityServiceStub, service="stranger_svc"),
        ws.service_stub(IdentityServiceStub, service="stranger_svc", as_=ANN),
        ws.stub(IdentityServiceStub),
    ):
        with refused("PERMISSION_DENIED"):
            await stub.BatchGetMemberships(_batch(ann))
        with refused("PERMISSION_DENIED"):
            await stub.ListMemberships(ids.ListMembershipsRequest(user_id=ann))
    for service in ("project_svc", "storage_svc"):
        answer = await people.as_service(service).BatchGetMemberships(_batch(ann))
        assert answer.user_status == us.USER_STATUS_ACTIVE
        assert not answer.results
        assert {p.partition for p in answer.user_partitions} == {f"USER#{ann}", "PLATFORM"}
        assert answer.HasField("read_started_at")


async def test_facts_are_raw_and_in_order(ws: Workspace) -> None:
    people = People(ws)
    (ann,) = await people.sign_in(ANN)
    account = await people.account(ANN, bob=ADMINISTRATOR)
    team = await people.team(BOB, account_id=account)
    await people.add_to_team(BOB, team, CAT, MEMBER, guest=True)
    bob, cat = await people.sign_in(BOB, CAT)
    stub = people.as_service()
    answer = await stub.BatchGetMemberships(
        _batch(bob, {"team_id": team}, {"account_id": account}, {"team_id": "t_nobody"})
    )
    in_team, in_account, nowhere = (result.fact for result in answer.results)
    assert (in_team.team_role, in_team.root_admin, in_team.guest) == (ADMIN, True, False)
    assert in_team.scope_type == tm.TEAM_SCOPE_TYPE_ACCOUNT
    assert (in_team.account_id, in_team.account_role) == (account, ADMINISTRATOR)
    assert [p.partition for p in in_team.partitions] == [f"TEAM#{team}", f"ACCOUNT#{account}"]
    assert in_account.member_status == in_account.account_member_status == ACTIVE
    assert ac.ACCOUNT_CAPABILITY_MANAGE_ACCOUNT not in in_account.capabilities
    assert len(in_account.capabilities) == 4
    assert in_account.data_classification == Classification.CLASSIFICATION_INTERNAL
    assert all(p.sequence > 0 for p in in_account.partitions)
    assert (nowhere.team_status, nowhere.member_status) == (0, 0)
    assert [p.sequence for p in nowhere.partitions] == [0]
    guest = await people.fact(CAT, team_id=team)
    assert (guest.guest, guest.account_member_status, guest.account_role) == (True, 0, 0)
    unknown = await stub.BatchGetMemberships(_batch("u_nobody", {"account_id": account}))
    assert unknown.user_status == 0
    assert unknown.results[0].fact.member_status == 0
    personal = await stub.BatchGetMemberships(
        _batch(ann, {"account_id": "a_" + ann.removeprefix("u_")})
    )
    assert personal.results[0].fact.workspace_id == personal.results[0].fact.account_id
    assert cat


async def test_facts_follow_every_commit_at_once(ws: Workspace) -> None:
    people = People(ws)
    (ann,) = await people.sign_in(ANN)
    account = await people.account(ANN, bob=EDITOR)
    before = await people.fact(BOB, account_id=account)
    await people.member(ANN, account, BOB, "role", role=ACCOUNT_ADMIN)
    after = await people.fact(BOB, account_id=account)
    assert (before.account_role, after.account_role) == (EDITOR, ACCOUNT_ADMIN)
    assert after.partitions[0].sequence == before.partitions[0].sequence + 1
    await people.bootstrap(ANN)
    answer = await people.as_service().BatchGetMemberships(_batch(ann))
    assert answer.is_platform_admin


async def test_no_index_is_asked(ws: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    people = People(ws)
    await people.sign_in(ANN)
    account = await people.account(ANN)
    team = await people.team(ANN, account_id=account)

    async def query(*_: Any, **__: Any) -> None:
        raise AssertionError("a decision asked an index")

    monkeypatch.setattr(ws.records.driver, "query", query)
    assert (await people.fact(ANN, account_id=account)).account_role == OWNER
    assert (await people.fact(ANN, team_id=team)).team_role == ADMIN


async def test_a_scope_that_cannot_be_read_fails_alone(
    ws: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    people = People(ws)
    (ann,) = await people.sign_in(ANN)
    good, bad = await people.account(ANN), await people.account(ANN)
    driver = ws.records.driver
    get, batch_get, broken = driver.get, driver.batch_get, {f"ACCOUNT#{bad}"}

    async def failing_get(key: Any) -> Any:
        if key.pk in broken:
            raise DriverUnavailable("down")
        return await get(key)

    async def failing_batch(keys: Any) -> Any:
        if any(key.pk in broken for key in keys):
            raise DriverUnavailable("down")
        return await batch_get(keys)

    monkeypatch.setattr(driver, "get", failing_get)
    monkeypatch.setattr(driver, "batch_get", failing_batch)
    request = _batch(ann, {"account_id": bad}, {"account_id": good})
    failed, fine = (await people.as_service().BatchGetMemberships(request)).results
    info = error_info(failed.error)
    assert info is not None
    assert info.reason == "ERROR_REASON_BACKEND_UNAVAILABLE"
    assert fine.fact.account_role == OWNER
    broken.add(f"USER#{ann}")
    with refused("BACKEND_UNAVAILABLE"):
        await people.as_service().BatchGetMemberships(request)


async def test_lists_are_verified_and_paged(ws: Workspace) -> None:
    people = People(ws)
    (ann, bob) = await people.sign_in(ANN, BOB)
    accounts = [await people.account(ANN, bob=EDITOR) for _ in range(3)]
    team = await people.team(ANN)
    await people.add_to_team(ANN, team, BOB, MEMBER)
    await people.remove(ANN, accounts[0], BOB)
    stub = people.as_service()

    async def all_of(**filters: Any) -> list[str]:
        seen, token = list[str](), ""
        while True:
            page = await stub.ListMemberships(
                ids.ListMembershipsRequest(user_id=bob, page_size=1, page_token=token, **filters)
            )
            for each in page.memberships:
                kind = each.WhichOneof("membership")
                seen.append(
                    each.account_member.account_id if kind == "account_member"
                    else each.team_member.team_id
                )
            token = page.next_page_token
            if not token:
                return seen

    personal = "a_" + bob.removeprefix("u_")
    assert sorted(await all_of()) == sorted([personal, *accounts[1:], team])
    assert await all_of(status=REMOVED) == [accounts[0]]
    with refused("INVALID_PAGE_TOKEN"):
        await stub.ListMemberships(ids.ListMembershipsRequest(user_id=ann, page_token="x"))
