"""A user pool in the shape of Amazon Cognito: real RSA keys, and its key set on a
real HTTPS server on loopback, under an authority of its own.

Its `iss` is that of AWS; only the keys come from here (`cognito_endpoint`).
"""

from __future__ import annotations

import json
import time
import uuid
from pathlib import Path
from typing import Any

from services.tokens.issuers import CognitoSettings
from tests.oidc_issuer import HttpsIssuer, RsaKey

POOL = "eu-central-1_Ab3dEf9hI"
CLIENT = "1h57kf5cpq17m0eml12EXAMPLE"
OTHER_CLIENT = "7aa57kf5cpq17m0eml12SIBLING"
ABSENT = object()


class CognitoPool(HttpsIssuer):
    """A pool with two keys, as each has: one for each kind of token. `delay`,
    `answers` and `asked` are those of HttpsIssuer; paths are whole ones here."""

    def __init__(self, folder: Path, *, pool_id: str = POOL) -> None:
        super().__init__(folder)
        self.pool_id = pool_id
        self.access_key, self.id_key = RsaKey("Q2l+Ac/ess="), RsaKey("Q2l+Id/ent=")
        self.keys = [self.id_key.jwk, self.access_key.jwk]
        self.keys_path = f"/{pool_id}/.well-known/jwks.json"
        self.endpoint = f"https://127.0.0.1:{self.port}"
        self.issuer = self.trusted().issuer

    def trusted(self, **more: Any) -> CognitoSettings:
        """Trust in this pool, as `[[identity.issuers]]` of a deployment says it."""
        given: dict[str, Any] = {"user_pool_id": self.pool_id, "client_ids": (CLIENT,)}
        return CognitoSettings(**(given | more))

    def settings(self, **more: Any) -> dict[str, Any]:
        """For `load_settings`: this pool, with the keys read here."""
        return {
            "oidc_issuers": (self.trusted(**more),),
            "oidc_ca_file": self.ca_file,
            "cognito_endpoint": self.endpoint,
        }

    def access_token(self, subject: str, **claims: Any) -> str:
        """An access token of now; `ABSENT` takes a claim away."""
        return self._signed(self.access_key, access_claims(self.issuer, subject) | claims)

    def id_token(self, subject: str, **claims: Any) -> str:
        """An ID token of now."""
        return self._signed(self.id_key, id_claims(self.issuer, subject) | claims)

    def answer(self, path: str) -> tuple[int, dict[str, str], bytes]:
        if path == self.keys_path and path not in self.answers:
            self.asked.append(path)
            return 200, {}, json.dumps({"keys": self.keys}).encode()
        return super().answer(path)

    def _signed(self, key: RsaKey, claims: dict[str, Any]) -> str:
        given = {name: value for name, value in claims.items() if value is not ABSENT}
        return key.sign({"kid": key.kid, "alg": "RS256"}, given)


def access_claims(issuer: str, subject: str, *, now: int | None = None) -> dict[str, Any]:
    """Claims of an access token, as the developer guide shows them."""
    return {
        **_common(issuer, subject, now=now),
        "token_use": "access",
        "client_id": CLIENT,
        "scope": "aws.cognito.signin.user.admin openid",
        "username": f"user-{subject}",
        "version": 2,
    }


def id_claims(issuer: str, subject: str, *, now: int | None = None) -> dict[str, Any]:
    """Claims of an ID token, as the developer guide shows them."""
    return {
        **_common(issuer, subject, now=now),
        "token_use": "id",
        "aud": CLIENT,
        "cognito:username": f"user-{subject}",
        "email": f"{subject}@corp.test",
        "email_verified": True,
        "name": subject.title(),
        "identities": [{"userId": "7", "providerName": "Google", "primary": "true"}],
        "custom:tenant": "a1",
    }


def _common(issuer: str, subject: str, *, now: int | None) -> dict[str, Any]:
    at = int(time.time()) if now is None else now
    return {
        "iss": issuer, "sub": subject, "iat": at, "auth_time": at, "exp": at + 600,
        "jti": str(uuid.uuid5(uuid.NAMESPACE_URL, f"{subject} {at}")),
        "origin_jti": "aaaaaaaa-bbbb-cccc-dddd-eeeeeeeeeeee",
        "event_id": "eeeeeeee-bbbb-cccc-dddd-aaaaaaaaaaaa",
    }
