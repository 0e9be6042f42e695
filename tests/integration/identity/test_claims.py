"""Orphans: what a disabled user leaves, and how a project gets an owner again."""

from __future__ import annotations

import asyncio
from typing import Any

import grpc.aio
import pytest
from workspace.common.v1.permission_pb2 import Permission
from workspace.identity.v1 import account_pb2 as ac
from workspace.identity.v1 import account_service_pb2 as acs
from workspace.identity.v1 import identity_service_pb2 as ids
from workspace.project.v1 import grant_pb2 as gr
from workspace.project.v1 import grant_service_pb2 as gs
from workspace.project.v1 import history_service_pb2 as hs
from workspace.project.v1 import project_service_pb2 as ps
from workspace.project.v1.grant_service_pb2_grpc import GrantServiceStub
from workspace.project.v1.history_service_pb2_grpc import HistoryServiceStub

from services.rpc.errors import error_info, peer_status
from tests.harness import Workspace
from tests.integration.identity.lifecycle import (
    give,
    new_project,
    owners_of,
    projects,
    set_status,
)
from tests.integration.identity.people import (
    ANN,
    BOB,
    CAT,
    DAN,
    EDITOR,
    OWNER,
    People,
    new_request_id,
    refused,
)

VIEW, MANAGE = Permission.PERMISSION_VIEW, Permission.PERMISSION_MANAGE_ACCESS
OWN = Permission.PERMISSION_OWNER


def _claim(account_id: str, project_id: str, **more: Any) -> Any:
    values = {"reason": "nobody is left"} | more
    return acs.ClaimOrphanedProjectRequest(
        account_id=account_id, project_id=project_id, **values
    )


async def _disable(people: People, user_id: str, **more: Any) -> Any:
    return await people.identity(DAN).DisableUser(
        ids.DisableUserRequest(user_id=user_id, **more)
    )


async def _orphaned_in_account(people: People) -> tuple[str, str, list[str]]:
    """A project of Bob's in Ann's account, Bob disabled; Dan is platform admin."""
    users = await people.sign_in(ANN, BOB, CAT, DAN)
    await people.bootstrap(DAN)
    account_id = await people.account(ANN, bob=EDITOR, cat=EDITOR)
    project_id = await new_project(people.ws, BOB, account_id=account_id)
    await _disable(people, users[1])
    return account_id, project_id, users


@pytest.mark.case("G09")
async def test_disabling_lists_orphaned_projects_accounts_and_teams(ws: Workspace) -> None:
    people = People(ws)
    _, bob, cat, _ = await people.sign_in(ANN, BOB, CAT, DAN)
    await people.bootstrap(DAN)
    account_id = await people.account(BOB, cat=EDITOR)
    team_id = await people.team(BOB)
    alone = [await new_project(ws, BOB) for _ in range(3)]
    shared = await new_project(ws, BOB)
    await give(ws, BOB, shared, cat, OWN)
    trashed = await new_project(ws, BOB)
    await projects(ws, BOB).DeleteProject(ps.DeleteProjectRequest(project_id=trashed))
    request_id = new_request_id()
    answer = await _disable(people, bob, request_id=request_id)
    listed = {(o.WhichOneof("scope"), getattr(o, o.WhichOneof("scope"))) for o in answer.orphans}
    personal = answer.user.personal_workspace_id
    assert listed == {
        ("account_id", account_id), ("account_id", personal), ("team_id", team_id),
        *(("project_id", each) for each in alone),
    }
    assert answer.orphan_count == len(listed)
    assert not answer.orphans_incomplete
    again = await _disable(people, bob, request_id=request_id)
    assert again.orphan_count == answer.orphan_count, "a repeat looks again"


async def test_many_orphans_are_counted_beyond_the_listed(ws: Workspace) -> None:
    people = People(ws)
    _, bob = await people.sign_in(DAN, BOB)
    await people.bootstrap(DAN)
    for _ in range(8):
        await asyncio.gather(*(new_project(ws, BOB) for _ in range(26)))
    answer = await _disable(people, bob)
    assert len(answer.orphans) == 100
    assert answer.orphan_count == 8 * 26 + 1


async def test_an_account_owner_claims_for_himself(ws: Workspace) -> None:
    people = People(ws)
    account_id, project_id, (ann, bob, _, _) = await _orphaned_in_account(people)
    request = _claim(account_id, project_id, request_id=new_request_id())
    done = await people.accounts(ANN).ClaimOrphanedProject(request)
    assert (done.project_id, done.owner_user_id) == (project_id, ann)
    assert done.grant_id
    assert done.consistency_token
    assert await people.accounts(ANN).ClaimOrphanedProject(request) == done
    assert await owners_of(ws, ANN, project_id) == {ann, bob}
    found = await ws.stub(HistoryServiceStub, as_=ANN).ListActivity(
        hs.ListActivityRequest(project_id=project_id, type_prefix="project.claimed")
    )
    (event,) = found.events
    assert event.actor_user_id == ann
    assert event.changes[0].after["note"] == "nobody is left"
    with refused("REQUEST_ID_REUSED"):
        request.reason = "another"
        await people.accounts(ANN).ClaimOrphanedProject(request)


async def test_who_may_not_claim_in_an_account(ws: Workspace) -> None:
    people = People(ws)
    account_id, project_id, (_, _, cat, _) = await _orphaned_in_account(people)
    for email in (CAT, DAN):
        with refused("PERMISSION_DENIED"):
            await people.accounts(email).ClaimOrphanedProject(_claim(account_id, project_id))
    with refused("INVALID_FIELD"):
        await people.accounts(ANN).ClaimOrphanedProject(
            _claim(account_id, project_id, owner_user_id=cat)
        )
    with refused("INVALID_FIELD"):
        await people.accounts(ANN).ClaimOrphanedProject(
            _claim(account_id, project_id, reason="")
        )
    elsewhere = await people.account(ANN)
    for wrong in ((elsewhere, project_id), (account_id, "p_" + "q" * 26)):
        with refused("PERMISSION_DENIED"):
            await people.accounts(ANN).ClaimOrphanedProject(_claim(*wrong))
    await set_status(people, ANN, account_id, "SUSPENDED")
    with refused("INVALID_STATE"):
        await people.accounts(ANN).ClaimOrphanedProject(_claim(account_id, project_id))


async def test_a_project_with_an_enabled_owner_is_not_claimed(ws: Workspace) -> None:
    people = People(ws)
    account_id, project_id, (_, bob, _, _) = await _orphaned_in_account(people)
    await people.identity(DAN).EnableUser(ids.EnableUserRequest(user_id=bob))
    with refused("INVALID_STATE"):
        await people.accounts(ANN).ClaimOrphanedProject(_claim(account_id, project_id))


async def test_of_two_claims_at_once_one_wins(ws: Workspace) -> None:
    people = People(ws)
    account_id, project_id, (ann, bob, _cat, _) = await _orphaned_in_account(people)
    await people.member(ANN, account_id, CAT, "role", role=OWNER)
    results = await asyncio.gather(
        *(people.accounts(who).ClaimOrphanedProject(_claim(account_id, project_id))
          for who in (ANN, CAT)),
        return_exceptions=True,
    )
    won = [r.owner_user_id for r in results if not isinstance(r, BaseException)]
    assert len(won) == 1
    assert await owners_of(ws, ANN if won == [ann] else CAT, project_id) == {bob, *won}


async def test_a_stranger_is_told_the_same_of_every_account(ws: Workspace) -> None:
    people = People(ws)
    await people.sign_in(ANN, BOB)
    session = await people.identity(ANN).GetSession(ids.GetSessionRequest())
    home = session.session.user.personal_workspace_id
    project_id = await new_project(ws, ANN)
    account_id = await people.account(ANN)
    said = set()
    for account in (home, account_id, home[:-1] + ("b" if home[-1] == "a" else "a")):
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await people.accounts(BOB).ClaimOrphanedProject(_claim(account, project_id))
        status = peer_status(caught.value)
        assert status is not None
        info = error_info(status)
        assert info is not None
        told = f"{status.message} {sorted(info.metadata.items())}"
        said.add(told.replace(account, "it"))
    assert len(said) == 1, said


async def test_in_a_personal_workspace_the_platform_appoints(ws: Workspace) -> None:
    people = People(ws)
    ann, bob, cat, dan = await people.sign_in(ANN, BOB, CAT, DAN)
    await people.bootstrap(DAN)
    project_id = await new_project(ws, ANN)
    await give(ws, ANN, project_id, bob, VIEW)
    await give(ws, ANN, project_id, cat, MANAGE)
    workspace_id = (await people.identity(ANN).GetUser(ids.GetUserRequest(user_id=ann))).user
    home = workspace_id.personal_workspace_id
    await _disable(people, ann)
    platform = people.accounts(DAN)
    for nobody in ("", dan):
        with refused("INVALID_FIELD"):
            await platform.ClaimOrphanedProject(
                _claim(home, project_id, owner_user_id=nobody)
            )
    with refused("INVALID_STATE"):
        await platform.ClaimOrphanedProject(_claim(home, project_id, owner_user_id=bob))
    with refused("PERMISSION_DENIED"):
        await people.accounts(CAT).ClaimOrphanedProject(
            _claim(home, project_id, owner_user_id=cat)
        )
    done = await platform.ClaimOrphanedProject(_claim(home, project_id, owner_user_id=cat))
    assert done.owner_user_id == cat
    assert await owners_of(ws, CAT, project_id) == {ann, cat}


async def test_the_named_successor_may_be_appointed(ws: Workspace) -> None:
    people = People(ws)
    ann, bob, _, _ = await people.sign_in(ANN, BOB, CAT, DAN)
    await people.bootstrap(DAN)
    project_id = await new_project(ws, ANN)
    user = (await people.identity(ANN).GetUser(ids.GetUserRequest(user_id=ann))).user
    home = user.personal_workspace_id
    request = acs.UpdateAccountRequest(account=ac.Account(account_id=home, successor_user_id=bob))
    request.update_mask.paths.append("successor_user_id")
    named = await people.accounts(ANN).UpdateAccount(request)
    assert named.account.successor_user_id == bob
    await _disable(people, ann)
    done = await people.accounts(DAN).ClaimOrphanedProject(
        _claim(home, project_id, owner_user_id=bob)
    )
    assert done.owner_user_id == bob


@pytest.mark.parametrize("who", ["u_" + "q" * 26, "the owner"])
async def test_a_bad_successor_is_refused(ws: Workspace, who: str) -> None:
    people = People(ws)
    ann, bob = await people.sign_in(ANN, BOB)
    account_id = await people.account(ANN, bob=ac.ACCOUNT_ROLE_ACCOUNT_ADMIN)
    request = acs.UpdateAccountRequest(
        account=ac.Account(
            account_id=account_id, successor_user_id=ann if who == "the owner" else who
        )
    )
    request.update_mask.paths.append("successor_user_id")
    with refused("INVALID_FIELD"):
        await people.accounts(ANN).UpdateAccount(request)
    request.account.successor_user_id = bob
    with refused("PERMISSION_DENIED"):  # manage_account is not enough
        await people.accounts(BOB).UpdateAccount(request)


async def test_a_person_alone_cannot_reach_the_internal_calls(ws: Workspace) -> None:
    people = People(ws)
    account_id, project_id, (ann, _, _, _) = await _orphaned_in_account(people)
    stub = ws.stub(GrantServiceStub, as_=ANN)
    with refused("PERMISSION_DENIED"):
        await stub.ClaimProject(
            gs.ClaimProjectRequest(
                account_id=account_id, project_id=project_id, owner_user_id=ann, reason="x"
            )
        )
    assert gr.GRANT_SOURCE_CLAIM


async def test_the_service_finds_orphans_and_surveys_an_account(ws: Workspace) -> None:
    people = People(ws)
    account_id, project_id, (ann, bob, _, _) = await _orphaned_in_account(people)
    shared = await new_project(ws, ANN, account_id=account_id)
    stub = ws.service_stub(GrantServiceStub, service="identity_svc")
    of_bob = await stub.FindOrphanedProjects(gs.FindOrphanedProjectsRequest(user_id=bob))
    assert (list(of_bob.project_ids), of_bob.next_after_project_id) == ([project_id], "")
    later = gs.FindOrphanedProjectsRequest(user_id=bob, after_project_id=project_id)
    assert not (await stub.FindOrphanedProjects(later)).project_ids
    of_ann = await stub.FindOrphanedProjects(gs.FindOrphanedProjectsRequest(user_id=ann))
    assert list(of_ann.project_ids) == [shared], "enabled or not: who else owns it?"
    hold = ps.SetLegalHoldRequest(project_id=shared, legal_hold=True, reason="court")
    await projects(ws, ANN).SetLegalHold(hold)
    survey = gs.SurveyAccountProjectsRequest(account_id=account_id)
    seen = await stub.SurveyAccountProjects(survey)
    assert (seen.held_project_id, seen.project_count, seen.consistency_token) == (shared, 2, "")
    survey.trash = True
    assert (await stub.SurveyAccountProjects(survey)).consistency_token
    kept = await projects(ws, ANN).GetProject(ps.GetProjectRequest(project_id=shared))
    assert kept.project.legal_hold
    assert not kept.project.HasField("trashed_at")
    assert not (await stub.SurveyAccountProjects(survey)).consistency_token, "nothing is left"
