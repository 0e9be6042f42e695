"""Objects that no row names, found in windows of bounded memory.

A window is as many objects as fit into one sorted array of 64-bit hashes. The rows
are read, partition by partition, and mark what they name; then the window is listed
again. Two keys of one hash are both taken as named.
"""

from __future__ import annotations

import hashlib
from array import array
from bisect import bisect_left
from collections.abc import AsyncIterator, Iterable

from services.objects.port import ObjectInfo
from services.objects.store import MAX_PAGE, ObjectStore
from services.records.port import Item, Key
from services.records.progress import Progress
from services.records.store import RecordStore
from services.records.walking import OutOfOrder, all_rows, rows_of_prefix
from sync_svc.collection.object_names import Naming

__all__ = ["WINDOW", "Incomplete", "Marks", "items_of", "objects_of", "unnamed"]

WINDOW = 250_000


class Incomplete(Exception):
    """A listing left out what is surely there, or was not in its order."""


class Marks:
    """Hashes of keys, each marked or not."""

    def __init__(self, hashes: Iterable[int]) -> None:
        self._hashes = array("Q", sorted(hashes))
        self._marked = bytearray(len(self._hashes))

    def mark(self, key: str) -> None:
        """Something names it."""
        wanted = _hash(key)
        at = bisect_left(self._hashes, wanted)
        while at < len(self._hashes) and self._hashes[at] == wanted:
            self._marked[at] = 1
            at += 1

    def is_unnamed(self, key: str) -> bool:
        """In the window, and nothing names it."""
        wanted = _hash(key)
        at = bisect_left(self._hashes, wanted)
        known = at < len(self._hashes) and self._hashes[at] == wanted
        return known and not self._marked[at]


async def unnamed(
    objects: ObjectStore,
    records: RecordStore,
    *,
    now: float,
    sentinels: Iterable[Key],
    window: int = WINDOW,
) -> AsyncIterator[tuple[ObjectInfo, bool]]:
    """Every object of the store, and whether no row names it. `now` is the store's
    time in unix seconds. Raises Incomplete when the rows `sentinels`, which are
    there, are not met, and what the stores raise."""
    after = ""
    while True:
        marks, last = await _window(objects, after, window)
        if not last:
            return
        await _mark(records, marks, Naming(now=now), set(sentinels))
        async for info in objects_of(objects, after):
            if info.key > last:
                break
            yield info, marks.is_unnamed(info.key)
        after = last


async def objects_of(objects: ObjectStore, after: str = "") -> AsyncIterator[ObjectInfo]:
    """All objects behind `after`, in order of their keys."""
    position: str | None = after or None
    progress = Progress("objects")
    while True:
        page = await objects.list("", position, MAX_PAGE)
        for info in page.objects:
            if info.key <= after:  # code points are in the order of UTF-8
                raise Incomplete("the objects are not listed in the order of their keys")
            after = info.key
            yield info
        position = page.next
        if position is None:
            return
        progress.reached(position)


async def items_of(records: RecordStore, *prefixes: str) -> AsyncIterator[Item]:
    """All rows whose partitions start with one of `prefixes` (none: all there are),
    partition by partition. Raises Incomplete when they come in another order than the
    store declares: those of a partition apart, or one again, as well."""
    rows = rows_of_prefix(records, *prefixes) if prefixes else all_rows(records)
    try:
        async for item in rows:
            yield item
    except OutOfOrder as error:
        raise Incomplete(str(error)) from error


async def _window(objects: ObjectStore, after: str, size: int) -> tuple[Marks, str]:
    """The next objects, and the key of the last ('' when there are none)."""
    hashes, last = array("Q"), ""
    async for info in objects_of(objects, after):
        hashes.append(_hash(info.key))
        last = info.key
        if len(hashes) >= size:
            break
    return Marks(hashes), last


async def _mark(
    records: RecordStore, marks: Marks, naming: Naming, missing: set[Key]
) -> None:
    async for item in items_of(records):
        missing.discard(item.key)
        for key in naming.of(item):
            marks.mark(key)
    for key in naming.rest():
        marks.mark(key)
    if missing:
        raise Incomplete("rows are missing from the listing of the records")


def _hash(key: str) -> int:
    return int.from_bytes(hashlib.blake2b(key.encode(), digest_size=8).digest())
