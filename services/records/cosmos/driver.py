"""Azure Cosmos DB driver, over azure-cosmos.

A commit is one transactional batch (committing.py). Reads are strong (reading.py), in the
indexes too; index queries and scans ask every physical partition (merging.py). Changes
come from the service's change feed (feed.py). Expired rows are invisible at once and
removed by the service's own expiry. Costs, in request units: a point read takes 2 for each
1 KB, a write about 6 and 1 for each index it is in, an index query 3 for each physical
partition at least.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable

from azure.cosmos.aio import CosmosClient

from services.azure.clients import AzureClients
from services.records.cosmos.account import account_client, close_client
from services.records.cosmos.calls import ContainerCalls
from services.records.cosmos.committing import Committer
from services.records.cosmos.feed import Feed
from services.records.cosmos.gathering import Gathering
from services.records.cosmos.identity import StoreIdentity
from services.records.cosmos.opening import open_account, open_container, open_identity
from services.records.cosmos.reading import Reader
from services.records.cosmos.schema import is_own
from services.records.port import Capabilities
from services.records.remote import RemoteDriver

__all__ = ["CosmosDriver"]

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


class CosmosDriver(RemoteDriver):
    """The record driver for a container of Cosmos DB. Make one with `open`."""

    name = "cosmos"
    capabilities = _CAPABILITIES

    def __init__(
        self,
        clients: AzureClients,
        client: CosmosClient,
        calls: ContainerCalls,
        *,
        identity: StoreIdentity,
        gathering: Gathering,
        clock: Callable[[], float],
    ) -> None:
        self._clients = clients
        self._client = client
        self._calls = calls
        self._clock = clock
        reader = Reader(calls, now=self._now, gathering=gathering)
        super().__init__(
            f"Cosmos DB container {calls.name}", reader=reader,
            feed=Feed(calls, identity=identity.read, now=self._now), identity=identity.read,
            commit=Committer(calls, reader, now=self._now).commit, is_own=is_own,
        )  # fmt: skip

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
        WorkspaceError with the remedy when the account is not strongly consistent or writes
        in several regions, when the container is missing or of another form, or when it
        cannot be reached with these credentials.
        """
        client = account_client(clients, account)
        try:
            await open_account(client, account)
            calls = ContainerCalls(
                client, database, container, seconds=clients.place.call_seconds
            )
            properties = await open_container(calls)
            identity = StoreIdentity(
                calls, account, str(properties["_rid"]), read_only=read_only
            )
            gathering = Gathering(calls)
            await open_identity(calls, identity, gathering)
        except BaseException:
            await close_client(client)
            raise
        return cls(
            clients, client, calls, identity=identity, gathering=gathering, clock=clock
        )

    async def close(self) -> None:
        """Reads under way are ended, commits are waited for."""
        if await self._end():
            await close_client(self._client)
            await self._clients.close()

    def _now(self) -> int:
        return math.floor(self._clock())
