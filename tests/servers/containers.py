"""Containers of blobs for tests: on Azurite, or on Azure itself (`WM_LIVE_AZURE=1` with
`AZURE_STORAGE_ACCOUNT`)."""

from __future__ import annotations

import os
import uuid
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import Any
from unittest.mock import patch

from azure.core.credentials import AccessToken
from azure.storage.blob import ContainerClient
from azure.storage.blob.aio import BlobServiceClient

from services.azure.clients import AzureClients
from services.azure.place import AzurePlace
from tests.servers import azure

__all__ = [
    "LIVE", "Credential", "client", "credentials", "live_container", "local_clients",
    "new_container",
]  # fmt: skip

LIVE = os.environ.get("WM_LIVE_AZURE") == "1"
"""Whether tests may make (and delete) containers of a real account."""


class Credential:
    """The managed identity of the tests, without the search for it: for clients of the SDK
    that stand beside the workspace."""

    def get_token(self, *scopes: str, **_options: Any) -> AccessToken:
        return AccessToken(*azure.sign_in().token(scopes[0].removesuffix("/.default")))

    def close(self) -> None:
        """As credentials of the SDK."""


@contextmanager
def credentials() -> Iterator[None]:
    """The environment in which the SDK signs in to Azurite, and to nothing else."""
    names = ("AZURE_", "IDENTITY_", "MSI_")
    kept = {name: value for name, value in os.environ.items() if not name.startswith(names)}
    with patch.dict(os.environ, {**kept, **azure.environment()}, clear=True):
        yield


def local_clients(endpoint: str = "", *, call_seconds: float = 10.0) -> AzureClients:
    """Clients of Azurite, or of what stands before it."""
    found = azure.place({"blob": endpoint} if endpoint else None)
    return AzureClients(
        AzurePlace(
            endpoints=found.endpoints, ca_file=found.ca_file, call_seconds=call_seconds
        )
    )


def client(name: str) -> ContainerClient:
    """The SDK's client of a container of Azurite, as its owner; to be closed."""
    url = azure.place().blob_url(azure.ACCOUNT)
    return ContainerClient(url, name, Credential(), connection_verify=azure.ca_file())


def new_container(name: str = "", *, public: str | None = None) -> str:
    """An empty container of Azurite; it goes with the server. Its name is a new one when
    none is given."""
    name = name or azure.new_name()
    with client(name) as made:
        made.create_container(public_access=public)
    return name


@asynccontextmanager
async def live_container(account: str) -> AsyncIterator[str]:
    """A container of the account of the environment, deleted afterwards."""
    clients, name = AzureClients(AzurePlace()), f"wm-test-{uuid.uuid4().hex[:20]}"
    url = clients.place.blob_url(account)
    async with BlobServiceClient(url, clients.credential, **clients.options()) as service:
        container = await service.create_container(name)
        try:
            yield name
        finally:
            await container.delete_container()
            await clients.close()
