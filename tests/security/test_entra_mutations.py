"""Every check of an Entra token is needed: take one away, and a bad token gets through.

Those that it shares with Cognito are in `test_cognito_mutations`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import ModuleType
from typing import Any

import pytest

from services.tokens import compact, entra, oidc, verifier
from services.tokens.claims import TokenRefusedError
from services.tokens.signature_keys import parse_key_set
from services.tokens.verifier import VerificationKey
from tests.entra_tenant import CONSUMERS, TEMPLATE, entra_jwk
from tests.oidc_issuer import RsaKey
from tests.security.entra_cases import TRUST, TenantKit, named_cases, tenant_kit
from tests.security.mutants import Load, loader, mutants_of
from tests.security.test_bad_tokens import NOW, dumps

MODULES: tuple[ModuleType, ...] = (compact, verifier, oidc, entra)
MUTANTS = {mutant.name: mutant for mutant in mutants_of([entra])}


class Keys:
    """The keys of the tenant, without a server."""

    def __init__(self, key: RsaKey) -> None:
        foreign = entra_jwk(key, TEMPLATE.replace("{tenantid}", CONSUMERS))
        entries = [entra_jwk(key, TEMPLATE), foreign | {"kid": "consumer"}]
        issuers = TRUST["access"].key_issuers
        self._keys: Mapping[str, VerificationKey] = parse_key_set(
            dumps({"keys": entries}), "RS256", issuers=issuers
        )

    async def key(self, kid: str) -> VerificationKey | None:
        return self._keys.get(kid)


@dataclass(frozen=True)
class Bench:
    keys: Keys
    kits: dict[str, TenantKit]
    bad: dict[str, list[str]]


@pytest.fixture(scope="module")
def bench() -> Bench:
    key, attacker = RsaKey("r1"), RsaKey("r1")
    kits = {form: tenant_kit(key, attacker, form=form) for form in TRUST}
    bad = {
        form: sorted((token for _, token in named_cases(kit, form).values()), key=len)
        for form, kit in kits.items()
    }
    return Bench(Keys(key), kits, bad)


@pytest.fixture
def mutated(monkeypatch: pytest.MonkeyPatch) -> Load:
    return loader(MODULES, monkeypatch)


def verifier_of(module: ModuleType, bench: Bench, form: str) -> Any:
    return module.entra_verifier(TRUST[form], bench.keys, now=lambda: NOW)


async def passes(module: ModuleType, bench: Bench) -> bool:
    """Whether any bad token is not refused; that it breaks the verifier counts."""
    for form in TRUST:
        judge = verifier_of(module, bench, form)
        for token in bench.bad[form]:
            try:
                await judge.verify(token)
            except TokenRefusedError:
                continue
            except Exception:
                return True
            return True
    return False


async def test_without_a_change_every_bad_token_is_refused(bench: Bench, mutated: Load) -> None:
    module = mutated(None)
    assert not await passes(module, bench)
    for form in TRUST:
        assert await verifier_of(module, bench, form).verify(bench.kits[form].token())


@pytest.mark.parametrize("name", sorted(MUTANTS))
async def test_without_a_check_a_bad_token_gets_through(
    name: str, bench: Bench, mutated: Load
) -> None:
    assert await passes(mutated(MUTANTS[name]), bench)


def test_the_table_holds_what_makes_an_entra_token() -> None:
    functions = {name.partition("-")[0] for name in MUTANTS}
    assert functions == {
        "entra.__call__", "entra._check_tenant", "entra._check_id", "entra._check_access",
        "entra._check_program", "entra._check_member",
    }  # fmt: skip
    assert len(MUTANTS) >= 15
