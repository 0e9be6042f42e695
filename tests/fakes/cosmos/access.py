"""Who may do what: bearer tokens of Entra for this account (keys are off), a data role of the
account's own, and no management of databases with data tokens."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from urllib.parse import unquote

from tests.fakes.cosmos.errors import Refused
from tests.fakes.sign_in import TENANT_ID, claims_of

__all__ = ["Access"]

_AUDIENCES = ("https://127.0.0.1", "https://localhost", "https://cosmos.azure.com")
_LEARN = "Learn more: https://aka.ms/cosmos-native-rbac."


@dataclass
class Access:
    """`roles` is by object id: "contributor", "reader" or "none"; others have
    `default_role`. `management`: data tokens may make and delete databases and containers
    too, which the service never allows."""

    tenant: str = TENANT_ID
    default_role: str = "contributor"
    roles: dict[str, str] = field(default_factory=dict)
    management: bool = False
    _known: dict[str, tuple[str, str, float]] = field(default_factory=dict)

    def check(self, authorization: str, *, write: bool, manages: bool, what: str) -> None:
        """Raises 401 and 403."""
        principal, tenant, end = self._signed_in(authorization)
        if end <= time.time():
            raise Refused(401, "The provided AAD token has expired.")
        if tenant != self.tenant:
            raise Refused(401, "The provided AAD token was issued by another tenant.")
        role = self.roles.get(principal, self.default_role)
        if manages and not self.management:
            raise Refused(
                403,
                f"The given request [{what}] cannot be authorized by AAD token in data plane. "
                f"{_LEARN}",
                sub=5300,
            )
        if role == "none" or (write and role != "contributor"):
            raise Refused(
                403,
                "Request blocked by Auth: Request is blocked because principal "
                f"[{principal}] does not have required RBAC permissions to perform action "
                f"[{what}] on resource [/]. {_LEARN}",
                sub=5301,
            )

    def _signed_in(self, authorization: str) -> tuple[str, str, float]:
        if (known := self._known.get(authorization)) is not None:
            return known
        text = unquote(authorization) if "%3" in authorization else authorization
        parts = dict(part.partition("=")[::2] for part in text.split("&"))
        if parts.get("type") == "master":
            raise Refused(
                401, "Local Authorization is disabled. Use an AAD token to authorize all requests."
            )
        if parts.get("type") != "aad" or parts.get("ver") != "1.0":
            raise Refused(401, "Required Header authorization is missing or invalid.")
        for audience in _AUDIENCES:
            claims = claims_of(f"Bearer {parts.get('sig', '')}", audience)
            if claims is not None:
                expiry = float(str(claims["exp"]))
                found = str(claims["oid"]), str(claims["tid"]), expiry
                self._known[authorization] = found
                return found
        raise Refused(401, "The input authorization token can't serve the request.")
