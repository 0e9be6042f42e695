"""The providers of sign-in of the clouds under test: each form of trust in them, with good
tokens, bad ones and a verifier whose keys come over TLS."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from services.tokens.authenticator import TokenAuthenticator
from services.tokens.claims import TokenVerifier
from tests.cognito_pool import CognitoPool
from tests.entra_tenant import (
    ABSENT,
    CONSUMERS,
    OTHER_TENANT,
    TEMPLATE,
    EntraTenant,
    entra_jwk,
)
from tests.oidc_issuer import RsaKey, made_key
from tests.security import cognito_cases, entra_cases
from tests.security.test_bad_tokens import LOCAL, NOW, Cases

__all__ = ["PROVIDERS", "Bench", "Named", "Provider", "serving"]

Named = dict[str, tuple[str, str]]
"""The name of a case -> the check that refuses it, and the token."""


@dataclass(frozen=True, kw_only=True)
class Provider:
    """`forms` are those of trust in it; to `general` ones of them the list of
    test_bad_tokens applies."""

    issuer: Callable[[Path], Any]
    """Makes its issuer, with the keys that the cases need."""
    key: Callable[[Any, str], RsaKey]
    """That of an issuer for the tokens of a form."""
    trust: Mapping[str, dict[str, Any]]
    """Per form, what is said besides who is trusted."""
    general: tuple[str, ...] = ("access", "id")
    kit: Callable[..., Any]
    general_cases: Callable[[Any], Cases]
    named_cases: Callable[[Any, str], Named]

    def lists(self, kits: Mapping[str, Any]) -> tuple[dict[str, Cases], dict[str, Named]]:
        """Per form the bad tokens of the general list, and those of this provider."""
        general = {form: self.general_cases(kits[form]) for form in self.general}
        return general, {form: self.named_cases(kits[form], form) for form in self.trust}


@dataclass(frozen=True)
class Bench:
    """One issuer; per form of trust the kit, a verifier and the bad tokens."""

    issuer: Any
    kits: dict[str, Any]
    verifiers: dict[str, TokenVerifier]
    general: dict[str, Cases]
    named: dict[str, Named]

    def authenticator(self, form: str) -> TokenAuthenticator:
        verifiers = [LOCAL.verifier(now=lambda: NOW), self.verifiers[form]]
        return TokenAuthenticator(verifiers, now=lambda: NOW)


@contextmanager
def serving(provider: Provider, folder: Path) -> Iterator[Bench]:
    issuer = provider.issuer(folder)
    kits = {}
    for form in provider.trust:
        key = provider.key(issuer, form)
        kits[form] = provider.kit(key, made_key(key.kid, of="an attacker"), form=form)
    verifiers = {
        form: issuer.verifier(now=lambda: NOW, **trust) for form, trust in provider.trust.items()
    }
    with issuer.serving():
        yield Bench(issuer, kits, verifiers, *provider.lists(kits))


def _pool(folder: Path) -> CognitoPool:
    made = CognitoPool(folder)
    made.keys.append(made_key("other").jwk | {"kid": "enc", "use": "enc"})
    return made


def _tenant(folder: Path) -> EntraTenant:
    made = EntraTenant(folder)
    elsewhere = TEMPLATE.replace("{tenantid}", OTHER_TENANT)
    made.keys += [
        made.jwk(made_key("enc")) | {"use": "enc"},
        entra_jwk(made.signer, TEMPLATE.replace("{tenantid}", CONSUMERS)) | {"kid": "consumer"},
        entra_jwk(made.signer, elsewhere) | {"kid": "elsewhere"},
    ]
    made.keys[0] = entra_jwk(made.signer, ABSENT)  # of every cloud
    body = json.dumps({"keys": made.keys}).encode()
    made.answers[made.trusted(**entra_cases.FORMS["v1"]).keys_path] = (200, {}, body)
    return made


PROVIDERS: Final = {
    "cognito": Provider(
        issuer=_pool,
        key=lambda pool, form: {"access": pool.signer, "id": pool.id_key}[form],
        trust={use: {"token_use": use} for use in ("access", "id")},
        kit=cognito_cases.pool_kit,
        general_cases=cognito_cases.general_cases,
        named_cases=cognito_cases.named_cases,
    ),
    "entra": Provider(
        issuer=_tenant,
        key=lambda tenant, form: tenant.signer,
        trust=entra_cases.FORMS,
        kit=entra_cases.tenant_kit,
        general_cases=entra_cases.general_cases,
        named_cases=entra_cases.named_cases,
    ),
}
