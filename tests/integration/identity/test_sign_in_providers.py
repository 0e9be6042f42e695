"""What the sign-in of people of a cloud's provider (Cognito, Entra) has in common, over a real
gRPC port: what one of them leaves is ours to keep or to end. (test_cognito.py, test_entra.py:
what is their own.)"""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any, Final

import pytest
from workspace.identity.v1 import identity_service_pb2 as ids

from tests.cognito_pool import CognitoPool
from tests.entra_tenant import EntraTenant
from tests.integration.identity.people import ANN, People, refused
from tests.integration.identity.trusting import Deployment, opened

ISSUERS: Final[dict[str, Callable[[Path], Any]]] = {"cognito": CognitoPool, "entra": EntraTenant}


@pytest.fixture
async def access(provider: str, tmp_path: Path) -> AsyncIterator[Deployment[Any]]:
    async with opened(ISSUERS[provider](tmp_path), tmp_path) as deployment:
        yield deployment


@pytest.fixture
async def identity(provider: str, tmp_path: Path) -> AsyncIterator[Deployment[Any]]:
    async with opened(ISSUERS[provider](tmp_path), tmp_path, token_use="id") as deployment:
        yield deployment


@pytest.mark.parametrize(
    ("provider", "verified"), [("cognito", "email_verified"), ("entra", "xms_edov")]
)
async def test_id_tokens_bring_a_verified_address_where_they_are_taken(
    verified: str, identity: Deployment[Any]
) -> None:
    token = identity.issuer.id_token
    user = (await identity.sign_in(token("zoe"))).user
    assert (user.name, user.email, user.email_verified) == ("Zoe", "zoe@corp.test", True)
    changed = token("zoe", email="root@corp.test", **{verified: False})
    user = (await identity.sign_in(changed)).user
    assert (user.email, user.email_verified) == ("", False)
    with refused("UNAUTHENTICATED"):
        await identity.session(identity.issuer.access_token("zoe"))


@pytest.mark.parametrize("provider", ISSUERS)
@pytest.mark.case("T61")
async def test_t61_our_state_decides_whatever_the_provider_says(
    provider: str, access: Deployment[Any]
) -> None:
    people = People(access.ws)
    await people.sign_in(ANN)
    await people.bootstrap(ANN)
    token = access.issuer.access_token("zoe")
    zoe = (await access.sign_in(token)).user.user_id
    admin = people.identity(ANN)
    await admin.DisableUser(ids.DisableUserRequest(user_id=zoe, reason="left"))
    for again in (token, access.issuer.access_token("zoe")):  # a fresh one helps nobody
        with refused("USER_DISABLED"):
            await access.session(again)
        with refused("USER_DISABLED"):
            await access.sign_in(again)
    await admin.EnableUser(ids.EnableUserRequest(user_id=zoe))
    with refused("UNAUTHENTICATED"):  # from before the end of his sessions
        await access.session(token)
    if provider == "entra":  # it dates back: as far as anybody can tell this one is, too
        with refused("UNAUTHENTICATED"):
            await access.session(access.issuer.access_token("zoe"))
    soon = int(time.time()) + 30
    fresh = access.issuer.access_token("zoe", iat=soon, exp=soon + 600)
    assert (await access.session(fresh)).user.user_id == zoe


@pytest.mark.parametrize("provider", ISSUERS)
@pytest.mark.case("T54", "T61")
async def test_t54_t61_sessions_of_somebody_who_left_are_revoked(
    access: Deployment[Any]
) -> None:
    people = People(access.ws)
    await people.sign_in(ANN)
    await people.bootstrap(ANN)
    token = access.issuer.access_token("zoe")
    zoe = (await access.sign_in(token)).user.user_id
    assert await access.session(token)
    await people.identity(ANN).RevokeSessions(ids.RevokeSessionsRequest(user_id=zoe))
    with refused("UNAUTHENTICATED"):
        await access.session(token)


@pytest.mark.parametrize("provider", ISSUERS)
@pytest.mark.case("T72")
async def test_t72_an_outage_of_a_provider_stops_nobody_else(access: Deployment[Any]) -> None:
    access.issuer.answers[access.issuer.keys_path] = (503, {}, b"")
    assert await access.ws.sign_in(ANN)
    with refused("BACKEND_UNAVAILABLE"):
        await access.sign_in(access.issuer.access_token("zoe"))


@pytest.mark.parametrize(
    ("provider", "called"),
    [("cognito", ()), ("entra", ("preferred_username", "upn"))],
    ids=ISSUERS,
)
@pytest.mark.case("T68")
async def test_t68_an_address_joins_nobody(
    provider: str, called: tuple[str, ...], identity: Deployment[Any]
) -> None:
    ann = await identity.ws.sign_in(ANN)
    token = identity.issuer.id_token("zoe", email=ANN, **dict.fromkeys(called, ANN))
    zoe = (await identity.sign_in(token)).user.user_id
    assert zoe != ann
    linked = await identity.stub(identity.ws.token(ANN)).LinkIdentity(
        ids.LinkIdentityRequest(other_token=token)
    )
    assert (linked.user.user_id, linked.identity_link.provider) == (ann, provider)
    assert (await identity.session(token)).user.user_id == ann
