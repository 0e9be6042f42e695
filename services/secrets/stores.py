"""The stores that references lead to, each opened when it is first asked."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING

from services.aws.place import AwsPlace
from services.aws.selected import aws_place
from services.azure.place import AzurePlace
from services.azure.selected import azure_place
from services.secrets.environment import EnvironmentSecrets
from services.secrets.files import FileSecrets
from services.secrets.port import SecretStore
from services.secrets.reference import Reference, Service

if TYPE_CHECKING:
    from services.aws.clients import AwsClients
    from services.secrets.azure_stores import AzureStores
    from services.settings import Settings

__all__ = ["SecretStores", "open_stores"]


class SecretStores:
    """`aws` says where AWS is, but for references that name a region, `azure` where Azure
    is. Imports an SDK when the first reference needs it."""

    def __init__(
        self, aws: AwsPlace, azure: AzurePlace, *, variables: Mapping[str, str] = os.environ
    ) -> None:
        self._aws = aws
        self._azure = azure
        self._environment = EnvironmentSecrets(variables)
        self._clients: dict[str, AwsClients] = {}
        self._on_azure: AzureStores | None = None

    def of(self, reference: Reference) -> SecretStore:
        """The store of a reference. Raises INVALID_STATE where the SDK is missing."""
        if reference.service is Service.ENVIRONMENT:
            return self._environment
        if reference.service is Service.FILE:
            return FileSecrets()
        if reference.service in (Service.KEY_VAULT, Service.APP_CONFIGURATION):
            return self._azure_stores().of(reference)
        clients = self._clients_of(reference.region or self._aws.region)
        if reference.service is Service.SECRETS_MANAGER:
            from services.secrets.aws_secrets_manager import SecretsManager

            return SecretsManager(clients)
        from services.secrets.aws_parameter_store import ParameterStore

        return ParameterStore(clients)

    async def close(self) -> None:
        """End the clients."""
        stores, self._on_azure = self._on_azure, None
        if stores is not None:
            await stores.close()
        while self._clients:
            _, clients = self._clients.popitem()
            await clients.close()

    def _clients_of(self, region: str) -> AwsClients:
        from services.aws.clients import AwsClients

        if region not in self._clients:
            self._clients[region] = AwsClients(replace(self._aws, region=region), workers=4)
        return self._clients[region]

    def _azure_stores(self) -> AzureStores:
        from services.azure.clients import AzureClients
        from services.secrets.azure_stores import AzureStores

        if self._on_azure is None:
            self._on_azure = AzureStores(AzureClients(self._azure))
        return self._on_azure


def open_stores(settings: Settings) -> SecretStores:
    """Stores where the settings put the clouds."""
    return SecretStores(aws_place(settings), azure_place(settings))
