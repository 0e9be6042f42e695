"""Bad tokens against a Cognito-shaped issuer whose keys come over TLS (T01 to T60),
for both kinds of tokens that a pool's verifier may be set to take."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest

from services.tokens.authenticator import TokenAuthenticator
from services.tokens.claims import TokenRefusedError, TokenVerifier
from services.tokens.cognito import CognitoClaims, pool_verifier
from tests.cognito_pool import CLIENT, OTHER_CLIENT, CognitoPool
from tests.oidc_issuer import RsaKey
from tests.security.cognito_cases import (
    ISSUER,
    Named,
    PoolKit,
    access_cases,
    general_cases,
    id_cases,
    pool_kit,
)
from tests.security.refusing import refuse
from tests.security.test_bad_tokens import GONE, LOCAL, NOW, Cases

USES = ("access", "id")
_SAMPLE = {use: pool_kit(RsaKey("r1"), RsaKey("r1"), use=use) for use in USES}
GENERAL = [(use, name) for use in USES for name in general_cases(_SAMPLE[use])]
OWN = [("access", name) for name in access_cases(_SAMPLE["access"])] + [
    ("id", name) for name in id_cases(_SAMPLE["id"])
]


@dataclass(frozen=True)
class Bench:
    """One pool; per use of its tokens the kit, a verifier and the bad tokens."""

    pool: CognitoPool
    kits: dict[str, PoolKit]
    verifiers: dict[str, TokenVerifier]
    general: dict[str, Cases]
    own: dict[str, Named]

    def authenticator(self, use: str) -> TokenAuthenticator:
        verifiers = [LOCAL.verifier(now=lambda: NOW), self.verifiers[use]]
        return TokenAuthenticator(verifiers, now=lambda: NOW)


@pytest.fixture(scope="module")
def pool(tmp_path_factory: pytest.TempPathFactory) -> Iterator[CognitoPool]:
    made = CognitoPool(tmp_path_factory.mktemp("pool"))
    made.keys.append(RsaKey("other").jwk | {"kid": "enc", "use": "enc"})
    with made.serving():
        yield made


@pytest.fixture(scope="module")
def made(pool: CognitoPool) -> tuple[dict[str, PoolKit], dict[str, Cases], dict[str, Named]]:
    attacker = RsaKey(pool.access_key.kid)
    kits = {
        "access": pool_kit(pool.access_key, attacker, use="access"),
        "id": pool_kit(pool.id_key, attacker, use="id"),
    }
    own = {"access": access_cases(kits["access"]), "id": id_cases(kits["id"])}
    return kits, {use: general_cases(kit) for use, kit in kits.items()}, own


@pytest.fixture
def bench(
    pool: CognitoPool, made: tuple[dict[str, PoolKit], dict[str, Cases], dict[str, Named]]
) -> Bench:
    verifiers: dict[str, TokenVerifier] = {
        use: pool_verifier(
            pool.trusted(token_use=use), now=lambda: NOW, tls=pool.tls, endpoint=pool.endpoint
        )
        for use in USES
    }
    return Bench(pool, made[0], verifiers, made[1], made[2])


@pytest.mark.parametrize(("use", "case"), GENERAL)
async def test_a_generally_bad_token_is_refused(use: str, case: str, bench: Bench) -> None:
    authenticator = bench.authenticator(use)
    assert await authenticator.authenticate(bench.kits[use].token())
    bad = bench.general[use][case]
    await refuse(authenticator, bad if isinstance(bad, str) else bad())


@pytest.mark.parametrize(("use", "case"), OWN)
async def test_a_bad_cognito_token_is_refused_for_its_reason(
    use: str, case: str, bench: Bench
) -> None:
    check, bad = bench.own[use][case]
    with pytest.raises(TokenRefusedError, match=f"^{check}$"):
        await bench.verifiers[use].verify(bad)
    authenticator = bench.authenticator(use)
    assert await authenticator.authenticate(bench.kits[use].token())
    await refuse(authenticator, bad)


async def test_t32_t58_the_keys_of_pools_are_not_mixed(
    bench: Bench, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """Two pools of one region and one client string: each is right for itself only."""
    other = CognitoPool(tmp_path_factory.mktemp("pool"), pool_id="eu-central-1_Ab3dEf9hJ")
    with other.serving():
        verifiers: list[TokenVerifier] = [bench.verifiers["access"]]
        verifiers.append(
            pool_verifier(other.trusted(), now=lambda: NOW, tls=other.tls, endpoint=other.endpoint)
        )
        both = TokenAuthenticator(verifiers, now=lambda: NOW)
        claims = bench.kits["access"].claims
        for issuer, key in ((ISSUER, bench.pool.access_key), (other.issuer, other.access_key)):
            header = {"kid": key.kid, "alg": "RS256"}
            good = key.sign(header, claims | {"iss": issuer})
            assert (await both.authenticate(good)).issuer == issuer
            crossed = other.issuer if issuer == ISSUER else ISSUER
            await refuse(both, key.sign(header, claims | {"iss": crossed}))


@pytest.mark.parametrize("use", USES)
async def test_positive_control(use: str, bench: Bench) -> None:
    authenticate, kit = bench.authenticator(use).authenticate, bench.kits[use]
    caller = await authenticate(kit.token())
    assert (caller.subject, caller.issuer) == ("ann@example.com", ISSUER)
    assert (caller.provider, caller.scope) == ("cognito", None)
    assert caller.token_id
    assert await authenticate(kit.token(iat=NOW + 60, exp=NOW + 60 + kit.max_seconds))
    assert await authenticate(kit.token({"typ": "JWT"}))
    assert await authenticate(kit.token(sub="a" * 255, jti=GONE))


async def test_every_configured_client_is_one_of_ours(bench: Bench) -> None:
    pool, token = bench.pool, bench.kits["access"].token
    two = pool_verifier(
        pool.trusted(client_ids=(CLIENT, OTHER_CLIENT)),
        now=lambda: NOW, tls=pool.tls, endpoint=pool.endpoint,
    )
    for client in (CLIENT, OTHER_CLIENT):
        assert await two.verify(token(client_id=client))
    for client in ("third", CLIENT + OTHER_CLIENT, f"{CLIENT},{OTHER_CLIENT}"):
        with pytest.raises(TokenRefusedError, match=r"^aud$"):
            await two.verify(token(client_id=client))


async def test_t28_no_cognito_token_opens_a_connection(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    authenticator = bench.authenticator("access")
    await authenticator.authenticate(bench.kits["access"].token())  # the keys are there
    opened: list[Any] = []
    monkeypatch.setattr("socket.socket.connect", lambda *args: opened.append(args))
    monkeypatch.setattr("socket.getaddrinfo", lambda *args, **_: opened.append(args))
    named = [bad for _, bad in bench.own["access"].values()]
    general = bench.general["access"]
    for bad in (*named, *(general[case] for case in ("T28 jku", "T28 x5u", "T27 header jwk"))):
        assert isinstance(bad, str)
        await refuse(authenticator, bad)
    assert not opened


def read(use: Any = "id", **claims: Any) -> Any:
    username = "username" if use == "access" else "cognito:username"
    base = {
        "iss": ISSUER, "sub": "s-1", "iat": 1, "exp": 2, "token_use": use,
        "aud" if use == "id" else "client_id": CLIENT, username: "anna",
    }
    return CognitoClaims(token_use=use)({**base, **claims})


@pytest.mark.parametrize("use", USES)
@pytest.mark.parametrize("verified", [False, None, "true", 1, "True", [True], GONE])
def test_only_a_verified_address_is_one(use: str, verified: Any) -> None:
    given = {"email": "root@corp.test"} | ({} if verified is GONE else {"email_verified": verified})
    claims = read(use, **given)
    assert (claims.email, claims.email_verified) == ("", False)
    assert claims.subject == "s-1"


@pytest.mark.parametrize("use", USES)
def test_a_verified_address_is_kept_and_is_not_who_somebody_is(use: str) -> None:
    claims = read(use, email="ann@corp.test", email_verified=True)
    assert (claims.email, claims.email_verified) == ("ann@corp.test", True)
    assert claims.subject == "s-1"
    assert read(use, phone_number="+1", phone_number_verified=True).email == ""


@pytest.mark.parametrize("use", USES)
def test_a_username_is_at_most_a_name(use: str) -> None:
    username = "username" if use == "access" else "cognito:username"
    assert read(use).name == "anna"
    assert read(use, name="Ann").name == "Ann"
    for hidden in ("s-1", "ann@corp.test"):  # an id; an address that nobody verified
        assert read(use, **{username: hidden}).name == ""
    assert read(use, **{username: "an\u202ena"}).name == "an na"
    assert {read(use, **{username: name}).subject for name in ("anna", "bob")} == {"s-1"}


@pytest.mark.parametrize("use", USES)
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
