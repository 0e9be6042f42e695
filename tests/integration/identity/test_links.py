"""LinkIdentity, UnlinkIdentity, ListIdentityLinks: one person, two identities."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from workspace.identity.v1 import identity_service_pb2 as ids
from workspace.project.v1 import project_service_pb2 as ps
from workspace.project.v1.project_service_pb2_grpc import ProjectServiceStub

from identity_svc.users.links import Links
from services.model.errors import Reason, WorkspaceError
from services.model.ids import identity_hash, user_id
from tests.integration.identity.people import ANN, BOB, People, new_request_id, refused
from tests.integration.identity.remote import Remote


@pytest.fixture
async def remote(tmp_path: Path) -> AsyncIterator[Remote]:
    async with Remote.open(tmp_path) as opened:
        await opened.ws.sign_in(ANN)
        yield opened


def ann(remote: Remote) -> str:
    return remote.ws.token(ANN)


async def link(remote: Remote, bearer: str, other: str, **more: Any) -> Any:
    request = ids.LinkIdentityRequest(other_token=other, **more)
    return await remote.stub(bearer).LinkIdentity(request)


async def unlink(remote: Remote, bearer: str, other: str, subject: str = "zoe", **more: Any) -> Any:
    link_id = identity_hash(remote.issuer.url, subject)
    request = ids.UnlinkIdentityRequest(link_id=link_id, other_token=other, **more)
    return await remote.stub(bearer).UnlinkIdentity(request)


async def make_project(remote: Remote, bearer: str) -> str:
    stub = remote.stub(bearer, ProjectServiceStub)
    made = await stub.CreateProject(ps.CreateProjectRequest(name="Bridge"))
    return str(made.project.project_id)


async def links_of(remote: Remote, bearer: str) -> dict[str, bool]:
    me = await remote.who(bearer)
    found = await remote.stub(bearer).ListIdentityLinks(
        ids.ListIdentityLinksRequest(user_id=me)
    )
    return {each.provider: each.primary for each in found.identity_links}


async def test_who_worked_locally_is_the_same_after_the_first_cloud_sign_in(
    remote: Remote,
) -> None:
    project = await make_project(remote, ann(remote))
    cloud = remote.token("zoe")
    answer = await link(remote, ann(remote), cloud)
    me = await remote.ws.sign_in(ANN)
    assert answer.user.user_id == answer.identity_link.user_id == me
    assert (answer.identity_link.provider, answer.identity_link.primary) == ("oidc", False)
    signed_in = await remote.sign_in(cloud)
    assert (signed_in.user.user_id, signed_in.created) == (me, False)
    assert signed_in.user.email == ANN  # the first identity's
    stub = remote.stub(cloud, ProjectServiceStub)
    assert await stub.GetProject(ps.GetProjectRequest(project_id=project))
    assert await links_of(remote, cloud) == {"local": True, "oidc": False}


async def test_an_empty_user_of_the_other_identity_is_retired(remote: Remote) -> None:
    cloud = remote.token("zoe")
    empty = (await remote.sign_in(cloud)).user.user_id
    await make_project(remote, ann(remote))
    await link(remote, ann(remote), cloud)
    me = await remote.ws.sign_in(ANN)
    assert await remote.who(cloud) == me
    people = People(remote.ws)
    await people.bootstrap(ANN)
    with refused("INVALID_STATE"):
        await people.identity(ANN).EnableUser(ids.EnableUserRequest(user_id=empty))
    retired = await people.identity(ANN).GetUser(ids.GetUserRequest(user_id=empty))
    assert retired.user.linked_to_user_id == me


async def test_the_user_with_records_is_kept_whoever_asks(remote: Remote) -> None:
    cloud = remote.token("zoe")
    await remote.sign_in(cloud)
    await make_project(remote, ann(remote))
    me = await remote.ws.sign_in(ANN)
    answer = await link(remote, cloud, ann(remote))
    assert answer.user.user_id == me
    assert await remote.who(cloud) == me
    assert await remote.who(ann(remote)) == me


async def test_two_users_with_records_are_not_joined(remote: Remote) -> None:
    cloud = remote.token("zoe")
    zoe = (await remote.sign_in(cloud)).user.user_id
    await make_project(remote, ann(remote))
    await make_project(remote, cloud)
    with refused("INVALID_STATE"):
        await link(remote, ann(remote), cloud)
    assert await remote.who(cloud) == zoe
    assert await links_of(remote, cloud) == {"oidc": True}


async def test_both_tokens_are_fresh_people_tokens_that_verify(remote: Remote) -> None:
    old = int(time.time()) - 301
    stale = {"iat": old, "exp": old + 3600}
    machine = await remote.stub(ann(remote)).CreateMachineToken(
        ids.CreateMachineTokenRequest(name="robot")
    )
    for other in (remote.token("zoe", **stale), remote.token("zoe", aud="x"), "x", machine.secret):
        with refused("UNAUTHENTICATED"):
            await link(remote, ann(remote), other)
    await remote.sign_in(remote.token("old"))
    with refused("UNAUTHENTICATED"):
        await link(remote, remote.token("old", **stale), ann(remote))
    assert await links_of(remote, ann(remote)) == {"local": True}


async def test_what_is_linked_already_is_said(remote: Remote) -> None:
    cloud = remote.token("zoe")
    await link(remote, ann(remote), cloud)
    for other in (cloud, ann(remote)):
        with refused("ALREADY_EXISTS"):
            await link(remote, ann(remote), other)


async def test_an_identity_of_somebody_else_is_not_taken_over(remote: Remote) -> None:
    await remote.ws.sign_in(BOB)
    cloud, bob = remote.token("zoe"), remote.ws.token(BOB)
    await link(remote, ann(remote), cloud)
    await make_project(remote, bob)
    with refused("INVALID_STATE"):
        await link(remote, bob, cloud)
    assert await remote.who(cloud) == await remote.ws.sign_in(ANN)


async def test_a_repeat_gives_the_same_answer(remote: Remote) -> None:
    cloud, request_id = remote.token("zoe"), new_request_id()
    await remote.sign_in(cloud)
    await make_project(remote, ann(remote))
    for bearer, other in ((cloud, ann(remote)),) * 2:
        answer = await link(remote, bearer, other, request_id=request_id)
        assert answer.user.user_id == await remote.ws.sign_in(ANN)
    with refused("REQUEST_ID_REUSED"):
        await link(remote, cloud, remote.token("tim"), request_id=request_id)


@pytest.mark.parametrize("step", ["_claim", "_answer_link", "_retire"])
@pytest.mark.parametrize("same_id", [True, False])
async def test_an_interrupted_call_is_finished_by_the_next(
    step: str, same_id: bool, remote: Remote, monkeypatch: pytest.MonkeyPatch
) -> None:
    cloud, request_id = remote.token("zoe"), new_request_id()
    await remote.sign_in(cloud)
    await make_project(remote, ann(remote))

    async def broken(*_: Any) -> None:
        raise WorkspaceError(Reason.ERROR_REASON_BACKEND_UNAVAILABLE, "cut", retry_after=0.1)

    with monkeypatch.context() as patch:
        patch.setattr(Links, step, broken)
        with refused("BACKEND_UNAVAILABLE"):
            await link(remote, cloud, ann(remote), request_id=request_id)
    later = request_id if same_id else new_request_id()
    answer = await link(remote, cloud, ann(remote), request_id=later)
    assert answer.user.user_id == await remote.ws.sign_in(ANN)
    assert await remote.who(cloud) == await remote.ws.sign_in(ANN)


async def test_disabling_and_revoking_apply_to_every_link(remote: Remote) -> None:
    people, cloud = People(remote.ws), remote.token("zoe")
    await link(remote, ann(remote), cloud)
    me = await remote.ws.sign_in(ANN)
    await remote.stub(cloud).RevokeSessions(ids.RevokeSessionsRequest(user_id=me))
    for bearer in (cloud, ann(remote)):
        with refused("UNAUTHENTICATED"):
            await remote.who(bearer)
    await remote.ws.sign_in(BOB)
    await people.bootstrap(BOB)
    await people.identity(BOB).DisableUser(ids.DisableUserRequest(user_id=me))
    later = int(time.time()) + 2
    for bearer in (remote.token("zoe", iat=later, exp=later + 60), ann(remote)):
        with refused("USER_DISABLED"):
            await remote.who(bearer)


async def test_the_link_of_a_disabled_user_is_refused(remote: Remote) -> None:
    people, cloud = People(remote.ws), remote.token("zoe")
    zoe = (await remote.sign_in(cloud)).user.user_id
    await people.bootstrap(ANN)
    await people.identity(ANN).DisableUser(ids.DisableUserRequest(user_id=zoe))
    with refused("USER_DISABLED"):
        await link(remote, ann(remote), cloud)


@pytest.mark.case("Z20")
async def test_an_unlinked_identity_is_a_person_of_its_own_again(remote: Remote) -> None:
    cloud, fresh = remote.token("zoe"), remote.token("new")
    zoe = (await remote.sign_in(cloud)).user.user_id
    await make_project(remote, ann(remote))
    for token in (cloud, fresh):
        await link(remote, ann(remote), token)
    request_id = new_request_id()
    first, again = [
        await unlink(remote, ann(remote), cloud, request_id=request_id) for _ in range(2)
    ]
    assert first == again
    assert first.user.user_id == await remote.ws.sign_in(ANN)
    assert await remote.who(cloud) == zoe
    await unlink(remote, ann(remote), fresh, subject="new")
    created = await remote.sign_in(fresh)
    assert (created.created, created.user.user_id) == (True, user_id(remote.issuer.url, "new"))
    assert await links_of(remote, ann(remote)) == {"local": True}


@pytest.mark.parametrize("step", ["_revive", "_answer_unlink"])
async def test_an_interrupted_unlinking_is_finished_by_the_next(
    step: str, remote: Remote, monkeypatch: pytest.MonkeyPatch
) -> None:
    cloud = remote.token("zoe")
    zoe = (await remote.sign_in(cloud)).user.user_id
    await link(remote, ann(remote), cloud)
    request_id = new_request_id()

    async def broken(*_: Any) -> None:
        raise WorkspaceError(Reason.ERROR_REASON_BACKEND_UNAVAILABLE, "cut", retry_after=0.1)

    with monkeypatch.context() as patch:
        patch.setattr(Links, step, broken)
        with refused("BACKEND_UNAVAILABLE"):
            await unlink(remote, ann(remote), cloud, request_id=request_id)
    if step == "_revive":
        await unlink(remote, ann(remote), cloud, request_id=request_id)
    assert await remote.who(cloud) == zoe


async def test_unlinking_needs_the_link_its_token_and_its_etag(remote: Remote) -> None:
    await remote.ws.sign_in(BOB)
    cloud, bob = remote.token("zoe"), remote.ws.token(BOB)
    made = await link(remote, ann(remote), cloud)
    with refused("PERMISSION_DENIED"):
        await unlink(remote, bob, cloud)
    with refused("PERMISSION_DENIED"):
        await unlink(remote, ann(remote), cloud, subject="nobody")
    with refused("INVALID_FIELD"):
        await unlink(remote, ann(remote), remote.token("tim"))
    old = int(time.time()) - 301
    with refused("UNAUTHENTICATED"):
        await unlink(remote, ann(remote), remote.token("zoe", iat=old, exp=old + 600))
    with refused("ETAG_MISMATCH"):
        await unlink(remote, ann(remote), cloud, etag="x" * 20)
    primary = identity_hash(
        (await remote.stub(ann(remote)).GetSession(ids.GetSessionRequest())).session.user.issuer,
        ANN,
    )
    with refused("INVALID_STATE"):
        await remote.stub(ann(remote)).UnlinkIdentity(
            ids.UnlinkIdentityRequest(link_id=primary, other_token=ann(remote))
        )
    assert await unlink(remote, ann(remote), cloud, etag=made.identity_link.etag)


async def test_the_list_is_ones_own_and_paged(remote: Remote) -> None:
    people = People(remote.ws)
    await remote.ws.sign_in(BOB)
    me = await remote.ws.sign_in(ANN)
    for subject in ("zoe", "tim"):
        await link(remote, ann(remote), remote.token(subject))
    with refused("PERMISSION_DENIED"):
        await people.identity(BOB).ListIdentityLinks(ids.ListIdentityLinksRequest(user_id=me))
    await people.bootstrap(BOB)
    found, token = list[str](), ""
    while True:
        page = await people.identity(BOB).ListIdentityLinks(
            ids.ListIdentityLinksRequest(user_id=me, page_size=1, page_token=token)
        )
        found += [each.link_id for each in page.identity_links]
        token = page.next_page_token
        if not token:
            break
        with refused("INVALID_PAGE_TOKEN"):
            await people.identity(ANN).ListIdentityLinks(
                ids.ListIdentityLinksRequest(user_id=me, page_token=token)
            )
    assert len(set(found)) == len(found) == 3


async def test_a_linked_local_identity_still_signs_in(remote: Remote) -> None:
    cloud = remote.token("zoe")
    await remote.sign_in(cloud)
    await make_project(remote, cloud)
    answer = await link(remote, ann(remote), cloud)  # zoe holds records and is kept
    assert answer.user.user_id == user_id(remote.issuer.url, "zoe")
    remote.ws._users.pop(ANN)
    assert await remote.ws.sign_in(ANN) == answer.user.user_id
    resolved = await People(remote.ws).as_service().ResolveUser(ids.ResolveUserRequest(email=ANN))
    assert resolved.user_id == answer.user.user_id
