"""Cosmos DB and Blob Storage, or emulators of them on this machine, as a surface.

Credentials are tokens only: those of the connection's own application, else those of the
server (environment, workload identity, managed identity, `az login`).
    WM_CONNECTION_<ID>_TENANT_ID, ..._CLIENT_ID, ..._CLIENT_SECRET
(the id in capitals, `-` as `_`). A token is sent to hosts of Azure, and to emulators on this
machine over TLS under the authority that the manifest names; to nothing else, whatever a
manifest says.
"""

from __future__ import annotations

import asyncio
import os
import re
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from functools import partial
from typing import TYPE_CHECKING, Final, TypeVar

from workspace.sync.v1.connection_pb2 import Connection

from services.azure.place import AzurePlace
from services.model.errors import invalid_field
from services.objects.store import ObjectStore
from services.records.port import RecordDriver
from sync_svc.connections.stores_azure import emulator_problem
from sync_svc.surfaces import cloud

if TYPE_CHECKING:  # an extra, and slow to import
    from services.azure.clients import AzureClients, AzureSecret

__all__ = ["clients_of", "open_blob_objects", "open_cosmos_records", "place_of", "secret_of"]

T = TypeVar("T")
_OPEN_SECONDS = 11.0
_CALL_SECONDS = 6.0
_PARTS: Final = ("TENANT_ID", "CLIENT_ID", "CLIENT_SECRET")
_TENANT: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9.-]{0,252}", re.ASCII)
_ENDPOINTS: Final = ("cosmos", "blob")


def secret_of(
    connection: Connection, environment: Mapping[str, str] = os.environ
) -> AzureSecret | None:
    """The connection's own credentials; None: it has none. Raises INVALID_STATE for a part
    of them."""
    names = [cloud.variable_of(connection.connection_id, part) for part in _PARTS]
    given = [environment.get(name, "") for name in names]
    if not any(given):
        return None
    if not all(given):
        missing = ", ".join(name for name, value in zip(names, given, strict=True) if not value)
        raise _words(connection).refused(f"{', '.join(names)} go together: {missing} is not set")
    if not _TENANT.fullmatch(given[0]):
        raise _words(connection).refused(f"{names[0]} must be the id or a domain of a tenant")
    from services.azure.clients import AzureSecret

    return AzureSecret(*given)


def place_of(connection: Connection) -> AzurePlace:
    """Where the stores are. Raises INVALID_FIELD for a host that gets no token of ours."""
    settings = connection.settings
    if found := emulator_problem(settings):
        name, problem = found
        raise invalid_field(f"connection.settings.{name}", problem)
    endpoints = {
        service: url.rstrip("/")
        for service in _ENDPOINTS
        if (url := settings.get(f"{service}_endpoint", ""))
    }
    ca_file = settings.get("ca_file", "")
    if ca_file:
        _require_authority(ca_file)
    return AzurePlace(
        settings.get("cloud", "") or "public", endpoints, ca_file, call_seconds=_CALL_SECONDS
    )


@asynccontextmanager
async def clients_of(connection: Connection) -> AsyncIterator[AzureClients]:
    """Clients for a while, with the credentials of the connection."""
    clients = await asyncio.to_thread(_clients, connection)
    try:
        yield clients
    finally:
        await clients.close()


async def open_cosmos_records(connection: Connection, *, read_only: bool) -> RecordDriver:
    """The container that the manifest names. Raises BACKEND_UNAVAILABLE, INVALID_STATE,
    STORAGE_FULL, each with its remedy."""
    settings = connection.settings
    account, database = settings["cosmos_account"], settings["cosmos_database"]
    container = settings["cosmos_container"]

    async def opening(clients: AzureClients) -> RecordDriver:
        from services.records.cosmos import CosmosDriver

        return await CosmosDriver.open(
            clients, account, database, container, read_only=read_only
        )

    return await _opened(connection, opening, f"the container {account}/{database}/{container}")


async def open_blob_objects(connection: Connection, *, read_only: bool) -> ObjectStore:
    """The container of blobs that the manifest names. Raises like `open_cosmos_records`,
    and INVALID_STATE for writing to one that everybody may read."""
    settings = connection.settings
    account, container = settings["storage_account"], settings["storage_container"]

    async def opening(clients: AzureClients) -> ObjectStore:
        from services.objects.azure_blob import AzureBlobDriver

        driver = await AzureBlobDriver.open(clients, account, container, read_only=read_only)
        try:
            if not read_only:
                await driver.require_private()
        except BaseException:
            await driver.close()
            raise
        return ObjectStore(driver)

    return await _opened(connection, opening, f"the container {account}/{container}")


def _clients(connection: Connection) -> AzureClients:
    """In a thread: importing the SDK takes a second."""
    from services.azure.clients import AzureClients

    return AzureClients(place_of(connection), secret=secret_of(connection))


def _require_authority(path: str) -> None:
    try:
        ssl.create_default_context(cafile=path)
    except OSError:  # ssl.SSLError is one
        text = "is not a PEM file of authorities that this server can read"
        raise invalid_field("connection.settings.ca_file", text) from None


async def _opened(
    connection: Connection, opening: Callable[[AzureClients], Awaitable[T]], what: str
) -> T:
    clients = await asyncio.to_thread(_clients, connection)
    return await cloud.opened(clients, opening, _words(connection, what), seconds=_OPEN_SECONDS)


def _words(connection: Connection, what: str = "") -> cloud.Words:
    return cloud.Words("azure", what, partial(_remedies, connection))


def _remedies(connection: Connection) -> dict[str, str]:
    from services.azure.failures import Kind

    tenant, client, secret = (
        cloud.variable_of(connection.connection_id, part) for part in _PARTS
    )
    return {
        Kind.NO_CREDENTIALS.value: f"set {tenant}, {client} and {secret} in the environment of "
        "this server, or give it a managed identity, or sign in there with `az login`",
        Kind.BAD_CREDENTIALS.value: "Azure does not take these credentials: they must be of the "
        f"tenant that has the account; look at {tenant}, {client} and {secret}, or sign in again "
        "with `az login` on this server",
        Kind.MISSING.value: "it does not exist: make it with `wm setup azure`, or name the right "
        f"one with `wm connections set {connection.connection_id}`",
    }
