"""A tenant of Microsoft Entra whose people may sign in: a workforce tenant, or an
external one (Entra External ID).

Microsoft Learn: "Access token claims reference", "Access tokens in the Microsoft
identity platform" (issuer, signing keys and their `issuer`), "National clouds".
"""

from __future__ import annotations

import re
from typing import Final, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationInfo, field_validator

from services.azure.place import CLOUDS

__all__ = ["GUID", "EntraSettings"]

GUID: Final = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}")
"""As Entra writes ids into tokens: in lower case."""
_URI: Final = re.compile(r"(?:api|https)://[A-Za-z0-9._~/-]{1,240}")
_SCOPE: Final = re.compile(r"[\x21\x23-\x5b\x5d-\x7e]{1,120}")
# Everybody with a personal account of Microsoft is in this one.
_CONSUMERS: Final = "9188040d-6c67-4c5b-b112-36a304b66dad"
# Microsoft's own APIs (Graph is ...0003): their tokens are not for others to verify.
_MICROSOFT: Final = re.compile(r"0000000[0-9a-f]-0000-0000-c000-000000000000")
_V1_HOSTS: Final = {
    "public": "sts.windows.net",
    "usgovernment": "sts.windows.net",
    "china": "sts.chinacloudapi.cn",
}
_TEMPLATE: Final = "{tenantid}"
_V1: Final = "1.0"


class EntraSettings(BaseModel):
    """A tenant and the applications whose tokens are taken.

    Issuer and keys follow from the tenant's id; no setting or variable can put
    another host or tenant in their place.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    kind: Literal["entra"] = Field(default="entra", description="a tenant of Microsoft Entra")
    tenant_id: str = Field(description="the tenant's id, a GUID; never `common` or a domain")
    token_use: Literal["access", "id"] = Field(
        default="access", description="the one kind of its tokens that is taken"
    )
    token_version: Literal["1.0", "2.0"] = Field(
        default="2.0", description="their `ver`: 2.0 with accessTokenAcceptedVersion 2"
    )
    client_ids: tuple[str, ...] = Field(
        description="whom tokens are for: ids of app registrations made for this workspace; of "
        "access tokens 1.0 also their application id URIs, as api://..."
    )
    cloud: Literal["public", "usgovernment", "china"] = Field(
        default="public", description="which Azure: its sign-in host"
    )
    external: bool = Field(default=False, description="an external tenant, as TENANT.ciamlogin.com")
    scopes: tuple[str, ...] = Field(
        default=(), description="access tokens must have one of these `scp`; default: any"
    )
    authorized_clients: tuple[str, ...] = Field(
        default=(),
        description="programs that may call with access tokens (their `azp`); default: any "
        "to which the tenant gave a scope of this workspace",
    )
    guests: bool = Field(
        default=True, description="take guests of the tenant; false needs the claim `acct`"
    )
    max_token_seconds: int = Field(
        default=86_400, ge=60, le=86_400, description="longest life of a token that is taken"
    )

    @property
    def issuer(self) -> str:
        """The exact `iss` of its tokens."""
        if self.token_version == _V1:
            return self._v1_issuer
        return f"https://{self.host}/{self.tenant_id}/v2.0"

    @property
    def identity_issuer(self) -> str:
        """What people are known by: the same for both versions of the tokens."""
        return f"https://{self.host}/{self.tenant_id}/v2.0"

    @property
    def homes(self) -> frozenset[str]:
        """`idp` of those who are no guests; it is that of either version."""
        return frozenset({self.identity_issuer, self._v1_issuer})

    @property
    def host(self) -> str:
        """Of sign-in and signing keys."""
        return f"{self.tenant_id}.ciamlogin.com" if self.external else CLOUDS[self.cloud].login

    @property
    def keys_path(self) -> str:
        """Of the tenant's signing keys, at its host."""
        version = "" if self.token_version == _V1 else "v2.0/"
        return f"/{self.tenant_id}/discovery/{version}keys"

    @property
    def key_issuers(self) -> frozenset[str]:
        """`issuer` of keys that sign for this tenant, as such or for all tenants."""
        own = {
            self.issuer,
            self.identity_issuer,
            f"https://{CLOUDS[self.cloud].login}/{self.tenant_id}/v2.0",
        }
        return frozenset(own | {each.replace(self.tenant_id, _TEMPLATE) for each in own})

    @property
    def _v1_issuer(self) -> str:
        return f"https://{_V1_HOSTS[self.cloud]}/{self.tenant_id}/"

    @field_validator("tenant_id")
    @classmethod
    def _a_tenant(cls, value: str) -> str:
        tenant = value.lower()
        if GUID.fullmatch(tenant) is None or tenant == _CONSUMERS:
            raise ValueError(
                "must be the id of one tenant, a GUID as `az account show --query tenantId` "
                "says it: with common, organizations or consumers strangers would sign in"
            )
        return tenant

    @field_validator("client_ids")
    @classmethod
    def _some_applications(cls, value: tuple[str, ...], info: ValidationInfo) -> tuple[str, ...]:
        v1 = info.data.get("token_version") == _V1 and info.data.get("token_use") == "access"
        found = tuple(each.lower() if GUID.fullmatch(each.lower()) else each for each in value)
        for each in found:
            if _MICROSOFT.fullmatch(each):
                raise ValueError("tokens for Microsoft's own APIs, as Graph, are never taken")
            if not (GUID.fullmatch(each) or (v1 and _URI.fullmatch(each))):
                raise ValueError(
                    "must be ids of applications (GUIDs); application id URIs are the `aud` of "
                    "access tokens of token_version 1.0 alone"
                )
        if not found:
            raise ValueError(
                "name at least one application: with none, tokens for every other application "
                "of the tenant would be taken"
            )
        return found

    @field_validator("external")
    @classmethod
    def _external(cls, value: bool, info: ValidationInfo) -> bool:
        if value and info.data.get("cloud") != "public":
            raise ValueError("external tenants are in the public cloud")
        if value and info.data.get("token_version") == _V1:
            raise ValueError("external tenants have tokens of version 2.0; leave out the other")
        return value

    @field_validator("scopes")
    @classmethod
    def _some_scopes(cls, value: tuple[str, ...], info: ValidationInfo) -> tuple[str, ...]:
        if not all(map(_SCOPE.fullmatch, value)):
            raise ValueError("must be scopes as `scp` has them, without the application's URI")
        return _of_access_tokens(value, info)

    @field_validator("authorized_clients")
    @classmethod
    def _some_programs(cls, value: tuple[str, ...], info: ValidationInfo) -> tuple[str, ...]:
        found = tuple(map(str.lower, value))
        if not all(map(GUID.fullmatch, found)):
            raise ValueError("must be ids of applications (GUIDs)")
        return _of_access_tokens(found, info)

    @field_validator("guests")
    @classmethod
    def _no_guests(cls, value: bool, info: ValidationInfo) -> bool:
        if not value and info.data.get("external"):
            raise ValueError("the people of an external tenant are no guests; leave it out")
        return value


def _of_access_tokens(value: tuple[str, ...], info: ValidationInfo) -> tuple[str, ...]:
    if value and info.data.get("token_use") == "id":
        raise ValueError("is in access tokens alone; leave it out with token_use id")
    return value
