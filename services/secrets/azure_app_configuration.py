"""Secrets that a store of Azure App Configuration leads to (REST reference: Key-values).

A value that is a Key Vault reference is followed, once. Others are taken as they are, and
the log says so: who may read settings would read them.
"""

from __future__ import annotations

import json
import logging
from typing import Any, Final

from azure.appconfiguration.aio import AzureAppConfigurationClient

from services.azure.clients import AzureClients
from services.secrets.azure_calls import ask
from services.secrets.port import ReadOnlyStore, SecretProblem, SecretStore, SecretValue
from services.secrets.reference import Reference, Service, parse_reference

__all__ = ["AppConfiguration"]

_TO_VAULT: Final = "application/vnd.microsoft.appconfig.keyvaultref+json"
_log = logging.getLogger("workspace.secrets")


class AppConfiguration(ReadOnlyStore):
    """Reads with one client for each store; `vault` reads what values refer to."""

    def __init__(self, clients: AzureClients, *, vault: SecretStore) -> None:
        self._clients = clients
        self._vault = vault
        self._stores: dict[str, AzureAppConfigurationClient] = {}

    async def read(self, reference: Reference) -> SecretValue:
        store, label = self._store(reference.place), reference.version or None
        setting: Any = await ask(
            "configuration", lambda: store.get_configuration_setting(reference.name, label)
        )
        if str(setting.content_type or "").startswith(_TO_VAULT):
            return await self._followed(str(setting.value or ""))
        _log.warning("%s is a plain value: keep it in Key Vault, and refer to it", reference)
        return SecretValue(str(setting.value or ""), str(setting.etag or ""))

    async def close(self) -> None:
        """End the clients of the stores; not what they were made of."""
        while self._stores:
            _, client = self._stores.popitem()
            await client.close()

    async def _followed(self, value: str) -> SecretValue:
        target = _target(value)
        try:
            return await self._vault.read(target)
        except SecretProblem as problem:
            raise SecretProblem(
                f"refers to {target}, which {problem}", role=problem.role, passing=problem.passing
            ) from None

    def _store(self, name: str) -> AzureAppConfigurationClient:
        if name not in self._stores:
            self._stores[name] = AzureAppConfigurationClient(
                self._clients.place.configuration_url(name),
                self._clients.credential,
                **self._clients.options(),
            )
        return self._stores[name]


def _target(value: str) -> Reference:
    """What `{"uri": "https://VAULT.vault.azure.net/secrets/NAME"}` names."""
    try:
        found = parse_reference(json.loads(value)["uri"])
    except (ValueError, KeyError, TypeError, RecursionError):
        found = None
    if found is None or found.service is not Service.KEY_VAULT or found.member:
        raise SecretProblem("is a Key Vault reference without the URL of a secret: mend it")
    return found
