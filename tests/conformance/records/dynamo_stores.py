"""Tables of DynamoDB for the record conformance suite: moto, DynamoDB Local, an account.

With WM_LIVE_AWS=1 the account of the environment's credentials is used, in the region
they name: tables `wm-test-<random>`, deleted when their test is over.
"""

from __future__ import annotations

import os
import uuid
from collections.abc import AsyncIterator, Callable, Mapping
from functools import cache
from typing import Any, Protocol

from services.aws.clients import AwsClients
from services.aws.place import AwsPlace
from services.records.dynamodb import DynamoDriver
from services.records.dynamodb.codec import item_of, key_attributes
from services.records.dynamodb.provision import ensure_table
from services.records.dynamodb.schema import is_own
from services.records.port import Item, Key, RecordDriver
from tests.servers import aws

__all__ = ["CLIENTS", "DynamoStore", "SweptTable", "raw_rows"]


class ClientsKept(AwsClients):
    """Making clients takes long; those of a server serve all its tests."""

    async def close(self) -> None:
        """They stay."""


@cache
def moto_clients() -> AwsClients:
    """One call at a time: moto's transactions copy tables and are not safe for threads."""
    return ClientsKept(aws.clients_of(aws.moto()).place, workers=1)


@cache
def local_clients() -> AwsClients:
    return ClientsKept(aws.clients_of(aws.dynamodb_local()).place)


@cache
def live_clients() -> AwsClients:
    region = os.environ.get("AWS_REGION") or os.environ["AWS_DEFAULT_REGION"]
    return ClientsKept(AwsPlace(region))


CLIENTS: Mapping[str, Callable[[], AwsClients]] = {
    "moto": moto_clients, "local": local_clients, "live": live_clients,
}  # fmt: skip


class SweptTable(DynamoDriver):
    """With `collect_expired` in the place of DynamoDB's own expiry, which takes hours
    and believes the wall clock."""

    async def collect_expired(self, limit: int) -> int:
        found = []
        async for attributes in raw_rows(self._clients, self._table):
            item = None if is_own(attributes["PK"]["S"]) else item_of(attributes)
            if item and item.expires_at is not None and item.expires_at <= self._clock():
                found.append(item.key)
        for key in found[:limit]:
            await self._clients.call(
                "dynamodb", "delete_item", TableName=self._table, Key=key_attributes(key)
            )
        return len(found[:limit])


class Surroundings(Protocol):
    """Of `Environment`, what a store needs."""

    clock: Any
    opened: list[Any]
    leaving: list[Any]


class DynamoStore:
    """A table of its own."""

    snapshots = False

    def __init__(self, environment: Surroundings, clients: Callable[[], AwsClients]) -> None:
        self._environment = environment
        self._clients = clients
        self._made = False
        self.table = f"wm-test-{uuid.uuid4().hex[:16]}"

    @property
    def clients(self) -> AwsClients:
        return self._clients()

    async def make(self) -> None:
        """The table, once; it is deleted with the environment."""
        if not self._made:
            self._made = True
            self._environment.leaving.append(self._remove)
            await ensure_table(self.clients, self.table, tags={"purpose": "test"})

    async def open(self) -> SweptTable:
        await self.make()
        driver = await SweptTable.open(
            self.clients, self.table, clock=self._environment.clock
        )
        self._environment.opened.append(driver)
        return driver

    async def snapshot(self, *, page: int) -> AsyncIterator[list[Item]]:
        """All rows in key order, though not of one moment."""
        driver: RecordDriver = await self.open()
        rows: list[Item] = []
        after: Key | None = None
        while found := await driver.scan(after, page):
            rows += found
            after = found[-1].key
        rows.sort(key=lambda item: item.key)
        for at in range(0, len(rows), page):
            yield rows[at : at + page]

    async def _remove(self) -> None:
        await self.clients.call("dynamodb", "delete_table", TableName=self.table)


async def raw_rows(clients: AwsClients, table: str) -> AsyncIterator[Mapping[str, Any]]:
    """Every stored row, the driver's own included."""
    start: dict[str, Any] = {}
    while True:
        answer = await clients.call(
            "dynamodb", "scan", TableName=table, ConsistentRead=True, **start
        )
        for row in answer["Items"]:
            yield row
        if not answer.get("LastEvaluatedKey"):
            return
        start = {"ExclusiveStartKey": answer["LastEvaluatedKey"]}
