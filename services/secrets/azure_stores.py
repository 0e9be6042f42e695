"""The stores of Azure that keep secrets, on the same credentials."""

from __future__ import annotations

from services.azure.clients import AzureClients
from services.secrets.azure_app_configuration import AppConfiguration
from services.secrets.azure_key_vault import KeyVault
from services.secrets.port import SecretStore
from services.secrets.reference import Reference, Service

__all__ = ["AzureStores"]


class AzureStores:
    """Owns `clients`. Values of App Configuration that lead to a vault are read there."""

    def __init__(self, clients: AzureClients) -> None:
        self._clients = clients
        self._vault = KeyVault(clients)
        self._configuration = AppConfiguration(clients, vault=self._vault)

    def of(self, reference: Reference) -> SecretStore:
        """That of a reference that leads to Azure."""
        return self._vault if reference.service is Service.KEY_VAULT else self._configuration

    async def close(self) -> None:
        await self._configuration.close()
        await self._vault.close()
        await self._clients.close()
