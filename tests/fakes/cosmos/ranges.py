"""Physical partitions: a range of effective partition keys, its items in the order of
their last change, and its sorted lists for queries."""

from __future__ import annotations

from typing import Any

from sortedcontainers import SortedList  # type: ignore[import-untyped]

from tests.fakes.cosmos.items import Holder, Item

__all__ = ["PhysicalPartition"]


class PhysicalPartition(Holder):
    """`lsn` is the number of its last transaction. `log` has each item once, where it was
    changed last: (lsn, position in the transaction, sequence, item)."""

    def __init__(
        self, identifier: str, low: str, high: str, *, paths: int, parents: tuple[str, ...] = ()
    ) -> None:
        super().__init__(paths)
        self.id, self.low, self.high, self.parents = identifier, low, high, parents
        self.lsn = 0
        self.born = 1
        self.log: SortedList[Any] = SortedList()

    def put(self, item: Item) -> None:
        super().put(item)
        self.log.add((item.lsn, item.position, item.sequence, item))

    def drop(self, item: Item) -> None:
        super().drop(item)
        self.log.remove((item.lsn, item.position, item.sequence, item))

    def reindex(self, paths: int) -> None:
        super().reindex(paths)
        self.log.clear()

    def split(self, first: str, second: str) -> list[PhysicalPartition]:
        """Two empty children whose transactions are counted on."""
        low = int(self.low or "0", 16)
        high = 1 << 126 if self.high == "FF" else int(self.high, 16)
        middle = f"{(low + high) // 2:032X}"
        parents = (*self.parents, self.id)
        children = [
            PhysicalPartition(first, self.low, middle, paths=len(self.indexes), parents=parents),
            PhysicalPartition(second, middle, self.high, paths=len(self.indexes), parents=parents),
        ]
        for child in children:
            child.lsn = self.lsn
        return children

    def document(self, container_rid: str, container_link: str, count: int) -> dict[str, Any]:
        """As in the feed of the partition key ranges."""
        return {
            "id": self.id, "_rid": f"{container_rid}{self.id}", "_etag": f'"{self.born}"',
            "minInclusive": self.low, "maxExclusive": self.high, "ridPrefix": int(self.id),
            "_self": f"{container_link}pkranges/{self.id}/", "throughputFraction": 1 / count,
            "status": "online", "parents": list(self.parents), "_ts": 0, "_lsn": self.born,
        }  # fmt: skip
