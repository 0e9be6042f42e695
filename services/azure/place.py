"""Where on Azure: a cloud and its host names, the endpoints of compatible servers.

Host names: Microsoft Learn, "Azure Government: services by endpoint", "Azure China 21Vianet:
developer guide".
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Final

__all__ = ["CLOUDS", "AzurePlace", "Cloud"]


@dataclass(frozen=True, slots=True)
class Cloud:
    """Host names of one Azure: sign-in, management, and what accounts' hosts end with."""

    login: str
    management: str
    cosmos: str
    blob: str
    vault: str
    configuration: str


CLOUDS: Final[Mapping[str, Cloud]] = MappingProxyType(
    {
        "public": Cloud(
            "login.microsoftonline.com", "management.azure.com", "documents.azure.com",
            "blob.core.windows.net", "vault.azure.net", "azconfig.io",
        ),
        "usgovernment": Cloud(
            "login.microsoftonline.us", "management.usgovcloudapi.net", "documents.azure.us",
            "blob.core.usgovcloudapi.net", "vault.usgovcloudapi.net", "azconfig.azure.us",
        ),
        "china": Cloud(
            "login.partner.microsoftonline.cn", "management.chinacloudapi.cn",
            "documents.azure.cn", "blob.core.chinacloudapi.cn", "vault.azure.cn",
            "azconfig.azure.cn",
        ),
    }
)  # fmt: skip
"""By the name in WM_AZURE_CLOUD."""


@dataclass(frozen=True, slots=True)
class AzurePlace:
    """`endpoints` are URLs by service (`cosmos`, `blob`, `management`, `vault`,
    `configuration`) of servers that speak the protocol and are not Azure. `ca_file`: a PEM
    of authorities instead of the public ones, for those servers. `call_seconds` bounds one
    attempt of a call, connecting included."""

    cloud: str = "public"
    endpoints: Mapping[str, str] = field(default_factory=dict)
    ca_file: str = ""
    call_seconds: float = 10.0

    @property
    def names(self) -> Cloud:
        return CLOUDS[self.cloud]

    def cosmos_url(self, account: str) -> str:
        """Of a Cosmos DB account."""
        return self._url("cosmos", f"{account}.{self.names.cosmos}:443")

    def blob_url(self, account: str) -> str:
        """Of a storage account; emulators have the account in the path."""
        endpoint = self.endpoints.get("blob")
        if endpoint:
            return f"{endpoint.rstrip('/')}/{account}"
        return self._url("blob", f"{account}.{self.names.blob}")

    def vault_url(self, vault: str) -> str:
        """Of a Key Vault."""
        return self._url("vault", f"{vault}.{self.names.vault}")

    def configuration_url(self, store: str) -> str:
        """Of an App Configuration store."""
        return self._url("configuration", f"{store}.{self.names.configuration}")

    def management_url(self) -> str:
        """Of Azure Resource Manager."""
        return self._url("management", self.names.management)

    def _url(self, service: str, host: str) -> str:
        return self.endpoints.get(service) or f"https://{host}"
