"""A record driver whose calls go through a valve."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from services.records.port import (
    Capabilities,
    ChangePage,
    Index,
    Item,
    ItemPage,
    Key,
    Put,
    RecordDriver,
)
from sync_svc.surfaces.valve import Traffic, Valve

__all__ = ["LimitedRecords"]


class LimitedRecords:
    """`RecordDriver` around another one."""

    def __init__(self, driver: RecordDriver, valve: Valve) -> None:
        self._driver = driver
        self._valve = valve

    @property
    def name(self) -> str:
        return self._driver.name

    @property
    def capabilities(self) -> Capabilities:
        return self._driver.capabilities

    @property
    def traffic(self) -> Traffic:
        """What went through so far."""
        return self._valve.traffic

    async def get(self, key: Key) -> Item | None:
        item = await self._valve.records(lambda: self._driver.get(key))
        await self._came([item])
        return item

    async def batch_get(self, keys: Sequence[Key]) -> list[Item | None]:
        items = await self._valve.records(lambda: self._driver.batch_get(keys))
        await self._came(items)
        return items

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
        page = await self._valve.records(
            lambda: self._driver.query(
                index, partition, lower=lower, upper=upper, limit=limit, after=after,
                descending=descending,
            )
        )
        await self._came(page.items)
        return page

    async def commit(self, pk: str, puts: Sequence[Put]) -> list[str]:
        await self._valve.write(sum(len(put.body) + len(put.stamp) for put in puts))
        return await self._valve.records(lambda: self._driver.commit(pk, puts), reads=False)

    async def changes(self, cursor: str | None, limit: int) -> ChangePage:
        page = await self._valve.records(lambda: self._driver.changes(cursor, limit))
        await self._came(page.items)
        return page

    async def tail(self) -> str:
        return await self._valve.records(self._driver.tail)

    async def scan(self, after: Key | None, limit: int) -> Sequence[Item]:
        items = await self._valve.records(lambda: self._driver.scan(after, limit))
        await self._came(items)
        return items

    async def identity(self) -> str:
        return await self._valve.records(self._driver.identity)

    async def close(self) -> None:
        await self._driver.close()

    async def _came(self, items: Iterable[Item | None]) -> None:
        await self._valve.read(sum(len(item.body) + len(item.stamp) for item in items if item))
