"""Items and the logical partitions that hold them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sortedcontainers import SortedList  # type: ignore[import-untyped]

from tests.fakes.cosmos.values import at, sort_key

if TYPE_CHECKING:
    from tests.fakes.cosmos.indexing import Path
    from tests.fakes.cosmos.ranges import PhysicalPartition

__all__ = ["Holder", "Item", "LogicalPartition"]


class Item:
    """One version of an item. `text` is what the service returns; `sequence` is the order
    of creation and stays when the item is replaced; `expires` is in unix seconds."""

    __slots__ = (
        "body", "etag", "expires", "id", "keys", "lsn", "partition", "position", "sequence",
        "text", "ts",
    )  # fmt: skip

    def __init__(
        self,
        body: dict[str, Any],
        text: bytes,
        *,
        partition: LogicalPartition,
        sequence: int,
        expires: float | None,
    ) -> None:
        self.body, self.text, self.partition, self.sequence = body, text, partition, sequence
        self.id: str = body["id"]
        self.etag: str = body["_etag"]
        self.ts: int = body["_ts"]
        self.expires = expires
        self.lsn = self.position = 0
        self.keys: list[tuple[int, Any]] = []

    def find_keys(self, paths: list[Path]) -> None:
        self.keys = [sort_key(at(self.body, path)) for path in paths]


class Holder:
    """Items by creation, and a sorted list for each indexed path, of (type, value,
    sequence, item); what has no value there is not in it."""

    def __init__(self, paths: int) -> None:
        self.by_sequence: dict[int, Item] = {}
        self.indexes: list[SortedList[Any]] = [SortedList() for _ in range(paths)]

    def put(self, item: Item) -> None:
        self.by_sequence[item.sequence] = item
        for index, (kind, value) in zip(self.indexes, item.keys, strict=True):
            if kind:
                index.add((kind, value, item.sequence, item))

    def drop(self, item: Item) -> None:
        del self.by_sequence[item.sequence]
        for index, (kind, value) in zip(self.indexes, item.keys, strict=True):
            if kind:
                index.remove((kind, value, item.sequence, item))

    def reindex(self, paths: int) -> None:
        """Empty, with that many sorted lists."""
        self.by_sequence = {}
        self.indexes = [SortedList() for _ in range(paths)]


class LogicalPartition(Holder):
    """The items of one value of the partition key."""

    range: PhysicalPartition

    def __init__(self, value: Any, epk: str, paths: int) -> None:
        super().__init__(paths)
        self.value, self.epk = value, epk
        self.items: dict[str, Item] = {}
