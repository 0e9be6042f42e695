"""People of a generic issuer sign in; the local provider goes on beside it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from workspace.identity.v1 import identity_service_pb2 as ids

from services.model.ids import user_id
from tests.integration.identity.people import ANN, refused
from tests.integration.identity.remote import Remote


@pytest.fixture
async def remote(tmp_path: Path) -> AsyncIterator[Remote]:
    async with Remote.open(tmp_path) as opened:
        yield opened


async def test_a_user_is_known_by_issuer_and_subject(remote: Remote) -> None:
    first = await remote.sign_in(remote.token("zoe", groups=["staff"]))
    assert first.created
    assert first.user.user_id == user_id(remote.issuer.url, "zoe")
    assert first.user.email == "zoe@corp.test"
    assert list(first.user.deployment_claims) == ["staff"]
    assert not first.user.deployment_claims_incomplete
    again = await remote.sign_in(remote.token("zoe", email="new@corp.test", hasgroups=True))
    assert (again.created, again.user.user_id) == (False, first.user.user_id)
    assert again.user.email == "new@corp.test"
    assert again.user.deployment_claims_incomplete
    links = await remote.stub(remote.token("zoe")).ListIdentityLinks(
        ids.ListIdentityLinksRequest(user_id=first.user.user_id)
    )
    assert [(each.provider, each.primary) for each in links.identity_links] == [("oidc", True)]


@pytest.mark.case("T68")
async def test_groups_grant_nothing_and_an_address_joins_nobody(remote: Remote) -> None:
    ann = await remote.ws.sign_in(ANN)
    other = await remote.sign_in(remote.token("zoe", email=ANN, groups=["platform_admin"]))
    assert other.user.user_id != ann
    session = await remote.stub(remote.token("zoe")).GetSession(ids.GetSessionRequest())
    assert not session.session.is_platform_admin
    resolved = await remote.ws.service_stub(
        type(remote.stub("")), service="project_svc"
    ).ResolveUser(ids.ResolveUserRequest(email=ANN))
    assert resolved.user_id != other.user.user_id


async def test_before_signing_in_only_that_can_be_called(remote: Remote) -> None:
    with refused("INVALID_STATE"):
        await remote.stub(remote.token("zoe")).GetUser(ids.GetUserRequest(user_id="u_x"))


@pytest.mark.case("T54")
async def test_revoking_sessions_reaches_remote_tokens(remote: Remote) -> None:
    token = remote.token("zoe")
    user = (await remote.sign_in(token)).user.user_id
    await remote.stub(token).RevokeSessions(ids.RevokeSessionsRequest(user_id=user))
    with refused("UNAUTHENTICATED"):
        await remote.who(token)


@pytest.mark.case("T72")
async def test_an_outage_of_the_issuer_stops_nobody_else(remote: Remote) -> None:
    remote.issuer.put("/keys", b"", status=503)
    assert await remote.ws.sign_in(ANN)
    with refused("BACKEND_UNAVAILABLE"):
        await remote.sign_in(remote.token("zoe"))


async def test_tokens_of_another_audience_or_key_are_refused(remote: Remote) -> None:
    await remote.sign_in(remote.token("zoe"))
    for bad in (
        remote.token("zoe", aud="other"),
        remote.token("zoe", iss=remote.issuer.url + "/"),
        remote.token("zoe")[:-8] + "A" * 8,
    ):
        with refused("UNAUTHENTICATED"):
            await remote.who(bad)
