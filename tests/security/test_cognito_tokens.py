"""What Cognito-shaped pools alone have, for both kinds of tokens that a pool's verifier may be
set to take. (Bad tokens of all providers: test_provider_tokens.py.)"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from services.tokens.authenticator import TokenAuthenticator
from services.tokens.claims import TokenRefusedError
from services.tokens.cognito import CognitoClaims
from tests.cognito_pool import CLIENT, OTHER_CLIENT, CognitoPool
from tests.security.cognito_cases import ISSUER
from tests.security.refusing import refuse
from tests.security.sign_in_providers import PROVIDERS, Bench, serving
from tests.security.test_bad_tokens import GONE, NOW

USES = ("access", "id")


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bench]:
    with serving(PROVIDERS["cognito"], tmp_path_factory.mktemp("pool")) as made:
        yield made


@pytest.mark.case("T32", "T58")
async def test_t32_t58_the_keys_of_pools_are_not_mixed(
    bench: Bench, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """Two pools of one region and one client string: each is right for itself only."""
    other = CognitoPool(tmp_path_factory.mktemp("pool"), pool_id="eu-central-1_Ab3dEf9hJ")
    with other.serving():
        two = [bench.verifiers["access"], other.verifier(now=lambda: NOW)]
        both = TokenAuthenticator(two, now=lambda: NOW)
        claims = bench.kits["access"].claims
        for pool, crossed in ((bench.issuer, other.issuer), (other, ISSUER)):
            good = pool.signed(claims | {"iss": pool.issuer})
            assert (await both.authenticate(good)).issuer == pool.issuer
            await refuse(both, pool.signed(claims | {"iss": crossed}))


@pytest.mark.parametrize("use", USES)
@pytest.mark.case("P02")
async def test_positive_control(use: str, bench: Bench) -> None:
    authenticate, kit = bench.authenticator(use).authenticate, bench.kits[use]
    caller = await authenticate(kit.token())
    assert (caller.subject, caller.issuer) == ("ann@example.com", ISSUER)
    assert (caller.provider, caller.scope) == ("cognito", None)
    assert caller.token_id
    assert await authenticate(kit.token(iat=NOW + 60, exp=NOW + 60 + kit.max_seconds))
    assert await authenticate(kit.token({"typ": "JWT"}))
    assert await authenticate(kit.token(sub="a" * 255, jti=GONE))


@pytest.mark.case("T57")
async def test_every_configured_client_is_one_of_ours(bench: Bench) -> None:
    token = bench.kits["access"].token
    two = bench.issuer.verifier(now=lambda: NOW, client_ids=(CLIENT, OTHER_CLIENT))
    for client in (CLIENT, OTHER_CLIENT):
        assert await two.verify(token(client_id=client))
    for client in ("third", CLIENT + OTHER_CLIENT, f"{CLIENT},{OTHER_CLIENT}"):
        with pytest.raises(TokenRefusedError, match=r"^aud$"):
            await two.verify(token(client_id=client))


def read(use: Any = "id", **claims: Any) -> Any:
    username = "username" if use == "access" else "cognito:username"
    base = {
        "iss": ISSUER, "sub": "s-1", "iat": 1, "exp": 2, "token_use": use,
        "aud" if use == "id" else "client_id": CLIENT, username: "anna",
    }
    return CognitoClaims(token_use=use)({**base, **claims})


@pytest.mark.parametrize("use", USES)
@pytest.mark.parametrize("verified", [False, None, "true", 1, "True", [True], GONE])
@pytest.mark.case("T68")
def test_only_a_verified_address_is_one(use: str, verified: Any) -> None:
    given = {"email": "root@corp.test"} | ({} if verified is GONE else {"email_verified": verified})
    claims = read(use, **given)
    assert (claims.email, claims.email_verified) == ("", False)
    assert claims.subject == "s-1"


@pytest.mark.parametrize("use", USES)
@pytest.mark.case("T68")
def test_a_verified_address_is_kept_and_is_not_who_somebody_is(use: str) -> None:
    claims = read(use, email="ann@corp.test", email_verified=True)
    assert (claims.email, claims.email_verified) == ("ann@corp.test", True)
    assert claims.subject == "s-1"
    assert read(use, phone_number="+1", phone_number_verified=True).email == ""


@pytest.mark.parametrize("use", USES)
@pytest.mark.case("T68")
def test_a_username_is_at_most_a_name(use: str) -> None:
    username = "username" if use == "access" else "cognito:username"
    assert read(use).name == "anna"
    assert read(use, name="Ann").name == "Ann"
    for hidden in ("s-1", "ann@corp.test"):  # an id; an address that nobody verified
        assert read(use, **{username: hidden}).name == ""
    assert read(use, **{username: "an\u202ena"}).name == "an na"
    assert {read(use, **{username: name}).subject for name in ("anna", "bob")} == {"s-1"}


@pytest.mark.parametrize("use", USES)
@pytest.mark.case("T60")
def test_t60_groups_are_recorded_or_unknown(use: str) -> None:
    def groups(value: Any) -> Any:
        claims = read(use, **{"cognito:groups": value})
        return claims.groups, claims.groups_incomplete

    assert (read(use).groups, read(use).groups_incomplete) == ((), False)
    assert groups(["admin", "staff"]) == (("admin", "staff"), False)
    for unknown in ("admin", {"admin": 1}, None, 7, [f"g{n}" for n in range(10_001)]):
        assert groups(unknown) == ((), True)
    assert groups(["admin", 1, "", "x\x00"]) == (("admin",), True)
    assert len(groups([f"g{n}" for n in range(10_000)])[0]) == 10_000
    # Another claim of that name is not the pool's.
    assert read(use, groups=["admin"], **{"cognito:roles": ["arn:aws:iam::1:role/x"]}).groups == ()
