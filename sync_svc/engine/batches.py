"""What there is to look at, in batches that fit into memory.

A batch has whole rows of records. Changes of one commit stay together: when a page
ends inside a partition, the rows of this partition go with the next batch.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator, Sequence
from dataclasses import dataclass

from services.records.port import Item
from services.records.progress import Progress
from services.records.siblings import Rows
from services.records.store import RecordStore
from sync_svc.engine.reading import record_key, rows_of

__all__ = ["BATCH_BYTES", "BATCH_KEYS", "Batch", "changed", "scanned"]

BATCH_KEYS = 500
BATCH_BYTES = 4 * 1024 * 1024
_MORE = 100
_FEWEST = 16


@dataclass(frozen=True, slots=True)
class Batch:
    """Rows of the source. `cursor`: everything up to it has been delivered with this
    batch ('' when that cannot be said). `last`: nothing comes after it."""

    rows: Sequence[Rows]
    cursor: str = ""
    last: bool = False


async def changed(
    records: RecordStore, cursor: str, *, keys: int = BATCH_KEYS
) -> AsyncIterator[Batch]:
    """What changed after `cursor`, each key with its latest rows. Kernel rows are
    among them. Always one batch at least. Raises CURSOR_LOST, and INVALID_STATE for a feed
    that does not get on."""
    limit, kept = keys, list[Item]()
    progress = Progress("changes")
    while True:
        page = await records.changes(cursor or None, limit)
        limit = _next_limit(page.items, keys)
        if page.items:
            progress.reached(page.cursor, page.items)
        last = page.complete or not page.items  # what PostgreSQL holds back: with the next run
        items, kept = _cut([*kept, *page.items], last)
        delivered, cursor = cursor if kept else page.cursor, page.cursor
        found = list(_slices(await _records(records, items), keys))
        for rows in found[:-1]:
            yield Batch(rows)
        yield Batch(found[-1] if found else [], delivered, last)
        if last:
            return


async def scanned(records: RecordStore, *, keys: int = BATCH_KEYS) -> AsyncIterator[Batch]:
    """Everything there is, partition by partition, versions side by side with their
    record. Raises INVALID_STATE for a walk that does not get on."""
    after, limit, kept = None, keys, list[Item]()
    progress = Progress("rows")
    while True:
        page = await records.scan(after, limit)
        last = not page  # a page may be short before the end
        if page:
            after = page[-1].key
            progress.reached(after, page)
        limit = _next_limit(page, keys)
        items, kept = _cut([*kept, *page], last)
        mains = [item for item in items if record_key(item) == item.key]
        found = list(_slices(await rows_of(records, mains), keys))
        for rows in found[:-1]:
            yield Batch(rows)
        yield Batch(found[-1] if found else [], last=last)
        if last:
            return


async def _records(records: RecordStore, items: Sequence[Item]) -> list[Rows]:
    """The rows of the records that items of a feed belong to, each record once."""
    latest = {item.key: item for item in items}
    beside = {record_key(item) for item in latest.values()} - latest.keys()
    mains = [item for item in latest.values() if record_key(item) == item.key]
    found = await rows_of(records, mains)
    if beside:  # a version was rewritten (erased) without its record's row
        found += [rows for rows in await records.rows(sorted(beside)) if rows.item]
    return found


def _cut(items: list[Item], last: bool) -> tuple[list[Item], list[Item]]:
    """Those that may go now, and those of the last partition, which may go on. Not of
    a partition that is a batch by itself."""
    at = len(items)
    while not last and at and items[at - 1].key.pk == items[-1].key.pk:
        at -= 1
    return (items[:at], items[at:]) if 0 < len(items) - at <= _MORE and at else (items, [])


def _slices(rows: Sequence[Rows], keys: int) -> Iterator[list[Rows]]:
    """Parts that fit. A partition is not cut for a little too much."""
    part: list[Rows] = []
    room = BATCH_BYTES
    for each in rows:
        room -= _size(each)
        full = room < 0 or len(part) >= keys
        far = room < -BATCH_BYTES or len(part) >= keys + _MORE
        if part and (far or (full and each.key.pk != part[-1].key.pk)):
            yield part
            part, room = [], BATCH_BYTES - _size(each)
        part.append(each)
    if part:
        yield part


def _next_limit(items: Sequence[Item], keys: int) -> int:
    """As many rows as fit into a batch if they are like those just read."""
    size = sum(len(item.body) + len(item.stamp) for item in items)
    fitting = BATCH_BYTES * len(items) // size if size else keys
    return max(_FEWEST, min(keys, fitting))


def _size(rows: Rows) -> int:
    items = [*([rows.item] if rows.item else []), *rows.others.values()]
    return sum(len(item.body) + len(item.stamp) for item in items)


