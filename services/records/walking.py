"""Walks over the rows of a store, whatever order its scans go in.

`RecordDriver.scan` promises little: partitions in an order of the store's own, short
pages. Who wants all rows, or those of some partitions, walks by these.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from typing import Protocol

from services.records.port import Capabilities, Item, Key

__all__ = ["OutOfOrder", "Scans", "all_rows", "rows_of_prefix"]

_PAGE = 500


class Scans(Protocol):
    """A `RecordStore` or a `RecordDriver`."""

    @property
    def capabilities(self) -> Capabilities: ...

    async def scan(self, after: Key | None, limit: int) -> Sequence[Item]: ...


class OutOfOrder(Exception):
    """A scan does not keep the order of the port: it may have left rows out."""


async def all_rows(
    records: Scans, *, after: Key | None = None, page: int = _PAGE
) -> AsyncIterator[Item]:
    """Every row behind `after`, partition by partition. Raises OutOfOrder."""
    course = _Course(after, ordered=records.capabilities.ordered_scan)
    while items := await records.scan(after, page):
        for item in items:
            course.check(item.key)
            yield item
        after = items[-1].key


async def rows_of_prefix(
    records: Scans, *prefixes: str, page: int = _PAGE
) -> AsyncIterator[Item]:
    """Rows of the partitions whose keys begin with one of `prefixes`, none of which
    begins with another, partition by partition. Without an order this is a walk over the
    whole store: for daily work, not for calls. Raises OutOfOrder."""
    if not records.capabilities.ordered_scan:
        async for item in all_rows(records, page=page):
            if item.key.pk.startswith(prefixes):
                yield item
        return
    for prefix in sorted(prefixes):
        async for item in all_rows(records, after=Key(prefix, ""), page=page):
            if not item.key.pk.startswith(prefix):
                break
            yield item


class _Course:
    """Checks the order of a walk, in little memory. Where partitions have none, each
    still comes once: one that is met again ends a walk in circles (Brent's way: the
    remembered one is replaced after 1, 2, 4, 8, ... partitions)."""

    def __init__(self, after: Key | None, *, ordered: bool) -> None:
        self._last = after
        self._ordered = ordered
        self._remembered = after.pk if after else ""
        self._partitions, self._until = 0, 1

    def check(self, key: Key) -> None:
        """The next row of the walk. Raises OutOfOrder."""
        last, self._last = self._last, key
        if last is None:
            self._remembered = key.pk
            return
        same = key.pk == last.pk
        if (same or self._ordered) and key <= last:
            raise OutOfOrder("the rows are not read in the order of their keys")
        if not same and not self._ordered:
            self._begin(key.pk)

    def _begin(self, pk: str) -> None:
        if pk == self._remembered:
            raise OutOfOrder("the rows of a partition are not read together")
        self._partitions += 1
        if self._partitions == self._until:
            self._remembered, self._until = pk, 2 * self._until
