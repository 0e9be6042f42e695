"""People of a Cognito user pool sign in, over a real gRPC port: each outcome once."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import grpc.aio
import pytest
from workspace.identity.v1 import identity_service_pb2 as ids
from workspace.identity.v1.user_pb2 import User

from services.model.ids import user_id
from tests.cognito_pool import ABSENT, CLIENT, OTHER_CLIENT, CognitoPool
from tests.integration.identity.people import ANN, refused
from tests.integration.identity.trusting import Deployment, opened

Trusting = Deployment[CognitoPool]


@pytest.fixture
async def access(tmp_path: Path) -> AsyncIterator[Trusting]:
    async with opened(CognitoPool(tmp_path), tmp_path) as deployment:
        yield deployment


async def test_a_person_is_known_by_pool_and_subject(access: Trusting) -> None:
    token = access.issuer.access_token
    first = await access.sign_in(token("zoe", **{"cognito:groups": ["staff"]}))
    user: User = first.user
    assert first.created
    assert user.user_id == user_id(access.issuer.issuer, "zoe")
    assert (user.name, user.email, user.email_verified) == ("user-zoe", "", False)
    assert list(user.deployment_claims) == ["staff"]
    assert not user.deployment_claims_incomplete
    renamed = await access.sign_in(token("zoe", username="somebody"))
    assert (renamed.created, renamed.user.user_id) == (False, user.user_id)
    reused = await access.sign_in(token("zoe-2", username="user-zoe"))  # the name, given again
    assert reused.user.user_id != user.user_id
    links = await access.stub(token("zoe")).ListIdentityLinks(
        ids.ListIdentityLinksRequest(user_id=user.user_id)
    )
    found = [(each.provider, each.issuer, each.primary) for each in links.identity_links]
    assert found == [("cognito", access.issuer.issuer, True)]


@pytest.mark.case("T55", "T56", "T57", "T58", "T59", "T65")
async def test_t55_to_t59_are_refused(access: Trusting) -> None:
    pool = access.issuer
    good = pool.access_token("zoe")
    await access.sign_in(good)
    bad = {
        "T55 ID token": pool.id_token("zoe"),
        "T55 use of an ID token": pool.access_token("zoe", token_use="id"),
        "T56 no use": pool.access_token("zoe", token_use=ABSENT),
        "T56 refresh": pool.access_token("zoe", token_use="refresh"),
        "T57 sibling client": pool.access_token("zoe", client_id=OTHER_CLIENT),
        "T57 another resource": pool.access_token("zoe", aud="https://api.other.test"),
        "T58 another pool": pool.access_token("zoe", iss=pool.issuer[:-1] + "J"),
        "T59 another region": pool.access_token(
            "zoe", iss=pool.issuer.replace("eu-central-1.a", "eu-west-1.a")
        ),
        "T65 a program": pool.access_token(CLIENT, username=ABSENT),
        "T43 expired": pool.access_token("zoe", exp=int(time.time()) - 1),
        "T25 signature": good[:-8] + "A" * 8,
    }
    for token in bad.values():
        with refused("UNAUTHENTICATED"):
            await access.sign_in(token)
        with refused("UNAUTHENTICATED"):
            await access.session(token)
    assert (await access.session(good)).user.user_id == user_id(pool.issuer, "zoe")


@pytest.mark.parametrize(
    ("groups", "recorded", "incomplete"),
    [
        (["admin", "platform_admin", "PlatformAdmin"], 3, False),
        ("admin", 0, True),
        ({"admin": True}, 0, True),
        ([f"group-{n:03}" for n in range(100)], 100, False),  # as many as a user can have
        ([f"g{n}" for n in range(1000)], 256, True),
    ],
    ids=["named admin", "text", "table", "a hundred", "a thousand"],
)
@pytest.mark.case("T60")
async def test_t60_groups_are_recorded_and_grant_nothing(
    groups: Any, recorded: int, incomplete: bool, access: Trusting
) -> None:
    token = access.issuer.access_token("zoe", **{"cognito:groups": groups})
    user: User = (await access.sign_in(token)).user
    assert len(user.deployment_claims) == recorded
    assert user.deployment_claims_incomplete == incomplete
    session = await access.session(token)
    assert not session.is_platform_admin
    ann = await access.ws.sign_in(ANN)
    with refused("PERMISSION_DENIED"):
        await access.stub(token).DisableUser(ids.DisableUserRequest(user_id=ann))


@pytest.mark.case("T60")
async def test_t60_ten_thousand_groups_are_refused(access: Trusting) -> None:
    token = access.issuer.access_token("zoe", **{"cognito:groups": ["g"] * 10_000})
    with pytest.raises(grpc.aio.AioRpcError) as caught:  # larger than any metadata may be
        await access.sign_in(token)
    assert caught.value.code() == grpc.StatusCode.RESOURCE_EXHAUSTED
    assert await access.sign_in(access.issuer.access_token("zoe"))
