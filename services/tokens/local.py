"""The `local` provider: tokens signed by this deployment's own Ed25519 key.

Localhost works with no cloud at all. The issuer names the instance, so that a
token of one deployment is never a token of another. RFC 8037 (EdDSA), RFC 7638
(key ids), RFC 9068 (`at+jwt`).
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from services.model import base64url
from services.private_files import load_or_create_secret
from services.tokens.claims import TokenRefusedError, VerifiedClaims
from services.tokens.signature_keys import Ed25519Key
from services.tokens.verifier import StrictJwtVerifier, TokenRules

__all__ = [
    "LOCAL_AUDIENCE",
    "LOCAL_KEY_FILE",
    "LOCAL_PROVIDER",
    "MAX_LOCAL_SECONDS",
    "LocalIdentity",
    "LocalIssuer",
]

LOCAL_PROVIDER: Final = "local"
LOCAL_AUDIENCE: Final = "workspace"
LOCAL_TYPE: Final = "at+jwt"
LOCAL_KEY_FILE: Final = "local-token.key"
MAX_LOCAL_SECONDS: Final = 3600
_ALGORITHM: Final = "EdDSA"


@dataclass(frozen=True, slots=True)
class LocalIdentity:
    """Who a local token is for; `email` in canonical form is the subject."""

    email: str
    name: str


class LocalIssuer:
    """Signs and verifies the tokens of this deployment. `realm` is whose people it
    names: the instance's own, or those that nodes which sync have in common. Each
    node still signs with a key of its own."""

    def __init__(self, key: Ed25519PrivateKey, *, realm: str) -> None:
        if not realm:
            raise ValueError("the local issuer needs a realm")
        self.issuer = f"workspace-local:{realm}"
        self._key = key
        self._public = key.public_key()
        self.kid = _thumbprint(self._public)

    @classmethod
    def open(cls, keys_dir: Path, *, realm: str) -> LocalIssuer:
        """Load the key (32 bytes, 0600), making it at the first start. Raises
        INVALID_STATE for a file that others can read or that is damaged."""
        seed = load_or_create_secret(keys_dir / LOCAL_KEY_FILE)
        return cls(Ed25519PrivateKey.from_private_bytes(seed), realm=realm)

    def issue(self, identity: LocalIdentity, *, token_id: str, issued_at: int, seconds: int) -> str:
        """A token for `seconds`, at most an hour. Whoever holds the local
        secret vouches for the address, so it counts as verified."""
        if not 0 < seconds <= MAX_LOCAL_SECONDS:
            raise ValueError("local tokens live at most an hour")
        claims = {
            "iss": self.issuer,
            "aud": LOCAL_AUDIENCE,
            "sub": identity.email,
            "iat": issued_at,
            "exp": issued_at + seconds,
            "jti": token_id,
            "email": identity.email,
            "email_verified": True,
            "name": identity.name,
        }
        return self.sign({"alg": _ALGORITHM, "typ": LOCAL_TYPE, "kid": self.kid}, claims)

    def sign(self, header: Mapping[str, Any], claims: Mapping[str, Any]) -> str:
        """The compact form of any header and claims, under this key."""
        signing_input = f"{base64url.encode(_json(header))}.{base64url.encode(_json(claims))}"
        signature = self._key.sign(signing_input.encode("ascii"))
        return f"{signing_input}.{base64url.encode(signature)}"

    def verifier(self, *, now: Callable[[], float]) -> StrictJwtVerifier:
        """The verifier of this issuer's tokens; `now` is unix seconds."""
        rules = TokenRules(
            issuer=self.issuer,
            audiences=frozenset({LOCAL_AUDIENCE}),
            algorithm=_ALGORITHM,
            types=frozenset({LOCAL_TYPE}),
            max_lifetime=MAX_LOCAL_SECONDS,
        )
        return StrictJwtVerifier(rules, _OneKey(self.kid, self._public), read=_read, now=now)


class _OneKey:
    """The key set of the local issuer."""

    def __init__(self, kid: str, key: Ed25519PublicKey) -> None:
        self._kid = kid
        self._key = Ed25519Key(key)

    async def key(self, kid: str) -> Ed25519Key | None:
        return self._key if kid == self._kid else None


def _read(payload: Mapping[str, Any]) -> VerifiedClaims:
    token_id, email, name = (_text(payload, member) for member in ("jti", "email", "name"))
    if not token_id or email != payload["sub"]:
        raise TokenRefusedError("claims")
    return VerifiedClaims(
        provider=LOCAL_PROVIDER,
        issuer=payload["iss"],
        subject=payload["sub"],
        issued_at=payload["iat"],
        expires_at=payload["exp"],
        token_id=token_id,
        email=email,
        email_verified=payload.get("email_verified") is True,
        name=name,
    )


def _text(payload: Mapping[str, Any], member: str) -> str:
    value = payload.get(member, "")
    if not isinstance(value, str) or len(value) > 255:
        raise TokenRefusedError("claims")
    return value


def _thumbprint(key: Ed25519PublicKey) -> str:
    """RFC 7638, over the members that RFC 8037 names."""
    jwk = {"crv": "Ed25519", "kty": "OKP", "x": base64url.encode(key.public_bytes_raw())}
    return base64url.encode(hashlib.sha256(_json(jwk)).digest())


def _json(members: Mapping[str, Any]) -> bytes:
    return json.dumps(members, separators=(",", ":"), ensure_ascii=False).encode()
