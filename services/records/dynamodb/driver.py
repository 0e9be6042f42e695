"""DynamoDB driver, over boto3.

A commit is one transaction (committing.py) that also writes a row of the change feed
(lanes.py, feed.py). Reads are strong (reading.py). Expired rows are invisible at once
and removed by DynamoDB's own expiry. Costs, in request units: a commit writes 2 for
each 1 KB of each row and 2 for its feed row; a point read takes 1 for each 4 KB.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import replace

from services.aws.clients import AwsClients
from services.records.dynamodb.calls import TableCalls
from services.records.dynamodb.committing import Committer
from services.records.dynamodb.feed import Feed
from services.records.dynamodb.feed_rows import FeedTable
from services.records.dynamodb.identity import StoreIdentity
from services.records.dynamodb.lanes import Lanes
from services.records.dynamodb.provision import await_active
from services.records.dynamodb.reading import Reader
from services.records.dynamodb.recent import RecentEntries
from services.records.dynamodb.schema import check_table, is_own
from services.records.port import Capabilities, ChangePage, Put
from services.records.remote import RemoteDriver

__all__ = ["DynamoDriver"]

_OPEN_SECONDS = 20.0
_TTL_SECONDS = 48 * 3600.0  # Developer Guide, "Time to Live": typically within two days
_CAPABILITIES = Capabilities(
    consistent_index_reads=False,
    ordered_change_feed=True,
    expiry_precision_seconds=_TTL_SECONDS,
    multi_process=True,
    ordered_scan=False,
)


class DynamoDriver(RemoteDriver):
    """The record driver for a DynamoDB table. Make one with `open`."""

    name = "dynamodb"

    def __init__(
        self,
        clients: AwsClients,
        table: str,
        *,
        identity: StoreIdentity,
        capabilities: Capabilities,
        clock: Callable[[], float],
        read_only: bool,
    ) -> None:
        calls = TableCalls(clients, table)
        feed_table = FeedTable(calls)
        self.capabilities = capabilities
        self._clients = clients
        self._table = table
        self._clock = clock
        self._recent = RecentEntries()
        self._lanes = Lanes(feed_table, clock=clock)
        self._committer = Committer(calls, self._lanes, now=self._now)
        identity.changed = self._lanes.disown
        reader = Reader(calls, now=self._now, recent=self._recent)
        feed = Feed(
            feed_table, identity=identity.read, read=reader.batch_get, settled=reader.settled,
            scan=reader.scan, clock=clock, read_only=read_only,
        )  # fmt: skip
        super().__init__(
            f"DynamoDB table {table}", reader=reader, feed=feed, identity=identity.read,
            commit=self._commit, is_own=is_own,
        )  # fmt: skip

    @classmethod
    async def open(
        cls,
        clients: AwsClients,
        table: str,
        *,
        clock: Callable[[], float] = time.time,
        read_only: bool = False,
    ) -> DynamoDriver:
        """Open `table`, which `wm setup aws` made; `read_only`: nothing is written.

        `clients` belong to the driver from then on: `close` closes them. `clock` tells
        unix seconds (expiry is judged by it, so hosts need synchronised clocks). Raises
        WorkspaceError with the remedy when the table is missing, of another schema, or
        not to be reached with these credentials.
        """
        description = await await_active(clients, table, seconds=_OPEN_SECONDS)
        capabilities = replace(_CAPABILITIES, last_writer_wins=check_table(description))
        calls = TableCalls(clients, table)
        table_id = str(description.get("TableId", ""))
        identity = StoreIdentity(calls, table_id, read_only=read_only)
        await identity.open()
        return cls(
            clients, table, identity=identity, capabilities=capabilities, clock=clock,
            read_only=read_only,
        )  # fmt: skip

    async def changes(self, cursor: str | None, limit: int) -> ChangePage:
        page = await super().changes(cursor, limit)
        if len(page.items) < limit:  # near its end; what is older the indexes have
            self._recent.note(page.items)
        return page

    async def close(self) -> None:
        """Reads under way are ended, commits are waited for, and this process's part of the
        feed ends."""
        if await self._end():
            await self._lanes.close()
            await self._clients.close()

    async def _commit(self, pk: str, puts: Sequence[Put]) -> list[str]:
        try:
            return await self._committer.commit(pk, puts)
        finally:
            self._recent.note(puts)  # also when it is not clear: entries are hints

    def _now(self) -> int:
        return math.floor(self._clock())
