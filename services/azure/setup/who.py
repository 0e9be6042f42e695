"""Who sets up, and in which subscription.

The object id of the signed-in user or application is in its own access token (claim `oid`;
Microsoft Learn, "Access token claims reference"). The token is read, not verified: it is
ours, and Azure decides what it may do.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from services.azure.setup.api import ArmApi
from services.model.errors import invalid_field
from services.setup.patience import refused

__all__ = ["Who", "who_am_i"]

_VERSION: Final = "2022-12-01"


@dataclass(frozen=True, slots=True)
class Who:
    """`principal` is '' for credentials that do not say whose they are. `kind` is `User`,
    `ServicePrincipal`, or '' where that is not said either."""

    subscription: str
    name: str
    tenant: str
    principal: str
    kind: str

    @property
    def path(self) -> str:
        return f"/subscriptions/{self.subscription}"


async def who_am_i(api: ArmApi, subscription: str) -> Who:
    """Raises INVALID_FIELD where there is more than one subscription and none is named,
    INVALID_STATE for one that cannot be used."""
    claims = _claims(await api.token())
    tenant = str(claims.get("tid", ""))
    found = await _subscription(api, subscription, tenant)
    state = str(found.get("state", ""))
    if state not in ("Enabled", "PastDue"):
        raise refused(
            f"subscription {found['subscriptionId']} is {state or 'not enabled'}: enable it, or "
            "name another with AZURE_SUBSCRIPTION_ID", field="AZURE_SUBSCRIPTION_ID",
        )  # fmt: skip
    return Who(
        str(found["subscriptionId"]), str(found.get("displayName", "")), tenant,
        str(claims.get("oid", "")), _kind(claims),
    )  # fmt: skip


async def _subscription(api: ArmApi, wanted: str, tenant: str) -> Mapping[str, Any]:
    if wanted:
        path = f"/subscriptions/{wanted}"
        one = await api.read(path, _VERSION, f"subscription {wanted}", within=False)
        if one is None:
            raise _unknown(wanted, tenant)
        return one
    usable = [
        each
        for each in await api.listed("/subscriptions", _VERSION, "the subscriptions")
        if each.get("state") in ("Enabled", "PastDue")
    ]
    if not usable:
        raise refused(
            f"these credentials see no subscription in tenant {tenant}: sign in to the tenant "
            "that has it (`az login --tenant ID`, or AZURE_TENANT_ID), or have the role "
            "'Contributor' assigned on one",
            field="AZURE_SUBSCRIPTION_ID",
        )
    if len(usable) > 1:
        shown = ", ".join(f"{each['subscriptionId']} ({each['displayName']})" for each in usable)
        raise invalid_field(
            "AZURE_SUBSCRIPTION_ID", f"is needed (or --subscription): there are {shown}"
        )
    return usable[0]


def _unknown(wanted: str, tenant: str) -> Exception:
    return refused(
        f"there is no subscription {wanted} for these credentials, which are of tenant {tenant}: "
        "look at AZURE_SUBSCRIPTION_ID, or sign in to its tenant (`az login --tenant ID`, or "
        "AZURE_TENANT_ID)",
        field="AZURE_SUBSCRIPTION_ID",
    )


def _claims(token: str) -> dict[str, Any]:
    """Empty for a token that is no JWT."""
    try:
        text = token.split(".")[1]
        found = json.loads(base64.urlsafe_b64decode(text + "=" * (-len(text) % 4)))
    except (IndexError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def _kind(claims: Mapping[str, Any]) -> str:
    """Optional claim `idtyp`; delegated permissions (`scp`) are a user's."""
    said = str(claims.get("idtyp", ""))
    if said in ("user", "app"):
        return "User" if said == "user" else "ServicePrincipal"
    return "User" if "scp" in claims else ""
