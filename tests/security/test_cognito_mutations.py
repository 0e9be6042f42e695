"""Every check of a Cognito token is needed: take one away, and a bad token gets through.

Each check is taken out in turn (see `mutants`). Then at least one bad token of the
lists is no longer refused.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import ModuleType
from typing import Any

import pytest

from services.tokens import cognito, compact, oidc, verifier
from services.tokens.claims import TokenRefusedError
from services.tokens.issuers import CognitoSettings
from services.tokens.signature_keys import parse_key_set
from services.tokens.verifier import VerificationKey
from tests.cognito_pool import CLIENT, POOL
from tests.oidc_issuer import RsaKey
from tests.security.cognito_cases import (
    PoolKit,
    access_cases,
    general_cases,
    id_cases,
    pool_kit,
)
from tests.security.mutants import Load, loader, mutants_of
from tests.security.test_bad_tokens import NOW, dumps

# In the order in which they import each other.
MODULES: tuple[ModuleType, ...] = (compact, verifier, oidc, cognito)
USES = ("access", "id")
MUTANTS = {mutant.name: mutant for mutant in mutants_of(MODULES)}

# Second lines of defence: what stays refused without it, and by what.
REDUNDANT: Mapping[str, str] = {
    "compact.parse_json-0 without `data.startswith(b'\\xef\\xbb\\xbf')`": "json does, too",
    "compact.split_token-1 without `not token.isascii()`": "the shape has ASCII letters alone",
    "verifier._check_header-2 without `not _REFUSED_HEADERS.isdisjoint(header)`": "the allow-list",
    "verifier._check_header-3 without `not 0 < len(kid) <= MAX_KID_CHARS`": "no key set has such",
}


class Keys:
    """The keys of the pool, without a server."""

    def __init__(self, key: RsaKey) -> None:
        enc = RsaKey("enc").jwk | {"use": "enc"}
        self._keys = parse_key_set(dumps({"keys": [key.jwk, enc]}), "RS256")

    async def key(self, kid: str) -> VerificationKey | None:
        return self._keys.get(kid)


@dataclass(frozen=True)
class Bench:
    kits: dict[str, PoolKit]
    keys: dict[str, Keys]
    bad: dict[str, list[str]]


@pytest.fixture(scope="module")
def bench() -> Bench:
    found = Bench({}, {}, {})
    for use in USES:
        key = RsaKey("r1")
        kit = found.kits[use] = pool_kit(key, RsaKey("r1"), use=use)
        found.keys[use] = Keys(key)
        named = access_cases(kit) if use == "access" else id_cases(kit)
        bad = [token for _, token in named.values()]
        bad += [each if isinstance(each, str) else each() for each in general_cases(kit).values()]
        found.bad[use] = sorted(bad, key=len)
    return found


@pytest.fixture
def mutated(monkeypatch: pytest.MonkeyPatch) -> Load:
    return loader(MODULES, monkeypatch)


def verifier_of(module: ModuleType, bench: Bench, use: Any) -> Any:
    settings = CognitoSettings(user_pool_id=POOL, client_ids=(CLIENT,), token_use=use)
    return module.cognito_verifier(settings, bench.keys[use], now=lambda: NOW)


async def passes(module: ModuleType, bench: Bench) -> bool:
    """Whether any bad token is not refused; that it breaks the verifier counts."""
    for use in USES:
        judge = verifier_of(module, bench, use)
        for token in bench.bad[use]:
            try:
                await judge.verify(token)
            except TokenRefusedError:
                continue
            except Exception:
                return True
            return True
    return False


async def test_without_a_change_every_bad_token_is_refused(
    bench: Bench, mutated: Load
) -> None:
    module = mutated(None)
    assert not await passes(module, bench)
    for use in USES:
        assert await verifier_of(module, bench, use).verify(bench.kits[use].token())


@pytest.mark.parametrize("name", sorted(MUTANTS))
async def test_without_a_check_a_bad_token_gets_through(
    name: str, bench: Bench, mutated: Load
) -> None:
    module = mutated(MUTANTS[name])
    assert await passes(module, bench) is (name not in REDUNDANT)


def test_the_table_holds_what_makes_a_cognito_token() -> None:
    assert {name for name in MUTANTS if name.startswith("cognito.")} >= {
        "cognito.__call__-0", "cognito._check_person-0",
        "cognito._check_person-0 without `not self._username(payload)`",
    }
    assert set(REDUNDANT) <= set(MUTANTS)
