"""The `oidc` provider: any conforming issuer (OpenID Connect Core 1.0, RFC 9068).

`cognito` and `entra` are this verifier with another reading of the claims: they
pass their own `audience_of` and `read`.
"""

from __future__ import annotations

import re
import ssl
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final

from services.model.errors import invalid_field
from services.model.names import cleaned_name, is_visible
from services.tokens.claims import TokenRefusedError, VerifiedClaims
from services.tokens.issuers import IssuerSettings
from services.tokens.key_sets import RemoteKeySet
from services.tokens.verifier import (
    AudienceOf,
    ClaimsReader,
    KeySource,
    StrictJwtVerifier,
    TokenRules,
    audience_claim,
)

__all__ = [
    "OIDC_PROVIDER",
    "OidcClaims",
    "issuer_tls",
    "listed",
    "oidc_verifier",
    "remote_verifier",
    "text_claim",
]

OIDC_PROVIDER: Final = "oidc"
_MAX_EMAIL: Final = 254
_MAX_TEXT: Final = 255
_MAX_GROUP_CHARS: Final = 256
_MAX_GROUPS: Final = 10_000
_ADDRESS: Final = re.compile(r"[^\s@<>()\[\],;:\\\"]+@[^\s@<>()\[\],;:\\\"]+")
_HEADERS: Final = frozenset({"alg", "typ", "kid", "x5t"})
# How issuers say that they left groups out (Entra: groups overage).
_OVERAGE: Final = ("_claim_names", "hasgroups")


class OidcClaims:
    """Reads a checked payload into VerifiedClaims; subclasses change parts."""

    def __init__(
        self,
        *,
        provider: str = OIDC_PROVIDER,
        groups_claim: str = "groups",
        verified_only: bool = False,
    ) -> None:
        self._provider = provider
        self._groups_claim = groups_claim
        self._verified_only = verified_only

    def __call__(self, payload: Mapping[str, Any]) -> VerifiedClaims:
        email = self.email(payload)
        groups, incomplete = self.groups(payload)
        return VerifiedClaims(
            provider=self._provider,
            issuer=self.issuer(payload),
            subject=self.subject(payload),
            issued_at=payload["iat"],
            expires_at=payload["exp"],
            token_id=self.token_id(payload),
            email=email,
            email_verified=bool(email) and self.is_verified(payload),
            name=self.name(payload),
            groups=groups,
            groups_incomplete=incomplete,
        )

    def issuer(self, payload: Mapping[str, Any]) -> str:
        """Within whose subjects the subject is one."""
        return str(payload["iss"])

    def subject(self, payload: Mapping[str, Any]) -> str:
        """What never changes and is never given to somebody else: `sub`."""
        return str(payload["sub"])

    def token_id(self, payload: Mapping[str, Any]) -> str:
        """The token's own id; '' for none."""
        return text_claim(payload, "jti")

    def email(self, payload: Mapping[str, Any]) -> str:
        """The address as the issuer says it; '' for none, and for what no mail could
        be sent to. With `verified_only`, of issuers where people or others write any
        address into profiles, '' also for one that is not verified. Never who
        somebody is."""
        email = text_claim(payload, "email")
        usable = len(email) <= _MAX_EMAIL and is_visible(email) and _ADDRESS.fullmatch(email)
        hidden = self._verified_only and not self.is_verified(payload)
        return email if usable and not hidden else ""

    def is_verified(self, payload: Mapping[str, Any]) -> bool:
        """Whether the issuer says that the address is the person's."""
        return payload.get("email_verified") is True

    def name(self, payload: Mapping[str, Any]) -> str:
        """What people see. Users choose it at many issuers: it steers no terminal."""
        names = (text_claim(payload, member) for member in ("name", "preferred_username"))
        return next(filter(None, map(cleaned_name, names)), "")

    def groups(self, payload: Mapping[str, Any]) -> tuple[tuple[str, ...], bool]:
        """Recorded groups, and whether some are missing. Groups that cannot be
        read are unknown groups: they never stand for "none"."""
        known, incomplete = listed(payload, self._groups_claim)
        return known, incomplete or any(member in payload for member in _OVERAGE)


def listed(payload: Mapping[str, Any], member: str) -> tuple[tuple[str, ...], bool]:
    """The names in a claim, and whether some, or all, of them cannot be read."""
    value = payload.get(member, [])
    if not isinstance(value, list) or len(value) > _MAX_GROUPS:
        return (), True
    known = tuple(each for each in value if _is_group(each))
    return known, len(known) < len(value)


def oidc_verifier(
    settings: IssuerSettings,
    keys: KeySource,
    *,
    now: Callable[[], float],
    read: ClaimsReader | None = None,
    audience_of: AudienceOf = audience_claim,
) -> StrictJwtVerifier:
    """The verifier of one issuer's tokens; `now` is unix seconds."""
    rules = TokenRules(
        issuer=settings.issuer,
        audiences=frozenset({settings.audience}),
        algorithm=settings.algorithm,
        types=frozenset(settings.types),
        max_lifetime=settings.max_token_seconds,
        headers=_HEADERS,
    )
    reader = read or OidcClaims(groups_claim=settings.groups_claim)
    return StrictJwtVerifier(rules, keys, read=reader, now=now, audience_of=audience_of)


def remote_verifier(
    settings: IssuerSettings, *, now: Callable[[], float], tls: ssl.SSLContext | None = None
) -> StrictJwtVerifier:
    """`oidc_verifier` with the keys that the issuer publishes."""
    keys = RemoteKeySet(settings.issuer, settings.algorithm, now=now, tls=tls)
    return oidc_verifier(settings, keys, now=now)


def issuer_tls(ca_file: Path | None) -> ssl.SSLContext:
    """Verifies issuers by the system's authorities, or by those of a PEM file
    alone. Raises INVALID_FIELD."""
    try:
        return ssl.create_default_context(cafile=str(ca_file) if ca_file else None)
    except (OSError, ssl.SSLError):
        raise invalid_field(
            "WM_OIDC_CA_FILE", f"{ca_file} is not a readable PEM file of authorities"
        ) from None


def _is_group(value: object) -> bool:
    return isinstance(value, str) and 0 < len(value) <= _MAX_GROUP_CHARS and is_visible(value)


def text_claim(payload: Mapping[str, Any], member: str) -> str:
    """A text of at most 255 characters, '' for none. Raises TokenRefusedError."""
    value = payload.get(member, "")
    if not isinstance(value, str) or len(value) > _MAX_TEXT:
        raise TokenRefusedError("claims")
    return value
