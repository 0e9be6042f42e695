"""A record driver in memory: rows that can be copied, rewound and moved."""

from __future__ import annotations

import hashlib
import itertools
import math
from bisect import bisect_right, insort
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache

from services.records.port import (
    Absent,
    Capabilities,
    ChangePage,
    ConditionFailed,
    CursorLost,
    Index,
    Item,
    ItemPage,
    Key,
    Put,
)
from services.records.sql.rows import (
    check_puts,
    feed_cursor,
    item_of_put,
    page_position,
    query_bounds,
    read_cursor,
)

__all__ = ["Change", "MemoryRecords", "RecordsSnapshot"]

Change = tuple[Item | None, Item]
"""A row before and after a commit."""


@dataclass(frozen=True)
class RecordsSnapshot:
    """The rows of one moment, by key, oldest change first."""

    rows: dict[Key, Item]
    seq: int


class MemoryRecords:
    """`RecordDriver` without any durability but that nothing is ever lost here:
    crashes, lost answers and rewinds are made by the simulator around it.

    `observe` is told of each commit at the moment at which it has its effect.
    `unordered`: scans go over the partitions in the order of their hashes, in short
    pages. `max_puts`: a commit of more is refused, as providers do.
    """

    name = "memory"
    capabilities = Capabilities(
        consistent_index_reads=True,
        ordered_change_feed=True,
        expiry_precision_seconds=math.inf,
        multi_process=False,
    )
    unordered_capabilities = replace(capabilities, ordered_scan=False)

    def __init__(
        self,
        identity: str,
        *,
        clock: Callable[[], float] = lambda: 0.0,
        observe: Callable[[Sequence[Change]], None] = lambda changes: None,
        unordered: bool = False,
        max_puts: int = 0,
    ) -> None:
        self._order = _hashed if unordered else _as_it_is
        self._max_puts = max_puts
        if unordered:
            self.capabilities = self.unordered_capabilities
        self._identity = identity
        self._clock = clock
        self.observe = observe
        self._rows: dict[Key, Item] = {}
        self._feed: dict[int, Key] = {}
        self._keys: list[Key] = []
        self.seq = 0

    def snapshot(self) -> RecordsSnapshot:
        """Everything, to restore or clone from."""
        return RecordsSnapshot({key: self._rows[key] for key in self._feed.values()}, self.seq)

    def restore(self, snapshot: RecordsSnapshot, *, identity: str = "") -> None:
        """Go back to (or become) what the snapshot shows. `identity`: a new one."""
        self._identity = identity or self._identity
        self._rows = dict(snapshot.rows)
        self._feed = {int(item.token): key for key, item in snapshot.rows.items()}
        self._keys = sorted(self._rows, key=self._order)
        self.seq = snapshot.seq

    def peek(self, key: Key) -> Item | None:
        """The row without being a call of the port."""
        return self._visible(self._rows.get(key))

    def items(self) -> list[Item]:
        """All visible rows in the order of scans."""
        return [item for key in self._keys if (item := self.peek(key)) is not None]

    async def get(self, key: Key) -> Item | None:
        return self.peek(key)

    async def batch_get(self, keys: Sequence[Key]) -> list[Item | None]:
        return [self.peek(key) for key in keys]

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
        bounds, _ = query_bounds(lower, upper, after, descending=descending)
        found = sorted(
            (_place(index, item, partition), item.key)
            for item in self.items()
            if _place(index, item, partition) is not None
        )
        position = (bounds["after_sort"], bounds["after_pk"], bounds["after_sk"]) if after else None
        if descending:
            found.reverse()
        kept = []
        for sort, key in found:
            assert sort is not None
            here = (sort, key.pk, key.sk)
            if sort < lower or (upper is not None and sort >= upper):
                continue
            if position is None or (here < position if descending else here > position):
                kept.append(self._rows[key])
        page = kept[:limit]
        return ItemPage(page, page_position(index, page[-1]) if len(kept) > limit else None)

    async def commit(self, pk: str, puts: Sequence[Put]) -> list[str]:
        check_puts(pk, puts)
        if self._max_puts and len(puts) > self._max_puts:
            raise AssertionError(f"{len(puts)} puts: at most {self._max_puts} in a commit")
        for position, put in enumerate(puts):
            there = self.peek(put.key)
            expected = None if isinstance(put.condition, Absent) else put.condition.token
            if (there.token if there else None) != expected:
                raise ConditionFailed(position, there)
        changes = [(self.peek(put.key), self._write(put)) for put in puts]
        self.observe(changes)
        return [after.token for _, after in changes]

    async def changes(self, cursor: str | None, limit: int) -> ChangePage:
        seq, pk, sk = read_cursor(self._identity, cursor)
        if seq > self.seq:
            raise CursorLost("the change cursor is newer than the store: it was rolled back")
        newer = itertools.takewhile(lambda number: number > seq, reversed(self._feed))
        ordered = [self.peek(self._feed[number]) for number in reversed(list(newer))]
        items = [item for item in ordered if item is not None]
        page = items[:limit]
        if page:
            seq, pk, sk = int(page[-1].token), page[-1].key.pk, page[-1].key.sk
        return ChangePage(
            page, feed_cursor(self._identity, seq, pk, sk), complete=len(page) < limit
        )

    async def tail(self) -> str:
        return feed_cursor(self._identity, self.seq, "", "")

    async def scan(self, after: Key | None, limit: int) -> Sequence[Item]:
        start = 0
        if after is not None:
            start = bisect_right(self._keys, self._order(after), key=self._order)
        visible = (self.peek(self._keys[at]) for at in range(start, len(self._keys)))
        if self._order is _hashed:
            limit = _short(f"{self._identity} {after}", limit)
        return list(itertools.islice((item for item in visible if item is not None), limit))

    async def collect_expired(self, limit: int) -> int:
        """Remove up to `limit` expired rows for good; returns how many."""
        gone = [key for key in self._keys if self.peek(key) is None][:limit]
        for key in gone:
            del self._feed[int(self._rows.pop(key).token)]
            self._keys.remove(key)
        return len(gone)

    async def pages(self, size: int) -> AsyncIterator[list[Item]]:
        """All rows of this moment, for the suite of snapshots."""
        items = self.items()
        for at in range(0, len(items), size):
            yield items[at : at + size]

    async def identity(self) -> str:
        return self._identity

    async def close(self) -> None: ...

    def _visible(self, item: Item | None) -> Item | None:
        if item is None or item.expires_at is None or item.expires_at > math.floor(self._clock()):
            return item
        return None

    def _write(self, put: Put) -> Item:
        self.seq += 1
        item = item_of_put(put, self.seq)
        there = self._rows.get(put.key)
        if there is None:
            insort(self._keys, put.key, key=self._order)
        else:
            del self._feed[int(there.token)]
        self._rows[put.key] = item
        self._feed[self.seq] = put.key
        return item


def _as_it_is(key: Key) -> tuple[bytes, Key]:
    return b"", key


@lru_cache(maxsize=65_536)
def _hash(pk: str) -> bytes:
    return hashlib.sha256(pk.encode()).digest()


def _hashed(key: Key) -> tuple[bytes, Key]:
    """As DynamoDB scans: partitions by a hash, each in the order of its sort keys."""
    return _hash(key.pk), key


def _short(place: str, limit: int) -> int:
    """Every other page has 1 to 7 rows, at one place always as many."""
    number = _hash(place)[0]
    return min(limit, 1 + number % 7) if number & 8 else limit


def _place(index: Index, item: Item, partition: str) -> str | None:
    """The sort key of an item in a partition of an index; None: it is not there."""
    if index is Index.BASE:
        return item.key.sk if item.key.pk == partition else None
    pair = item.indexes.get(index)
    return pair[1] if pair and pair[0] == partition else None
