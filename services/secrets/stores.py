"""The stores that references lead to, each opened when it is first asked."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING

from services.aws.place import AwsPlace
from services.secrets.environment import EnvironmentSecrets
from services.secrets.port import SecretStore
from services.secrets.reference import Reference, Service

if TYPE_CHECKING:
    from services.aws.clients import AwsClients

__all__ = ["SecretStores"]


class SecretStores:
    """`place` says where AWS is, but for references that name a region. Imports the SDK
    when the first reference needs it."""

    def __init__(self, place: AwsPlace, *, variables: Mapping[str, str] = os.environ) -> None:
        self._place = place
        self._environment = EnvironmentSecrets(variables)
        self._clients: dict[str, AwsClients] = {}

    def of(self, reference: Reference) -> SecretStore:
        """The store of a reference. Raises INVALID_STATE where the SDK is missing."""
        if reference.service is Service.ENVIRONMENT:
            return self._environment
        clients = self._clients_of(reference.region or self._place.region)
        if reference.service is Service.SECRETS_MANAGER:
            from services.secrets.aws_secrets_manager import SecretsManager

            return SecretsManager(clients)
        from services.secrets.aws_parameter_store import ParameterStore

        return ParameterStore(clients)

    async def close(self) -> None:
        """End the clients."""
        while self._clients:
            _, clients = self._clients.popitem()
            await clients.close()

    def _clients_of(self, region: str) -> AwsClients:
        from services.aws.clients import AwsClients

        if region not in self._clients:
            self._clients[region] = AwsClients(replace(self._place, region=region), workers=4)
        return self._clients[region]
