"""Containers of Cosmos DB for the record conformance suite: the fake, or an account.

With WM_LIVE_AZURE=1 prepared containers of the account WM_LIVE_COSMOS_ACCOUNT are used,
with the credentials of the environment: WM_LIVE_COSMOS_CONTAINERS names two of them at
least, as `wm-test-1,wm-test-2`, made by `wm setup azure` in the database
WM_LIVE_COSMOS_DATABASE. Data-plane credentials cannot make containers, so stores take turns
with these, and all rows of a container are removed before its next turn. The names have to
begin with `wm-test`. One process alone may use them (`-n 0`).
"""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from functools import cache
from itertools import cycle
from typing import Any, Protocol

from services.azure.clients import AzureClients
from services.azure.place import AzurePlace
from services.records.cosmos import CosmosDriver
from services.records.cosmos.account import account_client, close_client
from services.records.cosmos.codec import item_of
from services.records.cosmos.ids import id_of
from services.records.cosmos.schema import OWN_PK, container_definition
from services.records.port import Item, Key, RecordDriver
from tests.servers import azure

__all__ = [
    "CONTAINER", "DATABASE", "CosmosStore", "FakeContainer", "LiveContainer", "SweptContainer",
    "raw_rows",
]  # fmt: skip

ACCOUNT, DATABASE, CONTAINER = "fakeaccount", "workspace", "workspace_items"


class Place(Protocol):
    """Where a container is."""

    account: str
    database: str
    container: str

    def clients(self, call_seconds: float = 10.0) -> AzureClients: ...

    async def empty(self) -> None: ...


class FakeContainer:
    """A container of an account of its own, with two physical partitions."""

    def __init__(self, *, partitions: int = 2, **settings: Any) -> None:
        self.account, self.database, self.container = ACCOUNT, DATABASE, CONTAINER
        self.fake = azure.cosmos_account(**{"consistency": "Strong", **settings})
        definition = container_definition(CONTAINER)
        self.fake.make_container(DATABASE, definition, partitions=partitions)

    def clients(self, call_seconds: float = 10.0) -> AzureClients:
        return AzureClients(
            AzurePlace(
                endpoints={"cosmos": self.fake.url}, ca_file=azure.ca_file(),
                call_seconds=call_seconds,
            )
        )  # fmt: skip

    async def empty(self) -> None:
        """It is."""


@cache
def live_containers() -> Iterator[str]:
    """The prepared ones, in turn."""
    names = os.environ["WM_LIVE_COSMOS_CONTAINERS"].split(",")
    if len(set(names)) < 2 or not all(name.startswith("wm-test") for name in names):
        raise ValueError("WM_LIVE_COSMOS_CONTAINERS: two names at least, each wm-test...")
    return cycle(names)


class LiveContainer:
    """A prepared one of an account."""

    def __init__(self) -> None:
        self.account = os.environ["WM_LIVE_COSMOS_ACCOUNT"]
        self.database = os.environ.get("WM_LIVE_COSMOS_DATABASE", DATABASE)
        self.container = next(live_containers())

    def clients(self, call_seconds: float = 10.0) -> AzureClients:
        return AzureClients(AzurePlace(call_seconds=call_seconds))

    async def empty(self) -> None:
        clients = self.clients()
        client = account_client(clients, self.account)
        try:
            proxy = client.get_database_client(self.database).get_container_client(self.container)
            async for row in raw_rows(proxy):
                await proxy.delete_item(row["id"], partition_key=row["pk"])
        finally:
            await close_client(client)
            await clients.close()


class SweptContainer(CosmosDriver):
    """With `collect_expired` in the place of the service's own expiry, which comes a day
    late and believes the wall clock."""

    async def collect_expired(self, limit: int) -> int:
        found: list[Key] = []
        async for row in raw_rows(self._calls.proxy):
            item = None if row["pk"] == OWN_PK else item_of(row)
            if item and item.expires_at is not None and item.expires_at <= self._clock():
                found.append(item.key)
        for key in found[:limit]:
            await self._calls.proxy.delete_item(id_of(key.sk), partition_key=key.pk)
        return len(found[:limit])


class Surroundings(Protocol):
    """Of `Environment`, what a store needs."""

    clock: Any
    opened: list[Any]


class CosmosStore:
    """A container of its own."""

    snapshots = False

    def __init__(self, environment: Surroundings, place: Callable[[], Place]) -> None:
        self._environment = environment
        self.place = place()
        self._emptied = False

    async def open(self, *, call_seconds: float = 10.0) -> SweptContainer:
        if not self._emptied:
            self._emptied = True
            await self.place.empty()
        driver = await SweptContainer.open(
            self.place.clients(call_seconds), self.place.account, self.place.database,
            self.place.container, clock=self._environment.clock,
        )  # fmt: skip
        self._environment.opened.append(driver)
        return driver

    async def snapshot(self, *, page: int) -> AsyncIterator[list[Item]]:
        """All rows in key order, though not of one moment."""
        driver: RecordDriver = await self.open()
        after: Key | None = None
        while found := await driver.scan(after, page):
            yield list(found)
            after = found[-1].key


async def raw_rows(proxy: Any) -> AsyncIterator[Mapping[str, Any]]:
    """Every stored row, the driver's own included."""
    async for row in proxy.query_items("SELECT * FROM c"):
        yield row
