"""Every check of what all tokens have in common is needed: take one away, and something bad
gets through. As test_provider_mutations.py, for local tokens, those of any issuer, the keys
of a set, the field `authorization`, and the choice of the issuer.
"""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import cache, partial
from types import ModuleType
from typing import Any, Final

import pytest
from cryptography.hazmat.primitives import hashes

from services.model import base64url
from services.model.errors import WorkspaceError
from services.rpc import headers
from services.tokens import authenticator, compact, local, oidc, signature_keys, verifier
from services.tokens.issuers import IssuerSettings
from tests.oidc_issuer import RsaKey, made_key
from tests.security.mutants import REFUSALS, loader, mutants_of
from tests.security.test_bad_tokens import (
    LOCAL,
    LOCAL_KEY,
    NOW,
    cases,
    local_cases,
    local_kit,
    oidc_cases,
    oidc_kit,
)
from tests.security.test_provider_mutations import Bench, Keys
from tests.unit.tokens.test_signature_keys import DATA, EDWARDS, P256, P384, ec_jwk, raw

pytestmark = pytest.mark.case("P06")

_ISSUER: Final = "https://issuer.example/realm"
_EDWARDS_JWK: Final = {
    "kty": "OKP", "crv": "Ed25519", "kid": "k",
    "x": base64url.encode(EDWARDS.public_key().public_bytes_raw()),
}  # fmt: skip


@dataclass(frozen=True)
class Subject:
    """`modules` are in the order in which they import each other; the last one is used.
    `lets_through`: whether it takes anything bad, or breaks. `redundant` are second lines of
    defence: what stays refused without it, and by what."""

    modules: Sequence[ModuleType]
    changed: Sequence[ModuleType]
    lets_through: Callable[[ModuleType], Awaitable[bool]]
    refusals: frozenset[str] = REFUSALS
    redundant: Mapping[str, str] = field(default_factory=dict)


@cache
def _bad(kind: str) -> dict[str, list[str]]:
    """The bad tokens of an issuer, the shortest first."""
    if kind == "local":
        kit = local_kit(other_issuer=_ISSUER, other_kid="r1")
        found = cases(kit) | local_cases(kit)
    else:
        kit = oidc_kit(_ISSUER, made_key("r1"), made_key("r1", of="an attacker"))
        found = cases(kit) | oidc_cases(kit)
    tokens = (each if isinstance(each, str) else each() for each in found.values())
    return {"": sorted(tokens, key=len)}


async def _local(module: ModuleType) -> bool:
    issuer = module.LocalIssuer(LOCAL_KEY, realm="n1")
    judge = issuer.verifier(now=lambda: NOW)
    return await Bench({}, _bad("local"), lambda *_: judge).passes(module)


async def _oidc(module: ModuleType) -> bool:
    settings = IssuerSettings(issuer=_ISSUER, audience="workspace")
    judge = module.oidc_verifier(settings, Keys(made_key("r1").jwk), now=lambda: NOW)
    return await Bench({}, _bad("oidc"), lambda *_: judge).passes(module)


async def _chosen(module: ModuleType) -> bool:
    """Tokens of an issuer that nobody trusts."""
    made = module.TokenAuthenticator([LOCAL.verifier(now=lambda: NOW)], now=lambda: NOW)
    token = local_kit().token
    return await _any_taken(
        [partial(made.authenticate, token(iss=iss)) for iss in ("other", ["x"], None)]
    )


async def _any_taken(calls: Sequence[Callable[[], Any]]) -> bool:
    """Whether any is not refused as bad; what breaks counts."""
    for call in calls:
        try:
            with suppress(WorkspaceError):
                found = call()
                if isinstance(found, Awaitable):
                    await found
                return True
        except Exception:
            return True
    return False


async def _field(module: ModuleType) -> bool:
    bad: Sequence[Sequence[str | bytes]] = (
        ["Bearer a", "Bearer b"], [b"Bearer a"], ["Basic a"], ["Bearer"], [""],
        ["Bearer " + "a" * (headers.MAX_BEARER_BYTES + 1)],
    )  # fmt: skip
    return await _any_taken([partial(module.bearer_in, values) for values in bad])


@cache
def _no_keys() -> Sequence[tuple[str, Any]]:
    """(algorithm, set): each has no key at all, or none for this algorithm."""
    rsa, p256 = made_key("r1").jwk, ec_jwk(P256, "P-256")
    unfit: Sequence[dict[str, Any]] = (
        {"use": "enc"}, {"alg": "RS512"}, {"key_ops": ["encrypt"]}, {"d": "AQAB"}, {"k": "AQAB"},
        {"kty": "EC"}, {"n": ""}, {"n": 1}, {"n": "+/+/"}, {"e": "Ag"}, {"e": "AQAAAAAB"},
        {"kid": 1}, {"kid": ""}, RsaKey("weak", bits=1024).jwk,
    )  # fmt: skip
    return [
        ("RS256", [1]), ("RS256", {"keys": {}}), ("RS256", {"keys": []}), ("RS256", {}),
        ("RS256", {"keys": [rsa, rsa | {"use": "enc"}]}),
        *(("RS256", {"keys": [rsa | each]}) for each in unfit),
        ("ES256", {"keys": [ec_jwk(P384, "P-384")]}),
        ("ES256", {"keys": [p256 | {"kty": "RSA"}]}),
        ("ES256", {"keys": [p256 | {"crv": "P-384"}]}),
        ("EdDSA", {"keys": [_EDWARDS_JWK | {"kty": "EC"}]}),
        ("EdDSA", {"keys": [_EDWARDS_JWK | {"crv": "Ed448"}]}),
    ]  # fmt: skip


async def _keys(module: ModuleType) -> bool:
    for algorithm, entries in _no_keys():
        try:
            module.parse_key_set(json.dumps(entries).encode(), algorithm)
        except module.KeySetError:
            continue
        except Exception:
            return True
        return True
    return _any_signature(module)


def _any_signature(module: ModuleType) -> bool:
    """Whether a key takes a signature that is none."""
    good = raw(P256, hashes.SHA256())
    zeros, one = bytes(64), bytes(31) + b"\1"
    bad: Sequence[tuple[str, Any, Sequence[bytes]]] = (
        ("RS256", made_key("r1").jwk, [made_key("r1", of="an attacker").signature(DATA), b""]),
        ("ES256", ec_jwk(P256, "P-256"), [
            zeros, bytes(32) + one, one + bytes(32), one + one, good[:32] + b"\0" + good[32:],
            good + b"\0",
        ]),
        ("EdDSA", _EDWARDS_JWK, [zeros, b""]),
    )  # fmt: skip
    for algorithm, jwk, signatures in bad:
        (key,) = module.parse_key_set(json.dumps({"keys": [jwk]}).encode(), algorithm).values()
        for signature in signatures:
            try:
                if key.verify(signature, DATA):
                    return True
            except Exception:
                return True
    return False


_KEYS_REDUNDANT: Final = {
    "signature_keys._key-4": "nothing comes after it: no key is what there is",
    "signature_keys.verify-1": "the library refuses zeros, too",
}
SUBJECTS: Final = {
    "local": Subject((compact, verifier, local), (local,), _local),
    "oidc": Subject((compact, verifier, oidc), (oidc,), _oidc),
    "authenticator": Subject((authenticator,), (authenticator,), _chosen),
    "field": Subject((headers,), (headers,), _field, frozenset({"_refused"})),
    "keys": Subject(
        (signature_keys,), (signature_keys,), _keys,
        frozenset({"KeySetError", "None", "False"}), _KEYS_REDUNDANT,
    ),
}  # fmt: skip
MUTANTS: Final = {
    name: {each.name: each for each in mutants_of(subject.changed, subject.refusals)}
    for name, subject in SUBJECTS.items()
}


@pytest.mark.parametrize("name", SUBJECTS)
async def test_without_a_change_nothing_bad_gets_through(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    subject = SUBJECTS[name]
    assert MUTANTS[name]
    assert not await subject.lets_through(loader(subject.modules, monkeypatch)(None))


@pytest.mark.parametrize(
    ("name", "mutant"),
    [(name, mutant) for name, mutants in MUTANTS.items() for mutant in sorted(mutants)],
)
async def test_without_a_check_something_bad_gets_through(
    name: str, mutant: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    subject = SUBJECTS[name]
    module = loader(subject.modules, monkeypatch)(MUTANTS[name][mutant])
    assert await subject.lets_through(module) is (mutant not in subject.redundant)


def test_what_is_redundant_is_there() -> None:
    for name, subject in SUBJECTS.items():
        assert set(subject.redundant) <= set(MUTANTS[name])
