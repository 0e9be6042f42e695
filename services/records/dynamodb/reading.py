"""Strong reads of items: by key, by index, and over the whole table.

Index entries lag behind the table, so an entry is only a hint: its row is read strongly,
and counts when it still has that very entry. Those that are too new for the index come
from recent.py.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Any

from services.records.dynamodb.calls import Busy, Deadline, TableCalls, pauses
from services.records.dynamodb.codec import (
    Attributes,
    index_entry,
    key_attributes,
    key_of,
    visible,
)
from services.records.dynamodb.ranges import KeyRange, key_range
from services.records.dynamodb.recent import RecentEntries, entry_place
from services.records.dynamodb.schema import OWN_PREFIX, gsi_keys, is_own
from services.records.port import DriverUnavailable, Index, Item, ItemPage, Key
from services.records.port_texts import page_position

__all__ = ["Reader"]

_SECONDS = 20.0
_KEYS_A_CALL = 100
_KEYS_AT_ONCE = 10
"""4 MB is the most for one transaction, and they might be items of 400 KB after all."""
_Found = tuple[Attributes, Item]
_LAST_SK = "\x7f"  # behind every key, which is printable ASCII


class Reader:
    """Reads of one table. `now` tells unix seconds, whole ones; `recent` are entries that
    the indexes may not have yet. A public call ends within 20 seconds with
    DriverUnavailable at the latest."""

    def __init__(
        self, calls: TableCalls, *, now: Callable[[], int], recent: RecentEntries
    ) -> None:
        self._calls = calls
        self._now = now
        self._recent = recent

    async def get(self, key: Key) -> Item | None:
        """One strong read: 1 unit for 4 KB."""
        if is_own(key.pk):
            return None
        answer = await self._calls.read(
            "get_item", Deadline(_SECONDS), Key=key_attributes(key), ConsistentRead=True
        )
        return visible(answer.get("Item"), self._now())

    async def batch_get(self, keys: Sequence[Key]) -> list[Item | None]:
        """In the order asked; a key may come twice."""
        return await self._batch_get(keys, Deadline(_SECONDS))

    async def settled(self, keys: Sequence[Key]) -> dict[Key, Item | None]:
        """Those of `keys` that no transaction is writing, with their items: what is
        absent here is not on its way. 2 units for 4 KB."""
        deadline, distinct = Deadline(_SECONDS), list(dict.fromkeys(keys))
        parts = [
            distinct[at : at + _KEYS_AT_ONCE] for at in range(0, len(distinct), _KEYS_AT_ONCE)
        ]
        found: dict[Key, Item | None] = {}
        for each in await asyncio.gather(*(self._at_once(part, deadline) for part in parts)):
            found.update(each)
        return found

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
        """See the port. Of an index, each entry costs its row's strong read, too."""
        found = key_range(index, partition, lower, upper, after, descending=descending)
        if found.empty or not partition or (index is Index.BASE and is_own(partition)):
            return ItemPage([], None)
        items = await self._collect(found, limit + 1, Deadline(_SECONDS))
        page = items[:limit]
        return ItemPage(page, page_position(index, page[-1]) if len(items) > limit else None)

    async def scan(self, after: Key | None, limit: int) -> list[Item]:
        """See the port. The driver's own partitions are stepped over: at most one page
        of each is read."""
        deadline, items = Deadline(_SECONDS), list[Item]()
        start = None if after is None else key_attributes(after)
        while True:
            wanted = limit - len(items)
            answer = await self._calls.read(
                "scan", deadline, ConsistentRead=True, Limit=wanted,
                FilterExpression="NOT begins_with(PK, :own)",
                ExpressionAttributeValues={":own": {"S": OWN_PREFIX}},
                **({"ExclusiveStartKey": start} if start else {}),
            )  # fmt: skip
            now = self._now()
            items += [item for row in answer["Items"] if (item := visible(row, now))]
            start = answer.get("LastEvaluatedKey")
            cut = answer.get("ScannedCount", wanted) < wanted  # by the size of a page
            if not start or len(items) >= limit or (items and cut):
                return items
            if is_own(start["PK"]["S"]):
                start = key_attributes(Key(start["PK"]["S"], _LAST_SK))

    async def _collect(self, found: KeyRange, wanted: int, deadline: Deadline) -> list[Item]:
        """The first `wanted` items of a range."""
        shown, whole = await self._shown(found, wanted, deadline)
        if found.index is not Index.BASE:
            shown += await self._unseen(found, shown, whole, wanted, deadline)
            shown.sort(key=lambda each: entry_place(found, each[0]), reverse=found.descending)
        return [item for _, item in shown[:wanted]]

    async def _shown(
        self, found: KeyRange, wanted: int, deadline: Deadline
    ) -> tuple[list[_Found], bool]:
        """What DynamoDB shows, `wanted` or a few more; whether that is all of the range."""
        parameters, shown = found.parameters(), list[_Found]()
        while True:
            # One more: the end of a range is left out here, BETWEEN takes it in.
            answer = await self._calls.read(
                "query", deadline, Limit=wanted - len(shown) + 1, **parameters
            )
            entries = [entry for entry in answer["Items"] if found.admits(entry)]
            shown += await self._items(found, entries, deadline)
            start = answer.get("LastEvaluatedKey")
            if not start or len(shown) >= wanted:
                return shown, not start
            parameters["ExclusiveStartKey"] = start

    async def _unseen(
        self, found: KeyRange, shown: Sequence[_Found], whole: bool, wanted: int,
        deadline: Deadline,
    ) -> list[_Found]:
        """Recent entries that the index did not show, as far as they may come among the
        first `wanted`."""
        known = {entry_place(found, entry) for entry, _ in shown}
        last = None if whole or not shown else entry_place(found, shown[-1][0])
        entries = [
            entry
            for entry in self._recent.within(found)
            if (place := entry_place(found, entry)) not in known
            and (last is None or (place > last if found.descending else place < last))
        ]
        unseen: list[_Found] = []
        while entries and len(unseen) < wanted:
            unseen += await self._items(found, entries[:_KEYS_A_CALL], deadline)
            entries = entries[_KEYS_A_CALL:]
        return unseen

    async def _items(
        self, found: KeyRange, entries: Sequence[Attributes], deadline: Deadline
    ) -> list[_Found]:
        if found.index is Index.BASE:
            now = self._now()
            return [(entry, item) for entry in entries if (item := visible(entry, now))]
        rows = await self._batch_get([key_of(entry) for entry in entries], deadline)
        names = gsi_keys(found.index)
        return [
            (entry, item)
            for entry, item in zip(entries, rows, strict=True)
            if item is not None
            and _entry_of(item, found.index) == tuple(entry[name]["S"] for name in names)
        ]

    async def _batch_get(self, keys: Sequence[Key], deadline: Deadline) -> list[Item | None]:
        distinct = [key for key in dict.fromkeys(keys) if not is_own(key.pk)]
        parts = [
            distinct[at : at + _KEYS_A_CALL] for at in range(0, len(distinct), _KEYS_A_CALL)
        ]
        rows = [
            row
            for part in await asyncio.gather(*(self._part(each, deadline) for each in parts))
            for row in part
        ]
        now = self._now()
        found = {item.key: item for row in rows if (item := visible(row, now))}
        return [found.get(key) for key in keys]

    async def _at_once(self, keys: Sequence[Key], deadline: Deadline) -> dict[Key, Item | None]:
        """All of them, or none while one of them is being written."""
        asked = [
            {"Get": {"TableName": self._calls.table, "Key": key_attributes(key)}} for key in keys
        ]
        try:
            answer = await self._calls.transact_get(deadline, asked)
        except Busy:
            if len(keys) == 1:
                return {}
            parts = [await self._at_once([key], deadline) for key in keys]
            return {key: item for part in parts for key, item in part.items()}
        now = self._now()
        rows = answer.get("Responses", [])
        return {
            key: visible(row.get("Item"), now) for key, row in zip(keys, rows, strict=True)
        }

    async def _part(self, keys: Sequence[Key], deadline: Deadline) -> list[dict[str, Any]]:
        """At most 100 keys; what the server leaves out (throttled, or over 16 MB) is
        asked for again."""
        table = self._calls.table
        wanted = [key_attributes(key) for key in keys]
        rows: list[dict[str, Any]] = []
        waits = pauses()
        while True:
            asked = {table: {"Keys": wanted, "ConsistentRead": True}}
            answer = await self._calls.read_items(deadline, asked)
            found = answer.get("Responses", {}).get(table, [])
            rows += found
            wanted = answer.get("UnprocessedKeys", {}).get(table, {}).get("Keys", [])
            if not wanted:
                return rows
            pause = next(waits)
            if pause >= deadline.left:
                raise DriverUnavailable(
                    f"DynamoDB table {table}: it answers only a part of a batch"
                )
            await asyncio.sleep(pause)


def _entry_of(item: Item, index: Index) -> tuple[str, str] | None:
    if index not in item.indexes:
        return None
    partition, sort = item.indexes[index]
    return partition, index_entry(sort, item.key)
