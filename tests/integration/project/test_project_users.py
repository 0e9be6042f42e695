"""ListProjectUsers: everybody whom CheckPermission lets in, and nobody else."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from workspace.identity.v1 import account_service_pb2 as acs
from workspace.identity.v1 import identity_service_pb2 as ids
from workspace.identity.v1 import team_service_pb2 as tms
from workspace.identity.v1.account_pb2 import AccountStatus
from workspace.project.v1 import grant_service_pb2 as gs
from workspace.project.v1 import permission_service_pb2 as pms

from project_svc.access import candidate_users, project_users
from tests.harness import Workspace
from tests.integration.identity.people import ANN, BOB, CAT, DAN, SUSPENDED, refused
from tests.integration.project.scene import (
    ACCOUNT,
    COMMENT,
    EVE,
    EVERYBODY,
    FAY,
    LADDER,
    MANAGE,
    USER,
    VIEW,
    WRITE,
    Scene,
    every_page,
)


@pytest_asyncio.fixture
async def scene(tmp_path: Path) -> AsyncIterator[Scene]:
    async with Workspace.open(tmp_path) as ws:
        yield await Scene(ws).make()


def asked(scene: Scene, **more: Any) -> pms.ListProjectUsersRequest:
    return pms.ListProjectUsersRequest(project_id=scene.project_id, **more)


async def listed(scene: Scene, *, size: int = 500, as_: str = ANN, **more: Any) -> dict[str, Any]:
    stub = scene.permissions(as_)
    rows = await every_page(stub.ListProjectUsers, asked(scene, **more), "users", size=size)
    found = [row.user_id for row in rows]
    assert found == sorted(set(found)), "in order of user id, each once"
    return {row.user_id: row for row in rows}


async def require_the_truth(scene: Scene, *sizes: int) -> None:
    """The list is the set of users for whom CheckPermission says yes."""
    truth = await scene.table()
    for permission in LADDER:
        expected = {user: held for user, held in truth.items() if permission in held}
        for size in sizes:
            rows = await listed(scene, size=size, permission=permission)
            assert {user: set(row.permissions) for user, row in rows.items()} == expected


async def test_it_is_what_check_permission_says_at_every_page_size(scene: Scene) -> None:
    truth = await scene.table()
    n = sum(bool(held) for held in truth.values())
    assert n == 5, "everybody but fay"
    await require_the_truth(scene, 1, 2, n - 1, n, n + 1)


async def test_it_follows_every_fact(scene: Scene) -> None:
    await scene.member(ANN, scene.account_id, BOB, "status", status=SUSPENDED)
    await require_the_truth(scene, 2)
    await scene.grant(ANN, ACCOUNT, scene.account_id, WRITE)
    await require_the_truth(scene, 2)
    await scene.teams(ANN).ArchiveTeam(tms.ArchiveTeamRequest(team_id=scene.team_id))
    await require_the_truth(scene, 2)
    await scene.bootstrap(FAY)
    await scene.identity(FAY).DisableUser(ids.DisableUserRequest(user_id=scene.ids[EVE]))
    await require_the_truth(scene, 2)
    assert scene.ids[EVE] not in await listed(scene)


async def test_of_an_archived_account_only_view_is_left(scene: Scene) -> None:
    fay = scene.ids[FAY]
    await scene.bootstrap(FAY)
    status = AccountStatus.ACCOUNT_STATUS_ARCHIVED
    await scene.accounts(FAY).SetAccountStatus(
        acs.SetAccountStatusRequest(account_id=scene.account_id, status=status)
    )
    with refused("PERMISSION_DENIED"):
        await scene.permissions(ANN).ListProjectUsers(asked(scene))
    rows = (await scene.asking().ListProjectUsers(asked(scene))).users
    assert {row.user_id for row in rows} == set(scene.ids.values()) - {fay}
    assert all(list(row.permissions) == [VIEW] and row.reduced for row in rows)


async def test_a_restricted_project_hides_the_members_of_the_account(tmp_path: Path) -> None:
    async with Workspace.open(tmp_path) as ws:
        scene = await Scene(ws).make(restricted=True)
        assert scene.ids[DAN] not in await listed(scene)
        await require_the_truth(scene, 1, 2, 3)


async def test_sources_come_when_asked_for(scene: Scene) -> None:
    plain = await listed(scene)
    assert not any(row.sources for row in plain.values())
    rich = await listed(scene, include_sources=True)
    bob = rich[scene.ids[BOB]]
    assert len(bob.sources) == 2, "the fallback and the team"
    assert {source.team_id for source in bob.sources} == {"", scene.team_id}


async def test_it_needs_manage_access_or_a_service(scene: Scene) -> None:
    for email in (BOB, CAT, DAN, EVE, FAY):
        with refused("PERMISSION_DENIED"):
            await scene.permissions(email).ListProjectUsers(asked(scene))
    with refused("PERMISSION_DENIED"):
        await scene.permissions(ANN).ListProjectUsers(
            pms.ListProjectUsersRequest(project_id="p_nothing")
        )
    answer = await scene.asking().ListProjectUsers(
        pms.ListProjectUsersRequest(project_id="p_nothing")
    )
    assert not answer.users
    assert not answer.next_page_token


async def test_a_token_is_bound_to_caller_and_arguments(scene: Scene) -> None:
    await scene.grant(ANN, USER, scene.ids[FAY], MANAGE)
    request = asked(scene, page_size=1)
    request.page_token = (
        await scene.permissions(ANN).ListProjectUsers(request)
    ).next_page_token
    with refused("INVALID_PAGE_TOKEN"):
        await scene.permissions(FAY).ListProjectUsers(request)
    request.permission = WRITE
    with refused("INVALID_PAGE_TOKEN"):
        await scene.permissions(ANN).ListProjectUsers(request)


async def test_a_list_that_changes_meanwhile_loses_and_doubles_nobody(scene: Scene) -> None:
    """Who is there all the time is listed once, whatever happens around him."""
    grant = await scene.grant(ANN, USER, scene.ids[FAY], VIEW)
    request, found = asked(scene, page_size=1), list[str]()
    while True:
        answer = await scene.permissions(ANN).ListProjectUsers(request)
        found += [row.user_id for row in answer.users]
        if grant.grant_id:
            await scene.grants(ANN).RevokeGrant(
                gs.RevokeGrantRequest(project_id=scene.project_id, grant_id=grant.grant_id)
            )
            grant.grant_id = ""
        if not answer.next_page_token:
            break
        request.page_token = answer.next_page_token
    assert found == sorted(set(found))
    assert set(found) >= {scene.ids[email] for email in EVERYBODY if email != FAY}


async def test_bounded_work_is_resumed_and_never_cut(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With two candidates a call, most pages are short or empty: none is lost."""
    monkeypatch.setattr(project_users, "MOST_EXAMINED", 2)
    monkeypatch.setattr(candidate_users, "_BATCH", 1)
    await require_the_truth(scene, 1, 500)
    request = asked(scene, permission=MANAGE, page_size=500)
    pages = 0
    while True:
        answer = await scene.permissions(ANN).ListProjectUsers(request)
        pages += 1
        request.page_token = answer.next_page_token
        if not answer.next_page_token:
            break
    assert pages == 3, "five candidates, two a call"


async def test_the_gateway_answers_the_same(scene: Scene) -> None:
    rows = await listed(scene, permission=COMMENT)
    async with scene.ws.client(as_=ANN) as client:
        answer = await client.get(
            f"/api/projects/{scene.project_id}/users",
            params={"permission": "PERMISSION_COMMENT"},
        )
    assert answer.status_code == 200, answer.text
    assert [row["user_id"] for row in answer.json()["users"]] == list(rows)
