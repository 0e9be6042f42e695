"""Strong reads of items: by key, by index, and over the whole container.

The account's consistency is Strong, and the container's index is updated with each write
("Indexing policies", mode consistent): queries see every acknowledged commit, too.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Callable, Sequence
from typing import Any

from services.records.cosmos.bounds import Bounds, bounds_of, scan_bounds
from services.records.cosmos.calls import ContainerCalls, Page
from services.records.cosmos.codec import Document, key_of, visible
from services.records.cosmos.gathering import KEYS_A_QUERY, Gathering, query_of
from services.records.cosmos.merging import merged
from services.records.cosmos.schema import OWN_PK
from services.records.port import Index, Item, ItemPage, Key
from services.records.port_texts import page_position
from services.records.retrying import Deadline, all_of

__all__ = ["Reader"]

_SECONDS = 20.0
_AT_ONCE = 32
_POINT_READS = 2
"""A query takes about as many request units as three of them, and of this machine as much
as one: what the SDK needs for a request, some 2 ms."""
_MOST_JOBS = 8
"""Requests for keys of several partitions; what would take more is gathered."""


class Reader:
    """Reads of one container. `now` tells unix seconds, whole ones. A public call ends
    within 20 seconds with DriverUnavailable at the latest."""

    def __init__(
        self, calls: ContainerCalls, *, now: Callable[[], int], gathering: Gathering
    ) -> None:
        self._calls = calls
        self._now = now
        self._gathering = gathering
        self._turns = asyncio.Semaphore(_AT_ONCE)

    async def get(self, key: Key) -> Item | None:
        """One point read: 1 request unit for 1 KB, twice that since it is strong."""
        if key.pk == OWN_PK:
            return None
        return visible(await self._document(key, Deadline(_SECONDS)), self._now())

    async def batch_get(self, keys: Sequence[Key]) -> list[Item | None]:
        """In the order asked; a key may come twice."""
        found = await self.documents(keys, Deadline(_SECONDS))
        now = self._now()
        return [visible(found.get(key), now) for key in keys]

    async def documents(self, keys: Sequence[Key], deadline: Deadline) -> dict[Key, Document]:
        """The rows of these keys that are there, expired ones too: by point reads, by
        queries where several lie in one partition, or of each physical partition (unless
        it is not to be told which one that is)."""
        partitions: dict[str, list[Key]] = defaultdict(list)
        for key in dict.fromkeys(keys):
            if key.pk != OWN_PK:
                partitions[key.pk].append(key)
        if sum(map(_requests, partitions.values())) > _MOST_JOBS and len(partitions) > 1:
            every = [key for found in partitions.values() for key in found]
            async with self._turns:
                gathered = await self._gathering.rows(every, deadline)
            if gathered is not None:
                return {key_of(row): row for row in gathered}
        jobs = [job for found in partitions.values() for job in self._jobs(found, deadline)]
        rows = [row for part in await all_of(jobs) for row in part]
        return {key_of(row): row for row in rows}

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
        """See the port. Of the base table one request a page, of an index one for each
        physical partition."""
        bounds = bounds_of(index, partition, lower, upper, after, descending=descending)
        if bounds.empty or not partition or (index is Index.BASE and partition == OWN_PK):
            return ItemPage([], None)
        deadline = Deadline(_SECONDS)
        if index is Index.BASE:
            items = await self._of_partition(partition, bounds, limit + 1, deadline)
        else:
            items = await merged(self._calls, bounds, limit + 1, self._visible, deadline)
        page = items[:limit]
        return ItemPage(page, page_position(index, page[-1]) if len(items) > limit else None)

    async def scan(self, after: Key | None, limit: int) -> list[Item]:
        """See the port; the partitions come in byte order, too."""
        bounds = scan_bounds(after)
        return await merged(self._calls, bounds, limit, self._visible, Deadline(_SECONDS))

    def _jobs(self, keys: Sequence[Key], deadline: Deadline) -> list[Any]:
        if len(keys) <= _POINT_READS:
            return [self._single(key, deadline) for key in keys]
        return [
            self._together(keys[at : at + KEYS_A_QUERY], deadline)
            for at in range(0, len(keys), KEYS_A_QUERY)
        ]

    async def _single(self, key: Key, deadline: Deadline) -> list[Document]:
        async with self._turns:
            row = await self._document(key, deadline)
        return [] if row is None else [row]

    async def _together(self, keys: Sequence[Key], deadline: Deadline) -> list[Document]:
        query = query_of(keys)
        rows: list[Document] = []
        continuation: str | None = None
        async with self._turns:
            while True:
                page = await self._partition_page(
                    query, len(keys), continuation, keys[0].pk, deadline
                )
                rows += page.documents
                continuation = page.continuation
                if continuation is None:
                    return rows

    async def _of_partition(
        self, pk: str, bounds: Bounds, wanted: int, deadline: Deadline
    ) -> list[Item]:
        items: list[Item] = []
        query, continuation = bounds.query(), None
        while True:
            most = wanted - len(items)
            page = await self._partition_page(query, most, continuation, pk, deadline)
            items += [item for row in page.documents if (item := self._visible(row))]
            continuation = page.continuation
            if continuation is None or len(items) >= wanted:
                return items[:wanted]

    async def _partition_page(
        self,
        query: dict[str, Any],
        most: int,
        continuation: str | None,
        pk: str,
        deadline: Deadline,
    ) -> Page:
        return await self._calls.repeated(
            lambda: self._calls.page(query, most, continuation, pk=pk), deadline
        )

    async def _document(self, key: Key, deadline: Deadline) -> Document | None:
        return await self._calls.repeated(
            lambda: self._calls.document(key.pk, key.sk), deadline
        )

    def _visible(self, row: Document) -> Item | None:
        return visible(row, self._now())


def _requests(keys: Sequence[Key]) -> int:
    """For keys of one partition."""
    return len(keys) if len(keys) <= _POINT_READS else -(-len(keys) // KEYS_A_QUERY)
