"""The `cognito` provider: people of an Amazon Cognito user pool.

Cognito developer guide, "Verifying JSON web tokens", "Understanding the access
token" and "Understanding the identity (ID) token". An access token says `client_id`
and has no `aud`, an ID token says `aud`; neither has a `typ`: `token_use` tells
them apart, and a pool's verifier takes one of the two.
"""

from __future__ import annotations

import ssl
from collections.abc import Callable, Mapping
from typing import Any, Final, Literal

from services.model.names import cleaned_name
from services.tokens.claims import TokenRefusedError, VerifiedClaims
from services.tokens.issuers import CognitoSettings
from services.tokens.key_sets import RemoteKeySet
from services.tokens.oidc import OidcClaims, text_claim
from services.tokens.verifier import (
    AudienceOf,
    KeySource,
    StrictJwtVerifier,
    TokenRules,
    audience_claim,
)

__all__ = ["COGNITO_PROVIDER", "CognitoClaims", "cognito_verifier", "pool_verifier"]

COGNITO_PROVIDER: Final = "cognito"
_ALGORITHM: Final = "RS256"
_KEYS: Final = "/.well-known/jwks.json"


def client_claim(payload: Mapping[str, Any]) -> object:
    """`client_id`, where the token has no `aud`: with one it is bound to the
    resource that it names (RFC 8707), which is not this workspace."""
    return None if "aud" in payload else payload.get("client_id")


_AUDIENCES: Final[Mapping[str, AudienceOf]] = {"access": client_claim, "id": audience_claim}
_USERNAMES: Final[Mapping[str, str]] = {"access": "username", "id": "cognito:username"}


class CognitoClaims(OidcClaims):
    """Reads tokens of one use. Who somebody is says `sub` alone: a username is
    free again once its user is deleted, and an address changes. People can write any
    address into their profile; access tokens have one only by a trigger of the pool."""

    def __init__(self, *, token_use: Literal["access", "id"]) -> None:
        super().__init__(
            provider=COGNITO_PROVIDER, groups_claim="cognito:groups", verified_only=True
        )
        self._use = token_use

    def __call__(self, payload: Mapping[str, Any]) -> VerifiedClaims:
        if payload.get("token_use") != self._use:
            raise TokenRefusedError("token_use")
        self._check_person(payload)
        return super().__call__(payload)

    def name(self, payload: Mapping[str, Any]) -> str:
        """The username at last, unless it is an id or an address."""
        username = self._username(payload)
        shown = "" if username == payload["sub"] or "@" in username else cleaned_name(username)
        return super().name(payload) or shown

    def _check_person(self, payload: Mapping[str, Any]) -> None:
        """Tokens of the client-credentials grant are a program's: they have no
        username, and their `sub` is the client."""
        client = _AUDIENCES[self._use](payload)
        if not self._username(payload) or payload["sub"] == client:
            raise TokenRefusedError("person")

    def _username(self, payload: Mapping[str, Any]) -> str:
        return text_claim(payload, _USERNAMES[self._use])


def cognito_verifier(
    settings: CognitoSettings, keys: KeySource, *, now: Callable[[], float]
) -> StrictJwtVerifier:
    """The verifier of one pool's tokens; `now` is unix seconds."""
    rules = TokenRules(
        issuer=settings.issuer,
        audiences=frozenset(settings.client_ids),
        algorithm=_ALGORITHM,
        types=frozenset({"JWT"}),
        max_lifetime=settings.max_token_seconds,
        untyped=True,
    )
    read = CognitoClaims(token_use=settings.token_use)
    audience_of = _AUDIENCES[settings.token_use]
    return StrictJwtVerifier(rules, keys, read=read, now=now, audience_of=audience_of)


def pool_verifier(
    settings: CognitoSettings,
    *,
    now: Callable[[], float],
    tls: ssl.SSLContext | None = None,
    endpoint: str = "",
) -> StrictJwtVerifier:
    """`cognito_verifier` with the keys that the pool publishes.

    `endpoint`, `http(s)://127.0.0.1:PORT`, is an emulator's: the keys are read
    there, `iss` stays the pool's. Raises ValueError for plain http elsewhere.
    """
    base = f"{endpoint}/{settings.user_pool_id}" if endpoint else settings.issuer
    keys = RemoteKeySet(
        settings.issuer,
        _ALGORITHM,
        now=now,
        tls=tls,
        keys_url=base + _KEYS,
        allow_loopback_http=bool(endpoint),
    )
    return cognito_verifier(settings, keys, now=now)
