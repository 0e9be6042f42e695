"""Exact LRU of point reads in front of one SQLite file.

Exact means: once a commit is visible to any reader, `get` no longer answers
with what was there before. The writer marks the keys of a batch before its
COMMIT; marked keys are read from the file; the loop settles the batch (drops
or refreshes the entries, lifts the marks) before it acknowledges it.
"""

from __future__ import annotations

import sys
import threading
from collections import OrderedDict
from collections.abc import Iterable, Mapping
from typing import Final

from services.records.port import Item, Key

__all__ = ["MISS", "Miss", "PointCache"]

_OVERHEAD = 600  # bytes of an Item, its Key, its token and its place in the dict


class Miss:
    """Type of `MISS`: nothing is known (None means known to be absent)."""


MISS: Final = Miss()


class PointCache:
    """Bounded by a number of entries and of bytes. `mark` may be called from
    the writer thread; everything else belongs to the loop."""

    def __init__(self, *, max_items: int, max_bytes: int) -> None:
        self._max_items = max_items
        self._max_bytes = max_bytes
        self._bytes = 0
        self._entries: OrderedDict[Key, Item | None] = OrderedDict()
        self._marks: dict[Key, int] = {}
        self._lock = threading.Lock()
        self.settled = 0
        """Number of settled batches. A value read elsewhere may be stored only
        if no batch was settled since before that read."""

    def __len__(self) -> int:
        return len(self._entries)

    @property
    def size(self) -> int:
        """Bytes held, by the accounting that the bound uses."""
        return self._bytes

    def get(self, key: Key, now: int) -> Item | Miss | None:
        if key in self._marks or key not in self._entries:
            return MISS
        self._entries.move_to_end(key)
        item = self._entries[key]
        if item is not None and item.expires_at is not None and item.expires_at <= now:
            return None
        return item

    def store(self, key: Key, item: Item | None) -> None:
        self._drop(key)
        size = _size(item)
        if self._max_items <= 0 or size > self._max_bytes:
            return
        self._entries[key] = item
        self._bytes += size
        while len(self._entries) > self._max_items or self._bytes > self._max_bytes:
            _, evicted = self._entries.popitem(last=False)
            self._bytes -= _size(evicted)

    def mark(self, keys: Iterable[Key]) -> None:
        """From now on read these keys from the file (called before COMMIT)."""
        with self._lock:
            for key in keys:
                self._marks[key] = self._marks.get(key, 0) + 1

    def settle(self, keys: Iterable[Key], fresh: Mapping[Key, Item]) -> None:
        """End of a batch: `fresh` are the items it wrote; others are forgotten."""
        self.settled += 1
        for key in keys:
            if key in self._entries and key in fresh:
                self.store(key, fresh[key])
            else:
                self._drop(key)
        self._unmark(keys)

    def _unmark(self, keys: Iterable[Key]) -> None:
        with self._lock:
            for key in keys:
                count = self._marks.get(key, 0) - 1
                if count > 0:
                    self._marks[key] = count
                else:
                    self._marks.pop(key, None)

    def _drop(self, key: Key) -> None:
        if key in self._entries:
            self._bytes -= _size(self._entries.pop(key))


def _size(item: Item | None) -> int:
    if item is None:
        return _OVERHEAD
    return _OVERHEAD + sys.getsizeof(item.body) + sys.getsizeof(item.stamp)
