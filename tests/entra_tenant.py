"""A tenant in the shape of Microsoft Entra: real RSA keys, and its key set on a real
HTTPS server on loopback, under an authority of its own.

Its `iss` is that of Entra; only the keys come from here (`entra_endpoint`).
"""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

from services.tokens.entra import tenant_verifier
from services.tokens.issuers import EntraSettings
from services.tokens.verifier import StrictJwtVerifier
from tests.oidc_issuer import ABSENT, HostedIssuer, RsaKey, made_key

__all__ = [
    "ABSENT", "APP_URI", "CLIENT", "CONSUMERS", "GRAPH", "OTHER_CLIENT", "OTHER_TENANT", "PROGRAM",
    "TEMPLATE", "TENANT", "EntraTenant", "access_claims", "app_claims", "entra_header",
    "entra_jwk", "id_claims", "object_id",
]  # fmt: skip

TENANT = "aaaabbbb-0000-cccc-1111-dddd2222eeee"
OTHER_TENANT = "bbbbcccc-1111-dddd-2222-eeee3333ffff"
CONSUMERS = "9188040d-6c67-4c5b-b112-36a304b66dad"
CLIENT = "00001111-aaaa-2222-bbbb-3333cccc4444"
OTHER_CLIENT = "11112222-bbbb-3333-cccc-4444dddd5555"
PROGRAM = "22223333-cccc-4444-dddd-5555eeee6666"
APP_URI = f"api://{CLIENT}"
GRAPH = "00000003-0000-0000-c000-000000000000"
TEMPLATE = "https://login.microsoftonline.com/{tenantid}/v2.0"


class EntraTenant(HostedIssuer):
    """A tenant with a key of all tenants and one of its own, beside one of others, as the
    key set of Entra has them; all tenants have the same keys. `trust` are settings of this
    tenant besides its id."""

    def __init__(self, folder: Path, *, tenant_id: str = TENANT, **trust: Any) -> None:
        super().__init__(folder)
        self.tenant_id = tenant_id
        self.trust = {"tenant_id": tenant_id, "client_ids": (CLIENT,)} | trust
        trusted = self.trusted()
        self.issuer, self.keys_path = trusted.issuer, trusted.keys_path
        self.signer = made_key("jS1Xo1OWDj_52vbwGNgvQO2VzMc")
        self.second_key = made_key("2ZQpJ3UpbjAY")
        self.consumer_key = made_key("yreX2PsLi-qkbR8QDOmB_ySxp8Q")
        self.keys = [
            self.jwk(self.signer),
            entra_jwk(self.second_key, TEMPLATE.replace("{tenantid}", tenant_id)),
            entra_jwk(self.consumer_key, TEMPLATE.replace("{tenantid}", CONSUMERS)),
        ]

    def trusted(self, **more: Any) -> EntraSettings:
        """Trust in this tenant, as `[[identity.issuers]]` of a deployment says it."""
        return EntraSettings(**(self.trust | more))

    def verifier(self, *, now: Callable[[], float], **trust: Any) -> StrictJwtVerifier:
        """Of a deployment that trusts this tenant, with the keys read here."""
        settings = self.trusted(**trust)
        return tenant_verifier(settings, now=now, tls=self.tls, endpoint=self.endpoint)

    def settings(self, **more: Any) -> dict[str, Any]:
        """For `load_settings`: this tenant, with the keys read here."""
        return {
            "oidc_issuers": (self.trusted(**more),),
            "oidc_ca_file": self.ca_file,
            "entra_endpoint": self.endpoint,
        }

    def access_token(self, person: str, **claims: Any) -> str:
        """An access token of now; `ABSENT` takes a claim away."""
        return self.signed(self.access_claims(person) | claims)

    def id_token(self, person: str, **claims: Any) -> str:
        """An ID token of now."""
        return self.signed(id_claims(self.trusted(), person) | claims)

    def app_token(self, **claims: Any) -> str:
        """A program's own (client credentials), with a role for this workspace."""
        return self.signed(app_claims(self.trusted()) | claims)

    def access_claims(
        self, person: str, *, now: int | None = None, **trust: Any
    ) -> dict[str, Any]:
        """Those of an access token of this tenant, as `trust` takes it."""
        return access_claims(self.trusted(**trust), person, now=now)

    def header(self, kid: str) -> dict[str, Any]:
        return entra_header(kid)

    def jwk(self, key: RsaKey) -> dict[str, Any]:
        """As the key set shows a key of all tenants."""
        return entra_jwk(key, TEMPLATE)


def entra_header(kid: str) -> dict[str, Any]:
    return {"typ": "JWT", "alg": "RS256", "kid": kid}


def entra_jwk(signer: RsaKey, issuer: object) -> dict[str, Any]:
    """As Entra publishes keys: without `alg`, with a certificate and an `issuer`."""
    jwk = signer.jwk | {"x5t": signer.kid, "x5c": ["MIIC"], "issuer": issuer}
    return {name: value for name, value in jwk.items() if name != "alg" and value is not ABSENT}


def object_id(person: str) -> str:
    """The `oid` of somebody."""
    return str(uuid.uuid5(uuid.NAMESPACE_DNS, person))


def access_claims(trust: EntraSettings, person: str, *, now: int | None = None) -> dict[str, Any]:
    """Claims of an access token, as the claims reference shows them."""
    program = "appid" if trust.token_version == "1.0" else "azp"
    return {
        **_common(trust, person, now=now),
        program: PROGRAM,
        f"{program}acr": "0",
        "scp": "openid access_as_user",
        "xms_ftd": "opaque",
    }


def id_claims(trust: EntraSettings, person: str, *, now: int | None = None) -> dict[str, Any]:
    """Claims of an ID token with the optional claims `email` and `xms_edov`."""
    return {
        **_common(trust, person, now=now),
        "email": f"{person}@corp.test",
        "xms_edov": True,
        "nonce": "12345",
    }


def app_claims(trust: EntraSettings, *, now: int | None = None) -> dict[str, Any]:
    """Claims of a program's own access token."""
    usual = access_claims(trust, "program", now=now)
    person = ("scp", "name", "preferred_username", "unique_name")
    claims = {name: value for name, value in usual.items() if name not in person}
    return claims | {
        "idtyp": "app", "sub": claims["oid"], "roles": ["Workspace.Everything"],
    }  # fmt: skip


def _common(trust: EntraSettings, person: str, *, now: int | None) -> dict[str, Any]:
    # Entra dates tokens back by five minutes.
    at = (int(time.time()) if now is None else now) - 300
    username = "unique_name" if trust.token_version == "1.0" else "preferred_username"
    return {
        "aud": trust.client_ids[0], "iss": trust.issuer, "iat": at, "nbf": at, "exp": at + 3900,
        "name": person.title(), "oid": object_id(person), username: f"{person}@corp.test",
        "sub": f"pairwise-{person}", "tid": trust.tenant_id, "ver": trust.token_version,
        "uti": str(uuid.uuid5(uuid.NAMESPACE_URL, f"{person} {at}")), "rh": "opaque",
        "aio": "opaque", "sid": "00aa00aa-bb11-cc22-dd33-44ee44ee44ee",
    }  # fmt: skip
