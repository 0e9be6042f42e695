"""Every check of a token of a provider is needed: take one away, and a bad token gets through.

Each check is taken out in turn (see `mutants`): those of Cognito with all that it shares with
others, those of Entra alone. Then at least one bad token of the lists is no longer refused.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import ModuleType
from typing import Any, Final

import pytest

from services.tokens import cognito, compact, entra, oidc, verifier
from services.tokens.claims import TokenRefusedError
from services.tokens.issuers import CognitoSettings
from services.tokens.signature_keys import parse_key_set
from services.tokens.verifier import VerificationKey
from tests.cognito_pool import CLIENT, POOL
from tests.entra_tenant import CONSUMERS, TEMPLATE, entra_jwk
from tests.oidc_issuer import RsaKey, made_key
from tests.security.entra_cases import TRUST
from tests.security.mutants import Load, loader, mutants_of
from tests.security.sign_in_providers import PROVIDERS
from tests.security.test_bad_tokens import NOW, dumps

# In the order in which they import each other; the last one makes the verifier.
MODULES: Final[dict[str, tuple[ModuleType, ...]]] = {
    "cognito": (compact, verifier, oidc, cognito),
    "entra": (compact, verifier, oidc, entra),
}
MUTANTS = {
    "cognito": {mutant.name: mutant for mutant in mutants_of(MODULES["cognito"])},
    "entra": {mutant.name: mutant for mutant in mutants_of([entra])},
}

# Second lines of defence: what stays refused without it, and by what.
REDUNDANT: Mapping[str, str] = {
    "compact.parse_json-0 without `data.startswith(b'\\xef\\xbb\\xbf')`": "json does, too",
    "compact.split_token-1 without `not token.isascii()`": "the shape has ASCII letters alone",
    "verifier._check_header-2 without `not _REFUSED_HEADERS.isdisjoint(header)`": "the allow-list",
    "verifier._check_header-3 without `not 0 < len(kid) <= MAX_KID_CHARS`": "no key set has such",
}


class Keys:
    """Those of an issuer, without a server."""

    def __init__(self, *keys: dict[str, Any], issuers: tuple[str, ...] = ()) -> None:
        told = {"issuers": issuers} if issuers else {}
        body = dumps({"keys": [*keys, made_key("enc").jwk | {"use": "enc"}]})
        self._keys: Mapping[str, VerificationKey] = parse_key_set(body, "RS256", **told)

    async def key(self, kid: str) -> VerificationKey | None:
        return self._keys.get(kid)


@dataclass(frozen=True)
class Bench:
    """Of one provider; per form of trust the kit and the bad tokens, the shortest first."""

    kits: dict[str, Any]
    bad: dict[str, list[str]]
    verifiers: Callable[[ModuleType, str], Any]
    """That of a form, as a module makes it."""

    async def passes(self, module: ModuleType) -> bool:
        """Whether any bad token is not refused; that it breaks the verifier counts."""
        for form, tokens in self.bad.items():
            judge = self.verifiers(module, form)
            for token in tokens:
                try:
                    await judge.verify(token)
                except TokenRefusedError:
                    continue
                except Exception:
                    return True
                return True
        return False


def pool_verifiers(key: RsaKey) -> Callable[[ModuleType, str], Any]:
    keys = Keys(key.jwk)

    def made(module: ModuleType, use: Any) -> Any:
        trust = CognitoSettings(user_pool_id=POOL, client_ids=(CLIENT,), token_use=use)
        return module.cognito_verifier(trust, keys, now=lambda: NOW)

    return made


def tenant_verifiers(key: RsaKey) -> Callable[[ModuleType, str], Any]:
    foreign = entra_jwk(key, TEMPLATE.replace("{tenantid}", CONSUMERS)) | {"kid": "consumer"}
    keys = Keys(entra_jwk(key, TEMPLATE), foreign, issuers=TRUST["access"].key_issuers)
    return lambda module, form: module.entra_verifier(TRUST[form], keys, now=lambda: NOW)


VERIFIERS: Final = {"cognito": pool_verifiers, "entra": tenant_verifiers}


@pytest.fixture(scope="module")
def benches() -> dict[str, Bench]:
    key, attacker = made_key("r1"), made_key("r1", of="an attacker")
    found = {}
    for name, provider in PROVIDERS.items():
        kits = {form: provider.kit(key, attacker, form=form) for form in provider.trust}
        general, named = provider.lists(kits)
        bad = {form: [token for _, token in cases.values()] for form, cases in named.items()}
        for form, cases in general.items() if name == "cognito" else ():  # with shared checks
            bad[form] += [each if isinstance(each, str) else each() for each in cases.values()]
        for tokens in bad.values():
            tokens.sort(key=len)
        found[name] = Bench(kits, bad, VERIFIERS[name](key))
    return found


@pytest.fixture
def bench(provider: str, benches: dict[str, Bench]) -> Bench:
    return benches[provider]


@pytest.fixture
def mutated(provider: str, monkeypatch: pytest.MonkeyPatch) -> Load:
    return loader(MODULES[provider], monkeypatch)


@pytest.mark.parametrize("provider", PROVIDERS)
@pytest.mark.case("P06")
async def test_without_a_change_every_bad_token_is_refused(bench: Bench, mutated: Load) -> None:
    module = mutated(None)
    assert not await bench.passes(module)
    for form, kit in bench.kits.items():
        assert await bench.verifiers(module, form).verify(kit.token())


@pytest.mark.parametrize(
    ("provider", "name"),
    [(provider, name) for provider, mutants in MUTANTS.items() for name in sorted(mutants)],
)
@pytest.mark.case("P06")
async def test_without_a_check_a_bad_token_gets_through(
    provider: str, name: str, bench: Bench, mutated: Load
) -> None:
    module = mutated(MUTANTS[provider][name])
    assert await bench.passes(module) is (name not in REDUNDANT)


def test_the_tables_hold_what_makes_a_token_of_a_provider() -> None:
    assert set(MUTANTS["cognito"]) >= {
        "cognito.__call__-0", "cognito._check_person-0",
        "cognito._check_person-0 without `not self._username(payload)`",
    }  # fmt: skip
    assert {name.partition("-")[0] for name in MUTANTS["entra"]} == {
        "entra.__call__", "entra._check_tenant", "entra._check_id", "entra._check_access",
        "entra._check_program", "entra._check_member",
    }  # fmt: skip
    assert len(MUTANTS["entra"]) >= 15
    assert set(REDUNDANT) <= set(MUTANTS["cognito"])
