"""What runs left for people, or for a later run: counted from rows of the local store."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import AsyncIterator
from dataclasses import dataclass

from services.records.conflict_rows import ALL, CONFLICT, list_prefix
from services.records.port import Index, Item
from services.records.store import RecordStore

__all__ = ["Left", "Leftovers"]

_PAGE = 500


@dataclass(frozen=True, slots=True)
class Left:
    """Open conflicts, records in quarantine, versions whose objects are to come."""

    conflicts: int = 0
    quarantined: int = 0
    pending: int = 0

    @property
    def nothing(self) -> bool:
        return not (self.conflicts or self.quarantined or self.pending)


class Leftovers:
    """See the module. Conflicts count for the connection over which they came."""

    def __init__(self, records: RecordStore) -> None:
        self._records = records

    async def any(self, connection_id: str) -> bool:
        """Whether something of a connection is left."""
        left = await self.of(connection_id, await self.open_conflicts())
        return not left.nothing

    async def of(self, connection_id: str, conflicts: Counter[str]) -> Left:
        """What is left of a connection; `conflicts` as `open_conflicts` counts."""
        found: Counter[str] = Counter()
        partition = f"SYNC#{connection_id}"
        async for item in self._items(Index.BASE, partition, "PENDING#", "QUARANTINE$"):
            found[item.family] += 1
        return Left(conflicts[connection_id], found["quarantine"], found["pending_bytes"])

    async def open_conflicts(self) -> Counter[str]:
        """How many are open, by connection."""
        counts: Counter[str] = Counter()
        prefix = list_prefix("open")
        async for item in self._items(Index.USER, ALL, prefix, prefix + "\x7f"):
            if item.family == CONFLICT:
                counts[json.loads(item.body).get("connection_id", "")] += 1
        return counts

    async def _items(
        self, index: Index, partition: str, lower: str, upper: str
    ) -> AsyncIterator[Item]:
        after: str | None = None
        while True:
            page = await self._records.run(
                index, partition, lower=lower, upper=upper, limit=_PAGE, after=after
            )
            for item in page.items:
                if not item.deleted:
                    yield item
            after = page.next
            if after is None:
                return
