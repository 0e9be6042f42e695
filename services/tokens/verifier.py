"""StrictJwtVerifier: one issuer's tokens, checked in the order of the rules.

Size, shape, header, `alg` of this issuer, `typ`, refused headers, `kid`,
signature, payload JSON, claims (reliability reference 1.3). RFC 8725 (JWT best
practice) and RFC 9068 (`at+jwt`) are the sources of the rules.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final, Protocol

from services.tokens.claims import TokenRefusedError, VerifiedClaims
from services.tokens.compact import CompactToken, parse_json, split_token

__all__ = [
    "AudienceOf",
    "ClaimsReader",
    "KeySource",
    "StrictJwtVerifier",
    "TokenRules",
    "VerificationKey",
    "audience_claim",
]

CLOCK_SKEW: Final = 60
"""Seconds that an issuer's clock may be ahead of ours (`iat`, `nbf`)."""
MAX_KID_CHARS: Final = 128
# A token that asks for any of these wants to choose how it is verified.
_REFUSED_HEADERS: Final = frozenset(
    {"crit", "jku", "jwk", "x5u", "x5c", "x5t#S256", "zip", "b64", "cty"}
)
_SUBJECT: Final = re.compile(r"[\x21-\x7e]{1,255}")


class VerificationKey(Protocol):
    """A public key of exactly one algorithm."""

    def verify(self, signature: bytes, data: bytes) -> bool:
        """Whether `signature` over `data` is the key's."""
        ...


class KeySource(Protocol):
    """The key set of one issuer, by exact `kid`."""

    async def key(self, kid: str) -> VerificationKey | None:
        """The key, or None when this issuer has no such key."""
        ...


@dataclass(frozen=True, slots=True)
class TokenRules:
    """What one issuer's tokens must say. Lifetimes in seconds.

    `audiences`: a token names exactly one of them. `headers` are all header
    members that may occur at all. `untyped`: a token may have no `typ`, which is
    only for issuers that tell the kinds of their tokens apart by a claim.
    """

    issuer: str
    audiences: frozenset[str]
    algorithm: str
    types: frozenset[str]
    max_lifetime: int
    headers: frozenset[str] = frozenset({"alg", "typ", "kid"})
    untyped: bool = False

    def __post_init__(self) -> None:
        # An empty audience that switches the check off is OpenFGA CVE-2026-55689.
        if not (self.issuer and self.audiences and self.algorithm and self.types):
            raise ValueError("a verifier needs an issuer, an audience, an algorithm and types")
        if "" in self.audiences | self.types:
            raise ValueError("a verifier needs an issuer, an audience, an algorithm and types")
        if self.max_lifetime <= 0 or self.headers & _REFUSED_HEADERS:
            raise ValueError("a verifier needs a lifetime, and refuses key-carrying headers")


ClaimsReader = Callable[[Mapping[str, Any]], VerifiedClaims]
"""Turns a checked payload into claims; may raise TokenRefusedError."""
AudienceOf = Callable[[Mapping[str, Any]], object]
"""Where a provider says whom its token is for; must be one of the audiences."""


def audience_claim(payload: Mapping[str, Any]) -> object:
    """`aud`. A list is refused even with ours in it: the token was made for
    others too."""
    return payload.get("aud")


class StrictJwtVerifier:
    """See the module. `now` is unix seconds; `read` is the provider's own part."""

    def __init__(
        self,
        rules: TokenRules,
        keys: KeySource,
        *,
        read: ClaimsReader,
        now: Callable[[], float],
        audience_of: AudienceOf = audience_claim,
    ) -> None:
        self._audience_of = audience_of
        self._rules = rules
        self._keys = keys
        self._read = read
        self._now = now

    @property
    def issuer(self) -> str:
        return self._rules.issuer

    async def verify(self, token: str) -> VerifiedClaims:
        """The claims of a good token. Raises TokenRefusedError for every other."""
        compact = split_token(token)
        _check_header(compact.header, self._rules)
        await self._check_signature(compact)
        payload = parse_json(compact.payload)
        _check_parties(payload, self._rules, self._audience_of(payload))
        _check_times(payload, self._rules.max_lifetime, self._now())
        return self._read(payload)

    async def _check_signature(self, compact: CompactToken) -> None:
        key = await self._keys.key(compact.header["kid"])
        if key is None:
            raise TokenRefusedError("kid")
        if not key.verify(compact.signature, compact.signing_input):
            raise TokenRefusedError("signature")


def _check_header(header: Mapping[str, Any], rules: TokenRules) -> None:
    if header.get("alg") != rules.algorithm:
        raise TokenRefusedError("alg")
    if not (rules.untyped and "typ" not in header):
        _check_type(header.get("typ"), rules)
    if not _REFUSED_HEADERS.isdisjoint(header) or not rules.headers.issuperset(header):
        raise TokenRefusedError("header")
    kid = header.get("kid")
    if not isinstance(kid, str) or not 0 < len(kid) <= MAX_KID_CHARS:
        raise TokenRefusedError("kid")


def _check_type(kind: object, rules: TokenRules) -> None:
    if not isinstance(kind, str) or kind not in rules.types:
        raise TokenRefusedError("typ")


def _check_parties(payload: Mapping[str, Any], rules: TokenRules, audience: object) -> None:
    if payload.get("iss") != rules.issuer:
        raise TokenRefusedError("iss")
    if not isinstance(audience, str) or audience not in rules.audiences:
        raise TokenRefusedError("aud")
    subject = payload.get("sub")
    if not isinstance(subject, str) or _SUBJECT.fullmatch(subject) is None:
        raise TokenRefusedError("sub")


def _check_times(payload: Mapping[str, Any], max_lifetime: int, now: float) -> None:
    issued, expires = _time(payload, "iat"), _time(payload, "exp")
    if issued > now + CLOCK_SKEW:
        raise TokenRefusedError("iat")
    if expires <= now:
        raise TokenRefusedError("exp")
    if not 0 < expires - issued <= max_lifetime:
        raise TokenRefusedError("lifetime")
    if "nbf" in payload and _time(payload, "nbf") > now + CLOCK_SKEW:
        raise TokenRefusedError("nbf")


def _time(payload: Mapping[str, Any], name: str) -> int:
    value = payload.get(name)
    if type(value) is not int or value <= 0:  # bool is an int; it is no time
        raise TokenRefusedError(name)
    return value
