"""What a test asks of containers on Azure beside reading and writing.

Rights to know are not rights to use: what these credentials may not ask is left alone.
"""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Awaitable
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, TypeVar

from workspace.sync.v1.connection_pb2 import Connection

from sync_svc.connections.notable import Notable
from sync_svc.surfaces.azure import clients_of
from sync_svc.surfaces.surface import Surface

if TYPE_CHECKING:
    from azure.storage.blob.aio import BlobServiceClient

    from services.azure.clients import AzureClients

__all__ = ["can_be_recovered", "container_is_closed"]

T = TypeVar("T")


async def container_is_closed(surface: Surface, connection: Connection) -> None:
    """A public container is refused when it is opened for writing; one that is only read
    is told of here."""
    if not surface.read_only:
        return
    async with clients_of(connection) as clients, _blobs(clients, connection) as service:
        container = service.get_container_client(connection.settings["storage_container"])
        found = await _answer(container.get_container_properties())
    if found is not None and found.public_access:
        raise Notable(
            "everybody can read the container: switch public access of the storage account off"
        )


async def can_be_recovered(_: Surface, connection: Connection, __: float) -> None:
    """Deleted and replaced objects, and the records at any moment of the last days."""
    async with clients_of(connection) as clients:
        missing = [*await _deleted(clients, connection), *await _moments(clients, connection)]
    if missing:
        raise Notable(f"{' and '.join(missing)}: `wm setup azure` switches it on")


async def _deleted(clients: AzureClients, connection: Connection) -> list[str]:
    """(Whether versions are kept is known to Resource Manager alone, and no data role may
    ask there.)"""
    async with _blobs(clients, connection) as service:
        found = await _answer(service.get_service_properties())
    policy = None if found is None else found.get("delete_retention_policy")
    if policy is None or policy.enabled:
        return []
    return ["the storage account keeps no deleted files (soft delete)"]


async def _moments(clients: AzureClients, connection: Connection) -> list[str]:
    found = await _answer(_account(clients, connection.settings["cosmos_account"]))
    if found is None or found.get("continuousBackupEnabled") is not False:
        return []
    return ["the Cosmos DB account has no continuous backup"]


async def _account(clients: AzureClients, account: str) -> dict[str, Any]:
    """The account as the service tells it, which is more than the SDK passes on."""
    from services.records.cosmos.account import account_client, close_client

    said: dict[str, Any] = {}

    def look(response: Any) -> None:
        said.update(json.loads(response.http_response.text()))

    client = account_client(clients, account)
    try:
        await client.__aenter__()  # which does not close it when it fails
        await client._get_database_account(raw_response_hook=look)
    finally:
        await close_client(client)
    return said


@asynccontextmanager
async def _blobs(clients: AzureClients, connection: Connection) -> AsyncIterator[BlobServiceClient]:
    from azure.storage.blob.aio import BlobServiceClient

    from services.azure.one_resource import STORAGE, OneResource

    url = clients.place.blob_url(connection.settings["storage_account"])
    credential = OneResource(clients.credential, STORAGE)
    async with BlobServiceClient(url, credential, **clients.options()) as service:
        yield service


async def _answer(asked: Awaitable[T]) -> T | None:
    """None when it is not allowed, or not known to the server."""
    from azure.core.exceptions import AzureError

    try:
        return await asked
    except (AzureError, OSError):
        return None
