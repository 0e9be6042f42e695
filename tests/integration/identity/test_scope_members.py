"""ListScopeMembers: users of several scopes, merged, complete at every page size."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import pytest
from workspace.identity.v1 import identity_service_pb2 as ids
from workspace.identity.v1.membership_pb2 import ScopeRef

from tests.harness import Workspace
from tests.integration.identity.people import (
    ACTIVE,
    ANN,
    BOB,
    CAT,
    DAN,
    EDITOR,
    MEMBER,
    SUSPENDED,
    VIEWER,
    People,
    refused,
)


async def listed(
    people: People, scopes: Iterable[ScopeRef], *, size: int, **more: Any
) -> list[str]:
    request = ids.ListScopeMembersRequest(scopes=scopes, page_size=size, **more)
    found: list[str] = []
    for _ in range(100):
        page = await people.as_service().ListScopeMembers(request)
        assert len(page.user_ids) <= size
        found += page.user_ids
        if not page.next_page_token:
            return found
        request.page_token = page.next_page_token
    raise AssertionError("the list does not end")


@pytest.fixture
async def people(ws: Workspace) -> People:
    people = People(ws)
    await people.sign_in(ANN, BOB, CAT, DAN)
    return people


async def scopes(people: People) -> list[ScopeRef]:
    """ann and bob in an account, ann, bob and cat in a team, nobody in a third."""
    account = await people.account(ANN, bob=EDITOR)
    team = await people.team(ANN, account_id=account)
    await people.add_to_team(ANN, team, BOB, MEMBER)
    await people.add_to_team(ANN, team, CAT, MEMBER, guest=True)
    return [ScopeRef(account_id=account), ScopeRef(team_id=team), ScopeRef(team_id="t_nothing")]


@pytest.mark.parametrize("size", [1, 2, 3, 4])
async def test_everybody_once_in_order_at_every_page_size(people: People, size: int) -> None:
    wanted = await scopes(people)
    expected = sorted(await people.sign_in(ANN, BOB, CAT))
    assert await listed(people, wanted, size=size) == expected
    assert await listed(people, wanted, size=size, after_user_id=expected[0]) == expected[1:]
    assert await listed(people, wanted, size=size, after_user_id=expected[-1]) == []


async def test_a_status_is_that_of_any_of_the_scopes(people: People) -> None:
    account, team, _ = await scopes(people)
    ann, bob, cat, dan = await people.sign_in(ANN, BOB, CAT, DAN)
    await people.add_member(ANN, account.account_id, DAN, VIEWER)
    await people.member(ANN, account.account_id, DAN, "status", status=SUSPENDED)
    await people.member(ANN, account.account_id, BOB, "status", status=SUSPENDED)
    both = [account, team]
    assert await listed(people, both, size=1) == sorted([ann, bob, cat, dan])
    assert await listed(people, both, size=1, status=ACTIVE) == sorted([ann, bob, cat])
    assert await listed(people, both, size=1, status=SUSPENDED) == sorted([bob, dan])


async def test_who_was_removed_is_left_out(people: People) -> None:
    account, team, _ = await scopes(people)
    ann, cat = await people.sign_in(ANN, CAT)
    await people.remove(ANN, account.account_id, BOB)
    assert await listed(people, [account, team], size=2) == sorted([ann, cat])


async def test_a_token_is_for_the_same_scopes_only(people: People) -> None:
    account, team, _ = await scopes(people)
    request = ids.ListScopeMembersRequest(scopes=[account, team], page_size=1)
    request.page_token = (await people.as_service().ListScopeMembers(request)).next_page_token
    del request.scopes[1]
    with refused("INVALID_PAGE_TOKEN"):
        await people.as_service().ListScopeMembers(request)


async def test_it_is_for_the_project_service_alone(people: People) -> None:
    account, *_ = await scopes(people)
    request = ids.ListScopeMembersRequest(scopes=[account])
    for stub in (people.identity(ANN), people.as_service("storage_svc")):
        with refused("PERMISSION_DENIED"):
            await stub.ListScopeMembers(request)
    with refused("INVALID_FIELD"):
        await people.as_service().ListScopeMembers(ids.ListScopeMembersRequest())
