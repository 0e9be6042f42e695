"""Bad tokens of Cognito-shaped issuers: T55 to T60, and the general list of
`test_bad_tokens` applied to them. Each starts from a good token and breaks one
thing, signed with the pool's own key wherever the signature is not the point."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from tests.cognito_pool import CLIENT, OTHER_CLIENT, POOL, access_claims, id_claims
from tests.oidc_issuer import RsaKey
from tests.security.test_bad_tokens import GONE, NOW, Cases, Kit, cases, oidc_cases, oidc_kit

ISSUER = f"https://cognito-idp.eu-central-1.amazonaws.com/{POOL}"
_OTHER_POOL = ISSUER[:-1] + "J"
_AWS = "https://cognito-idp"


@dataclass(frozen=True)
class PoolKit(Kit):
    """Good tokens of a pool: no `typ`, and the claims of one use."""

    use: str = "access"

    @property
    def header(self) -> dict[str, Any]:
        return {"kid": self.kid, "alg": self.algorithm}

    @property
    def claims(self) -> dict[str, Any]:
        made = access_claims if self.use == "access" else id_claims
        return made(ISSUER, "ann@example.com", now=NOW - 10)


def pool_kit(key: RsaKey, attacker: RsaKey, *, form: str) -> PoolKit:
    return PoolKit(**vars(oidc_kit(ISSUER, key, attacker)), use=form)


def general_cases(kit: PoolKit) -> Cases:
    """The general list, without what is no change for these tokens."""
    # Cognito writes no `typ`, and no `aud` into access tokens.
    usual = {"T41 typ missing"} | ({"T49 aud missing"} if kit.use == "access" else set())
    found = cases(kit) | oidc_cases(kit)
    return {name: found[name] for name in found if name not in usual}


# name of the case -> (the check that refuses it, the token)
Named = dict[str, tuple[str, str]]


def named_cases(kit: PoolKit, form: str) -> Named:
    """What is refused where this kind of tokens is taken, and why."""
    return {"access": access_cases, "id": id_cases}[form](kit)


def access_cases(kit: PoolKit) -> Named:
    """Where access tokens are taken."""
    token = kit.token
    an_id_token = dict.fromkeys(kit.claims, GONE) | id_claims(ISSUER, "ann", now=NOW - 10)
    return issuer_cases(kit) | use_cases(kit) | {
        "T55 an ID token": ("aud", token(**an_id_token)),
        "T55 token_use id": ("token_use", token(token_use="id")),
        "T57 a sibling client": ("aud", token(client_id=OTHER_CLIENT)),
        "T57 no client": ("aud", token(client_id=GONE)),
        "T57 client empty": ("aud", token(client_id="")),
        "T57 client null": ("aud", token(client_id=None)),
        "T57 client list with ours": ("aud", token(client_id=[CLIENT])),
        "T57 client case": ("aud", token(client_id=CLIENT.lower())),
        "T57 client prefix": ("aud", token(client_id=CLIENT[:-1])),
        "T57 ours in aud alone": ("aud", token(client_id=GONE, aud=CLIENT)),
        "T57 bound to another resource": ("aud", token(aud="https://api.other.test")),
        "T57 aud besides": ("aud", token(aud=CLIENT)),
        "T65 no username": ("person", token(username=GONE)),
        "T65 username empty": ("person", token(username="")),
        "T65 username of an ID token": (
            "person", token(**{"username": GONE, "cognito:username": "ann"}),
        ),
        "T65 the client itself": ("person", token(sub=CLIENT)),
        "username not text": ("claims", token(username=["ann"])),
        "username of 256": ("claims", token(username="a" * 256)),
    }


def id_cases(kit: PoolKit) -> Named:
    """Where ID tokens are taken."""
    token = kit.token
    an_access_token = dict.fromkeys(kit.claims, GONE) | access_claims(
        ISSUER, "ann", now=NOW - 10
    )
    return issuer_cases(kit) | use_cases(kit) | {
        "T55 an access token": ("aud", token(**an_access_token)),
        "T55 token_use access": ("token_use", token(token_use="access")),
        "T57 a sibling client": ("aud", token(aud=OTHER_CLIENT)),
        "T57 ours in client_id alone": ("aud", token(aud=GONE, client_id=CLIENT)),
        "T57 aud list of ours": ("aud", token(aud=[CLIENT])),
        "T57 aud list with ours": ("aud", token(aud=[CLIENT, OTHER_CLIENT])),
        "T65 no username": ("person", token(**{"cognito:username": GONE})),
        "T65 the client itself": ("person", token(sub=CLIENT)),
    }


def use_cases(kit: PoolKit) -> Named:
    return {
        "T56 token_use missing": ("token_use", kit.token(token_use=GONE)),
        "T56 token_use refresh": ("token_use", kit.token(token_use="refresh")),
        "T56 token_use null": ("token_use", kit.token(token_use=None)),
        "T56 token_use list": ("token_use", kit.token(token_use=[kit.use])),
        "T56 token_use case": ("token_use", kit.token(token_use=kit.use.upper())),
        "T60 ten thousand groups": (
            "size", kit.token(**{"cognito:groups": [f"g{n}" for n in range(10_000)]}),
        ),
    }


def issuer_cases(kit: PoolKit) -> Named:
    """Other pools and regions, all with our client, and signed even with our key."""
    others = {
        "T58 another pool": _OTHER_POOL,
        "T58 the pool in another case": ISSUER.replace(POOL, POOL.lower()),
        "T58 a longer pool": ISSUER + "I",
        "T58 a path below": ISSUER + "/x",
        "T59 another region": f"{_AWS}.eu-west-1.amazonaws.com/{POOL}",
        "T59 the pool of another region": (
            f"{_AWS}.eu-west-1.amazonaws.com/{POOL.replace('central', 'west')}"
        ),
        "T59 another partition": f"{_AWS}.eu-central-1.amazonaws.com.cn/{POOL}",
        "T59 a FIPS host": f"{_AWS}-fips.eu-central-1.amazonaws.com/{POOL}",
        "T59 a look-alike host": f"{_AWS}.eu-central-1.amazonaws.com.evil.test/{POOL}",
        "T59 the emulator": f"https://127.0.0.1/{POOL}",
    }
    found = {name: ("iss", kit.token(iss=issuer)) for name, issuer in others.items()}
    found["T58 signed by another pool"] = ("signature", kit.attack(kit.header, kit.claims))
    return found
