"""What the drivers of databases over a network have in common: each call goes to the part
that does it, while the driver is open."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Sequence
from contextlib import asynccontextmanager
from typing import Any, Protocol

from services.call_scopes import CallScopes
from services.records.port import ChangePage, DriverUnavailable, Index, Item, ItemPage, Key, Put
from services.records.port_texts import check_puts
from services.records.under_way import UnderWay

__all__ = ["Feeds", "Reads", "RemoteDriver"]

_FEED_SECONDS = 25.0


class Reads(Protocol):
    """The reads of the port."""

    async def get(self, key: Key) -> Item | None: ...

    async def batch_get(self, keys: Sequence[Key]) -> list[Item | None]: ...

    @property
    def query(self) -> Callable[..., Awaitable[ItemPage]]: ...

    async def scan(self, after: Key | None, limit: int) -> Sequence[Item]: ...


class Feeds(Protocol):
    """The change feed of the port."""

    async def changes(self, cursor: str | None, limit: int) -> ChangePage: ...

    async def tail(self) -> str: ...


class RemoteDriver:
    """`what` names the store in messages; `is_own` tells the partitions that the driver keeps
    for itself. Who derives from it closes its clients after `_end`."""

    def __init__(
        self,
        what: str,
        *,
        reader: Reads,
        feed: Feeds,
        identity: Callable[[], Awaitable[str]],
        commit: Callable[[str, Sequence[Put]], Coroutine[Any, Any, list[str]]],
        is_own: Callable[[str], bool],
    ) -> None:
        self._what = what
        self._reads = reader
        self._feeds = feed
        self._read_identity = identity
        self._begin_commit = commit
        self._is_own = is_own
        self._calls_under_way = CallScopes(_closed)
        self._commits = UnderWay()

    async def get(self, key: Key) -> Item | None:
        async with self._calls_under_way.call():
            return await self._reads.get(key)

    async def batch_get(self, keys: Sequence[Key]) -> list[Item | None]:
        async with self._calls_under_way.call():
            return await self._reads.batch_get(keys)

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
        async with self._calls_under_way.call():
            return await self._reads.query(
                index, partition, lower=lower, upper=upper, limit=limit, after=after,
                descending=descending,
            )  # fmt: skip

    async def scan(self, after: Key | None, limit: int) -> Sequence[Item]:
        async with self._calls_under_way.call():
            return await self._reads.scan(after, limit)

    async def commit(self, pk: str, puts: Sequence[Put]) -> list[str]:
        """See the port. A caller that leaves does not stop it, and `close` waits for it: half
        a story helps no one."""
        check_puts(pk, puts)
        if self._is_own(pk):
            raise ValueError(f"the partition {pk} is the driver's own")
        if self._calls_under_way.closed:
            raise _closed()
        return await self._commits.run(self._begin_commit(pk, puts))

    async def changes(self, cursor: str | None, limit: int) -> ChangePage:
        async with self._calls_under_way.call(), self._bounded():
            return await self._feeds.changes(cursor, limit)

    async def tail(self) -> str:
        async with self._calls_under_way.call(), self._bounded():
            return await self._feeds.tail()

    async def identity(self) -> str:
        async with self._calls_under_way.call():
            return await self._read_identity()

    async def _end(self) -> bool:
        """Begin to close: reads under way end with DriverUnavailable, commits with what
        becomes of them. False when that was done before."""
        if self._calls_under_way.closed:
            return False
        await self._calls_under_way.close()
        await self._commits.wait()
        return True

    @asynccontextmanager
    async def _bounded(self) -> AsyncIterator[None]:
        try:
            async with asyncio.timeout(_FEED_SECONDS):
                yield
        except TimeoutError:
            raise DriverUnavailable(
                f"{self._what}: reading the change feed takes too long"
            ) from None


def _closed() -> DriverUnavailable:
    return DriverUnavailable("the record store is closed")
