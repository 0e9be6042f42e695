"""People of a tenant of Microsoft Entra sign in, over a real gRPC port: each outcome once."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from workspace.identity.v1 import identity_service_pb2 as ids
from workspace.identity.v1.user_pb2 import User

from services.model.ids import user_id
from services.tokens.entra import DATED_BACK
from tests.entra_tenant import (
    ABSENT,
    GRAPH,
    OTHER_CLIENT,
    OTHER_TENANT,
    TENANT,
    EntraTenant,
    object_id,
)
from tests.integration.identity.people import ANN, refused
from tests.integration.identity.trusting import Deployment, opened

Trusting = Deployment[EntraTenant]


@pytest.fixture
async def access(tmp_path: Path) -> AsyncIterator[Trusting]:
    async with opened(EntraTenant(tmp_path), tmp_path) as deployment:
        yield deployment


@pytest.fixture
async def identity(tmp_path: Path) -> AsyncIterator[Trusting]:
    async with opened(EntraTenant(tmp_path), tmp_path, token_use="id") as deployment:
        yield deployment


@pytest.fixture
async def external(tmp_path: Path) -> AsyncIterator[Trusting]:
    async with opened(EntraTenant(tmp_path, external=True), tmp_path) as deployment:
        yield deployment


def subject(person: str) -> str:
    return f"{TENANT}:{object_id(person)}"


async def test_a_person_is_known_by_tenant_and_object_id(access: Trusting) -> None:
    token = access.issuer.access_token
    first = await access.sign_in(token("zoe", groups=["g-staff"], roles=["Reader"]))
    user: User = first.user
    assert first.created
    assert user.user_id == user_id(access.issuer.issuer, subject("zoe"))
    assert (user.name, user.email, user.email_verified) == ("Zoe", "", False)
    assert list(user.deployment_claims) == ["Reader", "g-staff"]
    assert not user.deployment_claims_incomplete
    # Another application's `sub`, another name: the same person.
    renamed = await access.sign_in(token("zoe", sub="pairwise-2", preferred_username="x@corp.test"))
    assert (renamed.created, renamed.user.user_id) == (False, user.user_id)
    reused = await access.sign_in(token("zoe", oid=object_id("zoe-2")))  # all names, given again
    assert reused.user.user_id != user.user_id
    links = await access.stub(token("zoe")).ListIdentityLinks(
        ids.ListIdentityLinksRequest(user_id=user.user_id)
    )
    found = [(each.provider, each.issuer, each.primary) for each in links.identity_links]
    assert found == [("entra", access.issuer.issuer, True)]


async def test_people_of_an_external_tenant_sign_in(external: Trusting) -> None:
    issuer = f"https://{TENANT}.ciamlogin.com/{TENANT}/v2.0"
    token = external.issuer.access_token("zoe", email="zoe@home.test", xms_edov=True)
    user: User = (await external.sign_in(token)).user
    assert (user.issuer, user.subject) == (issuer, subject("zoe"))
    assert (user.email, user.email_verified) == ("zoe@home.test", True)
    workforce = f"https://login.microsoftonline.com/{TENANT}/v2.0"
    with refused("UNAUTHENTICATED"):
        await external.session(external.issuer.access_token("zoe", iss=workforce))


async def test_a_programs_own_token_is_no_id_token(identity: Trusting) -> None:
    await identity.sign_in(identity.issuer.id_token("zoe"))
    with refused("UNAUTHENTICATED"):
        await identity.session(identity.issuer.app_token())


@pytest.mark.case("T62", "T63", "T64", "T65", "T67")
async def test_t62_to_t67_are_refused(access: Trusting) -> None:
    tenant = access.issuer
    good = tenant.access_token("zoe")
    await access.sign_in(good)
    bad = {
        "T55 ID token": tenant.id_token("zoe"),
        "T62 another tenant": tenant.access_token(
            "zoe", iss=tenant.issuer.replace(TENANT, OTHER_TENANT), tid=OTHER_TENANT
        ),
        "T62 its tid": tenant.access_token("zoe", tid=OTHER_TENANT),
        "T63 version 1.0": tenant.access_token(
            "zoe", iss=f"https://sts.windows.net/{TENANT}/", ver="1.0"
        ),
        "T64 Graph": tenant.access_token("zoe", aud=GRAPH),
        "T51 sibling application": tenant.access_token("zoe", aud=OTHER_CLIENT),
        "T65 a program": tenant.app_token(),
        "T65 a program without idtyp": tenant.app_token(idtyp=ABSENT),
        "T67 no program": tenant.access_token("zoe", azp=ABSENT),
        "T43 expired": tenant.access_token("zoe", exp=int(time.time()) - 1),
        "T25 signature": good[:-8] + "A" * 8,
    }
    for token in bad.values():
        with refused("UNAUTHENTICATED"):
            await access.sign_in(token)
        with refused("UNAUTHENTICATED"):
            await access.session(token)
    assert (await access.session(good)).user.user_id == user_id(tenant.issuer, subject("zoe"))


_OVERAGE = {
    "_claim_names": {"groups": "src1"},
    "_claim_sources": {"src1": {"endpoint": "https://graph.microsoft.com/v1.0/users/x"}},
}


@pytest.mark.parametrize(
    ("claims", "recorded", "incomplete"),
    [
        ({"groups": ["admin", "platform_admin"], "roles": ["Admin"]}, 3, False),
        ({"groups": "admin"}, 0, True),
        ({"groups": [f"{n:08x}-0000-4000-8000-000000000000" for n in range(100)]}, 100, False),
        (_OVERAGE, 0, True),
        (_OVERAGE | {"roles": ["Admin"]}, 1, True),
        ({"hasgroups": True}, 0, True),
        ({"wids": ["62e90394-69f5-4237-9190-012177145e10"]}, 0, False),
    ],
    ids=["named admin", "text", "a hundred", "overage", "and roles", "hasgroups", "administrators"],
)
@pytest.mark.case("T70")
async def test_t70_groups_are_recorded_and_grant_nothing(
    claims: dict[str, Any], recorded: int, incomplete: bool, access: Trusting
) -> None:
    token = access.issuer.access_token("zoe", **claims)
    user: User = (await access.sign_in(token)).user
    assert len(user.deployment_claims) == recorded
    assert user.deployment_claims_incomplete == incomplete
    assert not (await access.session(token)).is_platform_admin
    ann = await access.ws.sign_in(ANN)
    with refused("PERMISSION_DENIED"):
        await access.stub(token).DisableUser(ids.DisableUserRequest(user_id=ann))


@pytest.mark.case("T70")
async def test_t70_groups_that_are_unknown_now_are_not_those_of_before(access: Trusting) -> None:
    token = access.issuer.access_token
    await access.sign_in(token("zoe", groups=["g-staff"]))
    unknown: User = (await access.sign_in(token("zoe", **_OVERAGE))).user
    assert (list(unknown.deployment_claims), unknown.deployment_claims_incomplete) == ([], True)
    none: User = (await access.sign_in(token("zoe"))).user
    assert (list(none.deployment_claims), none.deployment_claims_incomplete) == ([], False)


@pytest.mark.case("P03")
async def test_a_token_with_two_hundred_groups_comes_through(access: Trusting) -> None:
    groups = [f"{n:08x}-0000-4000-8000-000000000000" for n in range(200)]
    user: User = (await access.sign_in(access.issuer.access_token("zoe", groups=groups))).user
    assert set(user.deployment_claims) <= set(groups)


async def test_a_token_of_five_minutes_ago_links_although_entra_dates_back(
    access: Trusting,
) -> None:
    ann = await access.ws.sign_in(ANN)
    now = int(time.time())

    async def link(iat: int) -> Any:
        token = access.issuer.access_token("zoe", iat=iat, nbf=iat, exp=now + 600)
        return await access.stub(access.ws.token(ANN)).LinkIdentity(
            ids.LinkIdentityRequest(other_token=token)
        )

    with refused("UNAUTHENTICATED"):
        await link(now - DATED_BACK - 301)
    assert (await link(now - DATED_BACK - 60)).user.user_id == ann
