"""Calls of one container: repeated where that may help, and over at their deadline."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar, cast

from azure.core.exceptions import AzureError
from azure.cosmos import _base
from azure.cosmos._routing.routing_range import Range
from azure.cosmos.aio import CosmosClient
from azure.cosmos.exceptions import CosmosResourceNotFoundError

from services.records.cosmos.codec import Document
from services.records.cosmos.failing import (
    CallFailed,
    NotOfTheService,
    cosmos_failure,
    port_error,
)
from services.records.cosmos.ids import id_of
from services.records.port import DriverUnavailable
from services.records.retrying import Deadline, pauses

__all__ = ["ContainerCalls", "KeyRange", "Page", "RangesMoved", "attempt"]

T = TypeVar("T")
_ERRORS = (AzureError, TimeoutError, OSError, KeyError, TypeError, ValueError, NotOfTheService)
_CONTAINER_GONE, _SESSION_BEHIND = 1003, 1002
_GONE = 410
_SPLITS = 5
_ACTIVITY = "x-ms-activity-id"
_WHOLE: Any = cast(Any, Range)("", "FF", True, False)


class RangesMoved(Exception):
    """A physical partition was split, merged or moved: ask for the ranges again."""


@dataclass(frozen=True, slots=True)
class KeyRange:
    """A physical partition: its id and the hashes that it holds, low <= hash < high."""

    id: str
    low: str
    high: str


@dataclass(frozen=True, slots=True)
class Page:
    """Rows in order, and how to go on (None: there are no more)."""

    documents: Sequence[Document]
    continuation: str | None


async def attempt(call: Callable[[], Awaitable[T]], seconds: float) -> T:
    """One attempt of a call. Raises CallFailed."""
    try:
        async with asyncio.timeout(seconds):
            return await call()
    except _ERRORS as error:
        raise cosmos_failure(error) from error


class ContainerCalls:
    """The calls of one container. `seconds` bounds one attempt of a call."""

    def __init__(
        self, client: CosmosClient, database: str, container: str, *, seconds: float
    ) -> None:
        self.name = container
        self.proxy = client.get_database_client(database).get_container_client(container)
        self._connection: Any = client.client_connection
        self._link: str = self.proxy.container_link
        self._seconds = seconds

    async def once(self, call: Callable[[], Awaitable[T]], deadline: Deadline) -> T:
        """One attempt. Raises CallFailed. What is given up in time may still reach the
        service later."""
        return await attempt(call, min(self._seconds, deadline.left))

    async def repeated(
        self, call: Callable[[], Awaitable[T]], deadline: Deadline, *, of_range: bool = False
    ) -> T:
        """A call that may be repeated. Raises the port's errors, and RangesMoved where the
        call is `of_range`, one of the physical partitions."""
        for pause in pauses():
            try:
                return await self.once(call, deadline)
            except CallFailed as failed:
                if of_range and failed.status == _GONE:
                    raise RangesMoved from failed
                wait = max(pause, failed.failure.retry_after)
                if not failed.failure.passing or wait >= deadline.left:
                    raise port_error(failed, self.name) from failed
            await asyncio.sleep(wait)
        raise AssertionError("unreachable")

    async def properties(self) -> dict[str, Any]:
        """The container's own resource; also for the SDK, which keeps what it needs of it."""
        return dict(await self.proxy.read())

    async def document(self, pk: str, sk: str) -> Document | None:
        """A row by its key, strongly; None when there is none. To be called by `repeated`."""
        return await self.document_of_id(pk, id_of(sk))

    async def document_of_id(self, pk: str, document_id: str) -> Document | None:
        """As `document`."""
        try:
            found = await self.proxy.read_item(document_id, partition_key=pk)
        except CosmosResourceNotFoundError as error:
            if error.sub_status in (_CONTAINER_GONE, _SESSION_BEHIND):
                raise
            if _ACTIVITY not in error.headers:
                raise NotOfTheService from error
            return None
        if found.get("id") != document_id or "_etag" not in found:
            raise NotOfTheService
        return dict(found)

    async def batch(self, pk: str, operations: Sequence[Any]) -> list[dict[str, Any]]:
        """The results of a transactional batch; to be called by `once`."""
        results = await self.proxy.execute_item_batch(operations, partition_key=pk)
        if len(results) != len(operations) or not all(each.get("eTag") for each in results):
            raise NotOfTheService
        return list(results)

    async def page(
        self,
        query: Mapping[str, Any],
        most: int,
        continuation: str | None,
        *,
        pk: str | None = None,
        range_id: str | None = None,
    ) -> Page:
        """One page, by one request, of a logical partition or of a physical one; to be
        called by `repeated`. The SDK's own queries over ranges would go on with the parts
        of a range that was split one after the other, in no order together."""
        options: dict[str, Any] = {"maxItemCount": most, "continuation": continuation}
        if pk is not None:
            options["partitionKey"] = pk
        else:
            options["enableCrossPartitionQuery"] = True
        options["containerRID"] = await self.rid()
        documents, headers = await self._connection.QueryFeed(
            _base.GetPathFromLink(self._link, "docs"),
            _base.GetResourceIdOrFullNameFromLink(self._link),
            dict(query), options, range_id,
        )  # fmt: skip
        if not isinstance(documents, list):
            raise NotOfTheService
        return Page(documents, headers.get("x-ms-continuation") or None)

    async def ranges(self, deadline: Deadline, *, again: bool = False) -> list[KeyRange]:
        """The physical partitions, in order of their hashes. The SDK keeps them; `again`
        asks the service. Raises the port's errors."""
        if again:
            await self._connection.refresh_routing_map_provider()
        found = await self.repeated(self._ranges, deadline)
        return [
            KeyRange(str(each["id"]), str(each["minInclusive"]), str(each["maxExclusive"]))
            for each in found
        ]

    async def over_ranges(
        self, work: Callable[[Sequence[KeyRange]], Awaitable[T]], deadline: Deadline
    ) -> T:
        """What `work` makes of the physical partitions: again with the new ones when it
        raises RangesMoved. Raises the port's errors."""
        ranges = await self.ranges(deadline)
        for _ in range(_SPLITS):
            try:
                return await work(ranges)
            except RangesMoved:
                ranges = await self.ranges(deadline, again=True)
        raise DriverUnavailable(f"Cosmos DB container {self.name}: its partitions are being moved")

    async def rid(self) -> str:
        """Of the container as the SDK knows it: requests name it, so that none reaches
        another container of the same name unnoticed."""
        return str((await self.proxy._get_properties())["_rid"])

    async def _ranges(self) -> list[dict[str, Any]]:
        found = await self._connection._routing_map_provider.get_overlapping_ranges(
            self._link, [_WHOLE], {"containerRID": await self.rid()}
        )
        if not found:
            raise NotOfTheService
        return list(found)
