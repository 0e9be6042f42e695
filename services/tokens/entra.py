"""The `entra` provider: people of a tenant of Microsoft Entra, workforce or external.

Microsoft Learn: "Access token claims reference", "ID token claims reference",
"Optional claims reference" (`idtyp`, `acct`, `xms_edov`), "Secure applications and
APIs by validating claims". No claim says what kind a token is: access tokens of
people have `scp` and the program that calls (`azp`; `appid` in version 1.0), those of
programs have no `scp`, ID tokens have neither.
"""

from __future__ import annotations

import ssl
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any, Final

from services.model.names import cleaned_name
from services.tokens.claims import TokenRefusedError, VerifiedClaims
from services.tokens.entra_settings import GUID, EntraSettings
from services.tokens.key_sets import RemoteKeySet
from services.tokens.oidc import OidcClaims, listed, text_claim
from services.tokens.verifier import KeySource, StrictJwtVerifier, TokenRules

__all__ = ["DATED_BACK", "ENTRA_PROVIDER", "EntraClaims", "entra_verifier", "tenant_verifier"]

ENTRA_PROVIDER: Final = "entra"
DATED_BACK: Final = 300
"""Tokens are dated five minutes back for clocks that lag: those of 60 minutes have an
`exp` 65 minutes after their `iat` (the examples of "Access tokens")."""
_ALGORITHM: Final = "RS256"
_HEADERS: Final = frozenset({"alg", "typ", "kid", "x5t"})
# Of access tokens alone, of either version.
_ACCESS_CLAIMS: Final = frozenset({"scp", "azp", "appid"})
_PROGRAMS: Final = {"1.0": "appid", "2.0": "azp"}


class EntraClaims(OidcClaims):
    """Reads tokens of one tenant, version and use. Who somebody is say `tid` and `oid`:
    `sub` differs by application; `upn`, `preferred_username` and `email` change and
    are given to others."""

    def __init__(self, settings: EntraSettings) -> None:
        super().__init__(provider=ENTRA_PROVIDER, verified_only=True)
        self._settings = settings
        uses = {"access": self._check_access, "id": self._check_id}
        self._check_use = uses[settings.token_use]

    def __call__(self, payload: Mapping[str, Any]) -> VerifiedClaims:
        self._check_tenant(payload)
        if payload.get("idtyp", "user") != "user":  # an app or a device
            raise TokenRefusedError("person")
        self._check_use(payload)
        if not self._settings.guests:
            self._check_member(payload)
        return replace(super().__call__(payload), dated_back=DATED_BACK)

    def issuer(self, _: Mapping[str, Any]) -> str:
        """The same for both versions: `tid` and `oid` are those of one person in both."""
        return self._settings.identity_issuer

    def subject(self, payload: Mapping[str, Any]) -> str:
        return f"{payload['tid']}:{payload['oid']}"

    def token_id(self, payload: Mapping[str, Any]) -> str:
        return text_claim(payload, "uti")

    def is_verified(self, payload: Mapping[str, Any]) -> bool:
        """Whether the owner of the address' domain vouches for it: a tenant may write
        any other into profiles. Entra writes this Boolean as text, too."""
        value = payload.get("xms_edov")
        return value is True or (isinstance(value, str) and value in ("1", "true"))

    def name(self, payload: Mapping[str, Any]) -> str:
        """The username at last, unless it is an address, that nobody verified."""
        usernames = (text_claim(payload, each) for each in ("preferred_username", "unique_name"))
        names = [text_claim(payload, "name"), *(each for each in usernames if "@" not in each)]
        return next(filter(None, map(cleaned_name, names)), "")

    def groups(self, payload: Mapping[str, Any]) -> tuple[tuple[str, ...], bool]:
        """Ids of groups, and roles of the application. Of more than 200 groups a token
        names none and says so: they are unknown then, not none."""
        groups, incomplete = super().groups(payload)
        roles, unreadable = listed(payload, "roles")
        return groups + roles, incomplete or unreadable

    def _check_tenant(self, payload: Mapping[str, Any]) -> None:
        oid = payload.get("oid")
        if payload.get("tid") != self._settings.tenant_id:
            raise TokenRefusedError("tid")
        if payload.get("ver") != self._settings.token_version:
            raise TokenRefusedError("ver")
        if not isinstance(oid, str) or GUID.fullmatch(oid) is None:
            raise TokenRefusedError("oid")

    def _check_id(self, payload: Mapping[str, Any]) -> None:
        if not _ACCESS_CLAIMS.isdisjoint(payload):
            raise TokenRefusedError("token_use")

    def _check_access(self, payload: Mapping[str, Any]) -> None:
        """Only tokens of people have scopes; a program's have roles at most."""
        scp = payload.get("scp")
        if not isinstance(scp, str) or not scp.strip():
            raise TokenRefusedError("person")
        wanted = self._settings.scopes
        if wanted and not set(scp.split(" ")) & set(wanted):
            raise TokenRefusedError("scp")
        self._check_program(payload)

    def _check_program(self, payload: Mapping[str, Any]) -> None:
        """Who calls in the person's name (the actor)."""
        program = payload.get(_PROGRAMS[self._settings.token_version])
        if not isinstance(program, str) or GUID.fullmatch(program) is None:
            raise TokenRefusedError("azp")
        allowed = self._settings.authorized_clients
        if allowed and program not in allowed:
            raise TokenRefusedError("azp")

    def _check_member(self, payload: Mapping[str, Any]) -> None:
        """`acct` is 0 for members; without it nobody knows."""
        if str(payload.get("acct")) != "0":
            raise TokenRefusedError("guest")
        if "idp" in payload and str(payload["idp"]) not in self._settings.homes:
            raise TokenRefusedError("guest")


def entra_verifier(
    settings: EntraSettings, keys: KeySource, *, now: Callable[[], float]
) -> StrictJwtVerifier:
    """The verifier of one tenant's tokens; `now` is unix seconds. Tokens with a `nonce` in
    the header are for Microsoft's own APIs, and cannot be verified by others."""
    rules = TokenRules(
        issuer=settings.issuer,
        audiences=frozenset(settings.client_ids),
        algorithm=_ALGORITHM,
        types=frozenset({"JWT"}),
        max_lifetime=settings.max_token_seconds,
        headers=_HEADERS,
    )
    return StrictJwtVerifier(rules, keys, read=EntraClaims(settings), now=now)


def tenant_verifier(
    settings: EntraSettings,
    *,
    now: Callable[[], float],
    tls: ssl.SSLContext | None = None,
    endpoint: str = "",
) -> StrictJwtVerifier:
    """`entra_verifier` with the keys that the tenant publishes.

    `endpoint`, `http(s)://127.0.0.1:PORT`, is an emulator's: the keys are read
    there, `iss` stays the tenant's. Raises ValueError for plain http elsewhere.
    """
    keys = RemoteKeySet(
        settings.issuer,
        _ALGORITHM,
        now=now,
        tls=tls,
        keys_url=(endpoint or f"https://{settings.host}") + settings.keys_path,
        allow_loopback_http=bool(endpoint),
        key_issuers=settings.key_issuers,
    )
    return entra_verifier(settings, keys, now=now)
