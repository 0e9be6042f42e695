"""Pages of an index that are filtered, exact to the record and resumable.

A position is the driver's position before a batch and the place of the last
record that was looked at in it, so that a page can end inside of a batch.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from services.model.families import Family
from services.model.indexes import Index
from services.records.record import Record
from services.records.store import RecordStore

__all__ = ["MOST_EXAMINED", "Scanned", "scan"]

MOST_EXAMINED = 2_000
"""Rows that one call looks at before it answers what it has."""
_BATCH = 100
_LARGEST = 500

Weight = Callable[[Record[Any]], int]


@dataclass(slots=True)
class Scanned:
    """What was found; `next` is '' at the end; `examined` rows were read."""

    records: list[Record[Any]] = field(default_factory=list)
    weight: int = 0
    next: str = ""
    examined: int = 0


async def scan(
    records: RecordStore,
    family: Family,
    index: Index,
    partition: str,
    *,
    prefix: str,
    limit: int,
    position: str = "",
    budget: int = MOST_EXAMINED,
    weight: Weight | None = None,
    opens: bool = True,
    enough: Callable[[Record[Any]], bool] | None = None,
    descending: bool = False,
) -> Scanned:
    """Records from `position` on, until their weights reach `limit` or the
    budget is spent. `weight` is the number of results that a record makes
    (0: none; default 1 for all); a record that makes more than are left is for
    the next page, unless it `opens` this one. `enough` ends the scan for good."""
    after, last = _read(position)
    out = Scanned()
    while True:
        left = limit - out.weight
        size = min(_LARGEST, left if weight is None else max(left, _BATCH))
        page = await records.query(
            family, index, partition, prefix=prefix, limit=size, after=after, descending=descending
        )
        # A page that has a successor was full: what is dead was looked at too.
        out.examined += len(page.records) if page.next is None else size
        for record in page.records:
            where = _where(record, index)
            if last is not None and (where >= last if descending else where <= last):
                continue
            if enough is not None and enough(record):
                return out
            made = 1 if weight is None else weight(record)
            if made and out.weight + made > limit and (out.weight or not opens):
                out.next = _write(after, last)
                return out
            last = where
            if made:
                out.records.append(record)
                out.weight += made
        if page.next is None:
            return out
        after, last = page.next, None
        if out.examined >= budget or out.weight >= limit:
            out.next = _write(after, None)
            return out


def _where(record: Record[Any], index: Index) -> list[str]:
    key = record.key
    entry = None if index is Index.BASE else record.item.indexes.get(index)
    return [entry[1] if entry else key.sk, key.pk, key.sk]


def _write(after: str | None, last: list[str] | None) -> str:
    return json.dumps([after, last], separators=(",", ":"))


def _read(position: str) -> tuple[str | None, list[str] | None]:
    if not position:
        return None, None
    after, last = json.loads(position)
    return after, last
