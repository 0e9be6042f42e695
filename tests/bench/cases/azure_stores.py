"""Stores for the cases of Azure: servers on loopback, tokens of a fake sign-in.

Cosmos DB is our own fake (tests/fakes/cosmos): a process that keeps all in memory and
answers in about a millisecond of processor time, with two physical partitions. It says what
our side costs, and nothing of what Cosmos DB takes. Blob Storage is Azurite, in memory. Both
speak TLS and take processor time of this machine.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import Any
from urllib.parse import urlsplit

from services.azure.clients import AzureClients
from services.azure.place import AzurePlace
from services.objects.azure_blob import AzureBlobDriver
from services.objects.store import ObjectStore
from services.records.cosmos import CosmosDriver
from services.records.cosmos.schema import container_definition
from sync_svc.surfaces.surface import Surface
from tests.bench.surfaces import surface_of
from tests.servers import azure, tools
from tests.servers.containers import credentials, local_clients, new_container

__all__ = [
    "CONTAINER", "DATABASE", "MISSING_NPM", "container", "cosmos_clients", "opened_azure",
    "opened_blobs", "opened_records", "servers",
]  # fmt: skip

MISSING_NPM = "" if tools.HAS_NPM else "Azurite (npm)"
DATABASE, CONTAINER, _ACCOUNT = "workspace", "bench", "bench"
_PARTITIONS = 2


@contextmanager
def servers() -> Iterator[None]:
    """Credentials for the servers of tests; those that were started end."""
    with credentials():
        try:
            yield
        finally:
            azure.stop_servers()


def container(distant: str = "") -> str:
    """The URL of a new account with an empty container; through the proxy at `distant`."""
    account = azure.cosmos_account(consistency="Strong")
    account.make_container(DATABASE, container_definition(CONTAINER), partitions=_PARTITIONS)
    parts = urlsplit(account.url)
    host = urlsplit(distant).netloc if distant else parts.netloc
    return f"https://{host}{parts.path}"


def cosmos_clients(url: str) -> AzureClients:
    """Of the account at `url`."""
    return AzureClients(AzurePlace(endpoints={"cosmos": url}, ca_file=azure.ca_file()))


async def opened_records(url: str) -> CosmosDriver:
    """A driver of the container there."""
    return await CosmosDriver.open(cosmos_clients(url), _ACCOUNT, DATABASE, CONTAINER)


async def opened_blobs(name: str) -> ObjectStore:
    """The store of a container of Azurite."""
    driver: Any = await AzureBlobDriver.open(local_clients(), azure.ACCOUNT, name)
    return ObjectStore(driver)


@asynccontextmanager
async def opened_azure(name: str) -> AsyncIterator[Surface]:
    """A new surface of both."""
    driver = await opened_records(container())
    objects = await opened_blobs(new_container())
    async with surface_of(name, driver, objects) as surface:
        yield surface
