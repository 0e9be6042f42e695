"""A user pool in the shape of Amazon Cognito: real RSA keys, and its key set on a
real HTTPS server on loopback, under an authority of its own.

Its `iss` is that of AWS; only the keys come from here (`cognito_endpoint`).
"""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

from services.tokens.cognito import pool_verifier
from services.tokens.issuers import CognitoSettings
from services.tokens.verifier import StrictJwtVerifier
from tests.oidc_issuer import ABSENT, HostedIssuer, made_key

__all__ = [
    "ABSENT", "CLIENT", "OTHER_CLIENT", "POOL", "CognitoPool", "access_claims", "id_claims",
]  # fmt: skip

POOL = "eu-central-1_Ab3dEf9hI"
CLIENT = "1h57kf5cpq17m0eml12EXAMPLE"
OTHER_CLIENT = "7aa57kf5cpq17m0eml12SIBLING"


class CognitoPool(HostedIssuer):
    """A pool with two keys, as each has: one for each kind of token."""

    def __init__(self, folder: Path, *, pool_id: str = POOL) -> None:
        super().__init__(folder)
        self.pool_id = pool_id
        self.signer = made_key("Q2l+Ac/ess=", of=pool_id)
        self.id_key = made_key("Q2l+Id/ent=", of=pool_id)
        self.keys = [self.id_key.jwk, self.signer.jwk]
        self.keys_path = f"/{pool_id}/.well-known/jwks.json"
        self.issuer = self.trusted().issuer

    def trusted(self, **more: Any) -> CognitoSettings:
        """Trust in this pool, as `[[identity.issuers]]` of a deployment says it."""
        given: dict[str, Any] = {"user_pool_id": self.pool_id, "client_ids": (CLIENT,)}
        return CognitoSettings(**(given | more))

    def verifier(self, *, now: Callable[[], float], **trust: Any) -> StrictJwtVerifier:
        """Of a deployment that trusts this pool, with the keys read here."""
        settings = self.trusted(**trust)
        return pool_verifier(settings, now=now, tls=self.tls, endpoint=self.endpoint)

    def settings(self, **more: Any) -> dict[str, Any]:
        """For `load_settings`: this pool, with the keys read here."""
        return {
            "oidc_issuers": (self.trusted(**more),),
            "oidc_ca_file": self.ca_file,
            "cognito_endpoint": self.endpoint,
        }

    def access_token(self, subject: str, **claims: Any) -> str:
        """An access token of now; `ABSENT` takes a claim away."""
        return self.signed(self.access_claims(subject) | claims)

    def id_token(self, subject: str, **claims: Any) -> str:
        """An ID token of now."""
        return self.signed(id_claims(self.issuer, subject) | claims, key=self.id_key)

    def access_claims(self, subject: str, *, now: int | None = None) -> dict[str, Any]:
        """Those of an access token of this pool."""
        return access_claims(self.issuer, subject, now=now)


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
