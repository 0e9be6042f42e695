"""Azure Cosmos DB driver, over azure-cosmos.

A commit is one transactional batch (committing.py). Reads are strong (reading.py), in the
indexes too; index queries and scans ask every physical partition (merging.py). Changes
come from the service's change feed (feed.py). Expired rows are invisible at once and
removed by the service's own expiry. Costs, in request units: a point read takes 2 for each
1 KB, a write about 6 and 1 for each index it is in, an index query 3 for each physical
partition at least.
"""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace

from azure.cosmos.aio import CosmosClient

from services.azure.clients import AzureClients
from services.records.cosmos.account import account_client, close_client
from services.records.cosmos.calls import ContainerCalls
from services.records.cosmos.committing import Committer
from services.records.cosmos.feed import Feed
from services.records.cosmos.identity import StoreIdentity
from services.records.cosmos.opening import open_account, open_container, open_identity
from services.records.cosmos.reading import Reader
from services.records.cosmos.schema import OWN_PK
from services.records.port import (
    Capabilities,
    ChangePage,
    DriverUnavailable,
    Index,
    Item,
    ItemPage,
    Key,
    Put,
)
from services.records.port_texts import check_puts
from services.records.under_way import UnderWay

__all__ = ["CosmosDriver"]

_FEED_SECONDS = 25.0
_TTL_SECONDS = 48 * 3600.0
"""Rows are left for a day, for clocks that differ; then the service removes them when it
has request units to spare ("Time to Live")."""
_CAPABILITIES = Capabilities(
    consistent_index_reads=True,
    ordered_change_feed=True,
    expiry_precision_seconds=_TTL_SECONDS,
    multi_process=True,
    ordered_scan=True,
)


class CosmosDriver:
    """The record driver for a container of Cosmos DB. Make one with `open`."""

    name = "cosmos"

    def __init__(
        self,
        clients: AzureClients,
        client: CosmosClient,
        calls: ContainerCalls,
        *,
        identity: StoreIdentity,
        capabilities: Capabilities,
        clock: Callable[[], float],
    ) -> None:
        self.capabilities = capabilities
        self._clients = clients
        self._client = client
        self._calls = calls
        self._clock = clock
        self._identity = identity
        self._reader = Reader(calls, now=self._now)
        self._feed = Feed(calls, identity=identity.read, now=self._now)
        self._committer = Committer(calls, self._reader, now=self._now)
        self._commits = UnderWay()
        self._closed = False

    @classmethod
    async def open(
        cls,
        clients: AzureClients,
        account: str,
        database: str,
        container: str,
        *,
        clock: Callable[[], float] = time.time,
        read_only: bool = False,
    ) -> CosmosDriver:
        """Open `container`, which `wm setup azure` made; `read_only`: nothing is written.

        `clients` belong to the driver from then on: `close` closes them. `clock` tells
        unix seconds (expiry is judged by it, so hosts need synchronised clocks). Raises
        WorkspaceError with the remedy when the account is not strongly consistent, when
        the container is missing or of another form, or when it cannot be reached with
        these credentials.
        """
        client = account_client(clients, account)
        try:
            last_writer_wins = await open_account(client, account)
            calls = ContainerCalls(
                client, database, container, seconds=clients.place.call_seconds
            )
            properties = await open_container(calls)
            identity = StoreIdentity(
                calls, account, str(properties["_rid"]), read_only=read_only
            )
            await open_identity(calls, identity)
        except BaseException:
            await close_client(client)
            raise
        capabilities = replace(_CAPABILITIES, last_writer_wins=last_writer_wins)
        return cls(
            clients, client, calls, identity=identity, capabilities=capabilities, clock=clock
        )

    async def get(self, key: Key) -> Item | None:
        self._check_open()
        return await self._reader.get(key)

    async def batch_get(self, keys: Sequence[Key]) -> list[Item | None]:
        self._check_open()
        return await self._reader.batch_get(keys)

    async def query(
        self,
        index: Index,
        partition: str,
        *,
        lower: str = "",
        upper: str | None = None,
        limit: int = 100,
        after: str | None = None,
        descending: bool = False,
    ) -> ItemPage:
        self._check_open()
        return await self._reader.query(
            index, partition, lower=lower, upper=upper, limit=limit, after=after,
            descending=descending,
        )  # fmt: skip

    async def commit(self, pk: str, puts: Sequence[Put]) -> list[str]:
        """See the port. A caller that leaves does not stop it."""
        check_puts(pk, puts)
        if pk == OWN_PK:
            raise ValueError(f"the partition {pk} is the driver's own")
        self._check_open()
        return await self._commits.run(self._committer.commit(pk, puts))

    async def changes(self, cursor: str | None, limit: int) -> ChangePage:
        self._check_open()
        async with self._bounded():
            return await self._feed.changes(cursor, limit)

    async def tail(self) -> str:
        self._check_open()
        async with self._bounded():
            return await self._feed.tail()

    async def scan(self, after: Key | None, limit: int) -> Sequence[Item]:
        self._check_open()
        return await self._reader.scan(after, limit)

    async def identity(self) -> str:
        self._check_open()
        return await self._identity.read()

    async def close(self) -> None:
        """Waits for commits under way."""
        if self._closed:
            return
        self._closed = True
        await self._commits.wait()
        await close_client(self._client)
        await self._clients.close()

    def _now(self) -> int:
        return math.floor(self._clock())

    def _check_open(self) -> None:
        if self._closed:
            raise DriverUnavailable("the record store is closed")

    @asynccontextmanager
    async def _bounded(self) -> AsyncIterator[None]:
        try:
            async with asyncio.timeout(_FEED_SECONDS):
                yield
        except TimeoutError:
            raise DriverUnavailable(
                f"Cosmos DB container {self._calls.name}: reading the change feed takes too long"
            ) from None
