"""IssueLocalToken, NormalizeIdentity, GetSession: from a secret to a session."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from google.protobuf.duration_pb2 import Duration
from workspace.common.v1.permission_pb2 import PERMISSION_VIEW
from workspace.identity.v1 import account_pb2 as ac
from workspace.identity.v1 import identity_service_pb2 as ids
from workspace.identity.v1.identity_service_pb2_grpc import IdentityServiceStub
from workspace.project.v1 import grant_service_pb2 as gs
from workspace.project.v1 import project_service_pb2 as prs
from workspace.project.v1.grant_pb2 import GRANT_TARGET_TYPE_USER
from workspace.project.v1.grant_service_pb2_grpc import GrantServiceStub
from workspace.project.v1.project_service_pb2_grpc import ProjectServiceStub

from identity_svc.users.sign_in import personal_account_id
from services.model.ids import user_id
from tests.harness import Workspace
from tests.integration.identity.people import (
    ANN,
    BOB,
    EDITOR,
    OWNER,
    People,
    new_request_id,
    reason_of,
    refused,
)


def _issue(people: People, **more: Any) -> ids.IssueLocalTokenRequest:
    return ids.IssueLocalTokenRequest(
        **{"email": ANN, "local_secret": people.secret, "request_id": new_request_id(), **more}
    )


async def _bearer_stub(ws: Workspace, **more: Any) -> Any:
    """A stub with a token of someone who was never normalised."""
    people = People(ws)
    issued = await ws.stub(IdentityServiceStub).IssueLocalToken(_issue(people, **more))
    return ws._stub(IdentityServiceStub, issued.access_token, "")


async def test_the_secret_stands_for_the_bearer(ws: Workspace) -> None:
    people, anonymous = People(ws), ws.stub(IdentityServiceStub)
    issued = await anonymous.IssueLocalToken(_issue(people, email="Ann@Example.COM"))
    issuer = f"workspace-local:{ws.process.kernel.instance_id}"
    assert issued.user_id == user_id(issuer, ANN)
    again = await anonymous.IssueLocalToken(_issue(people))
    assert again.user_id == issued.user_id
    with refused("UNAUTHENTICATED"):
        await anonymous.IssueLocalToken(_issue(people, local_secret="wrong"))


@pytest.mark.case("A14")
async def test_wrong_secrets_are_limited(ws: Workspace) -> None:
    people, anonymous = People(ws), ws.stub(IdentityServiceStub)
    for _ in range(10):
        with refused("UNAUTHENTICATED"):
            await anonymous.IssueLocalToken(_issue(people, local_secret="wrong"))
    with refused("LIMIT_EXCEEDED"):
        await anonymous.IssueLocalToken(_issue(people, local_secret="wrong"))
    assert (await anonymous.IssueLocalToken(_issue(people))).access_token


async def test_a_replayed_issue_signs_anew_and_stores_no_token(ws: Workspace) -> None:
    people, anonymous = People(ws), ws.stub(IdentityServiceStub)
    request = _issue(people)
    first = await anonymous.IssueLocalToken(request)
    again = await anonymous.IssueLocalToken(request)
    assert again.user_id == first.user_id
    assert again.access_token != first.access_token
    with refused("REQUEST_ID_REUSED"):
        await anonymous.IssueLocalToken(_issue(people, request_id=request.request_id, name="X"))
    stored = "".join(item.body for item in await ws.records.driver.scan(None, 1000))
    for secret in (first.access_token, first.access_token.split(".")[2], people.secret):
        assert secret not in stored


@pytest.mark.parametrize("seconds", [59, 3601])
async def test_lifetimes_are_bounded(ws: Workspace, seconds: int) -> None:
    anonymous = ws.stub(IdentityServiceStub)
    with refused("INVALID_FIELD"):
        await anonymous.IssueLocalToken(_issue(People(ws), lifetime=Duration(seconds=seconds)))


async def test_a_shorter_lifetime_is_kept(ws: Workspace) -> None:
    before = ws.process.kernel.now()
    issued = await ws.stub(IdentityServiceStub).IssueLocalToken(
        _issue(People(ws), lifetime=Duration(seconds=60))
    )
    assert issued.expires_at.seconds <= before + 70


@pytest.mark.case("Z20")
async def test_first_sign_in_makes_user_and_workspace(ws: Workspace) -> None:
    ann = await _bearer_stub(ws, name="Ann")
    with refused("INVALID_STATE"):
        await ann.GetSession(ids.GetSessionRequest())
    with refused("INVALID_STATE"):
        await ann.GetUser(ids.GetUserRequest(user_id="u_x"))
    answer = await ann.NormalizeIdentity(ids.NormalizeIdentityRequest())
    assert answer.created
    assert answer.consistency_token
    assert (answer.user.name, answer.user.email) == ("Ann", ANN)
    account = answer.personal_workspace
    assert (account.type, account.owner_user_id) == ("personal", answer.user.user_id)
    assert answer.user.personal_workspace_id == account.account_id
    again = await ann.NormalizeIdentity(ids.NormalizeIdentityRequest())
    assert not again.created
    assert again.user.user_id == answer.user.user_id
    assert again.user.last_seen_at.ToNanoseconds() >= answer.user.last_seen_at.ToNanoseconds()


async def test_fifty_first_sign_ins_make_one_user(ws: Workspace) -> None:
    ann = await _bearer_stub(ws)
    request = ids.NormalizeIdentityRequest(request_id=new_request_id())
    same = await asyncio.gather(*(ann.NormalizeIdentity(request) for _ in range(50)))
    assert len({answer.user.SerializeToString(deterministic=True) for answer in same}) == 1
    assert all(answer.created for answer in same)
    others = [ann.NormalizeIdentity(ids.NormalizeIdentityRequest()) for _ in range(20)]
    assert not any(answer.created for answer in await asyncio.gather(*others))


async def test_parallel_first_sign_ins_without_request_id_create_once(ws: Workspace) -> None:
    ann = await _bearer_stub(ws)
    calls = [ann.NormalizeIdentity(ids.NormalizeIdentityRequest()) for _ in range(20)]
    answers = await asyncio.gather(*calls)
    assert sum(answer.created for answer in answers) == 1
    assert len({answer.personal_workspace.account_id for answer in answers}) == 1


@pytest.mark.parametrize("step", [1, 2, 3])
async def test_an_interrupted_first_sign_in_is_finished(
    ws: Workspace, step: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The process dies after step 1, 2 or 3 of the saga; a repeat completes it."""
    ann = await _bearer_stub(ws)
    commit, count = type(ws.records).commit, 0

    async def dying(self: Any, *args: Any, **kwargs: Any) -> Any:
        nonlocal count
        if count == step:
            raise TimeoutError
        count += 1
        return await commit(self, *args, **kwargs)

    with monkeypatch.context() as patch:
        patch.setattr(type(ws.records), "commit", dying)
        with refused("DEADLINE_EXCEEDED"):
            await ann.NormalizeIdentity(ids.NormalizeIdentityRequest())
    answer = await ann.NormalizeIdentity(ids.NormalizeIdentityRequest())
    assert answer.created
    assert answer.personal_workspace.account_id == personal_account_id(answer.user.user_id)
    session = (await ann.GetSession(ids.GetSessionRequest())).session
    assert [place.member.role for place in session.accounts] == [OWNER]


async def test_session_has_everything(ws: Workspace) -> None:
    people = People(ws)
    (ann,) = await people.sign_in(ANN)
    account = await people.account(ANN, bob=EDITOR)
    team = await people.team(ANN, account_id=account)
    project = await ws.stub(ProjectServiceStub, as_=ANN).CreateProject(
        prs.CreateProjectRequest(name="Bridge", account_id=account)
    )
    session = (await people.identity(ANN).GetSession(ids.GetSessionRequest())).session
    assert session.user.user_id == ann
    assert {a.account.type for a in session.accounts} == {"personal", "client_org"}
    assert [t.team.team_id for t in session.teams] == [team]
    assert [p.project_id for p in session.projects] == [project.project.project_id]
    assert session.projects[0].permissions
    assert [g.user_id for g in session.grants] == [ann]
    assert session.grants[0].source == "owner_default"
    assert len({p.topic for p in session.preferences}) == len(session.preferences) > 0
    assert not session.is_platform_admin
    await ws.stub(GrantServiceStub, as_=ANN).CreateGrant(
        gs.CreateGrantRequest(
            project_id=project.project.project_id,
            target_type=GRANT_TARGET_TYPE_USER,
            target_email=BOB,
            permissions=[PERMISSION_VIEW],
        )
    )
    bobs = (await people.identity(BOB).GetSession(ids.GetSessionRequest())).session
    assert [(g.source, g.project_id) for g in bobs.grants] == [
        ("direct", project.project.project_id)
    ]
    shared = next(a for a in bobs.accounts if a.account.account_id == account)
    assert list(shared.capabilities) == [ac.ACCOUNT_CAPABILITY_CREATE_PROJECT]
    assert not bobs.teams


async def test_session_pages_projects(ws: Workspace) -> None:
    people = People(ws)
    await people.sign_in(ANN, BOB)
    projects = ws.stub(ProjectServiceStub, as_=ANN)
    for number in range(3):
        await projects.CreateProject(prs.CreateProjectRequest(name=f"P{number}"))
    me, seen, token = people.identity(ANN), set(), ""
    while True:
        page = await me.GetSession(ids.GetSessionRequest(page_size=2, page_token=token))
        seen |= {project.name for project in page.session.projects}
        token = page.session.next_page_token
        if not token:
            break
        with refused("INVALID_PAGE_TOKEN"):
            await people.identity(BOB).GetSession(ids.GetSessionRequest(page_token=token))
    assert seen == {"P0", "P1", "P2"}
    with refused("INVALID_PAGE_TOKEN"):
        await me.GetSession(ids.GetSessionRequest(page_token="garbage"))


async def test_nothing_without_a_token(ws: Workspace) -> None:
    anonymous = ws.stub(IdentityServiceStub)
    for call, request in (
        (anonymous.NormalizeIdentity, ids.NormalizeIdentityRequest()),
        (anonymous.GetSession, ids.GetSessionRequest()),
        (anonymous.GetUser, ids.GetUserRequest(user_id="u_x")),
    ):
        with refused("UNAUTHENTICATED"):
            await call(request)


async def test_over_a_socket_too(ws: Workspace) -> None:
    people = People(ws)
    (ann,) = await people.sign_in(ANN)
    remote = ws.socket_stub(IdentityServiceStub, as_=ANN)
    session = (await remote.GetSession(ids.GetSessionRequest())).session
    assert session.user.user_id == ann
    bad = ws.socket_stub(IdentityServiceStub)
    with pytest.raises(Exception) as caught:
        await bad.GetSession(ids.GetSessionRequest())
    assert reason_of(caught.value) == "UNAUTHENTICATED"
