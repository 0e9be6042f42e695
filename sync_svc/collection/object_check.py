"""The last look before an object goes: strong reads of all that could name it.

Independent of the listing that proposed it. Rows that name an object of a document
lie in the document's partition; the others in a few small ranges (which a store without
an order of partitions finds by a walk over all rows).
"""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Iterable, Sequence

from services.model.errors import WorkspaceError
from services.model.paths import StorageKey, parse_storage_key
from services.records.port import Index, Item, Key
from services.records.progress import Progress
from services.records.siblings import Rows
from services.records.store import RecordStore
from sync_svc.collection.object_marks import items_of
from sync_svc.collection.object_names import Naming

__all__ = ["still_named"]

_RANGES = ("INTENT#", "RELOCATION#", "SYNC#", "UPLOAD#")
_PAGE = 500
_END = "\x7f"


async def still_named(
    records: RecordStore, keys: Sequence[str], *, now: float
) -> set[str]:
    """Those of the keys that something names, or that a legal hold keeps. `now` is
    unix seconds by the store's clock."""
    wanted, found = set(keys), set[str]()
    naming = Naming(now=now)
    if wanted:  # in one walk: where partitions have no order it goes over the whole store
        async for item in items_of(records, *_RANGES):
            found.update(wanted.intersection(naming.of(item)))
        found.update(wanted.intersection(naming.rest()))
    for key in sorted(wanted - found):
        parts = _parts(key)
        if parts is not None and await _is_kept(records, key, parts, now=now):
            found.add(key)
    return found


async def _is_kept(records: RecordStore, key: str, parts: StorageKey, *, now: float) -> bool:
    if await _is_held(records, parts):
        return True
    pk, naming = f"DOCUMENT#{parts.document_id}", Naming(now=now)
    # The document and its versions by point reads: an index may lag, these may not.
    [rows] = await records.rows([Key(pk, f"ARTIFACT#{parts.document_id}")])
    if any(key in naming.of(item) for item in _all(rows)):
        return True
    async for item in _partition(records, pk):
        if key in naming.of(item):
            return True
    return key in naming.rest()


async def _is_held(records: RecordStore, parts: StorageKey) -> bool:
    """Nothing under a legal hold is removed, whatever names it."""
    project, account = f"PROJECT#{parts.project_id}", f"ACCOUNT#{parts.home.id}"
    rows = await records.rows([Key(project, project), Key(account, account)])
    bodies = [json.loads(item.body) for each in rows for item in _all(each) if item.body]
    return any(body.get("legal_hold") for body in bodies)


async def _partition(records: RecordStore, pk: str) -> AsyncIterator[Item]:
    after: str | None = None
    progress = Progress("rows")
    while True:
        page = await records.run(
            Index.BASE, pk, lower="", upper=_END, limit=_PAGE, after=after
        )
        for item in page.items:
            yield item
        after = page.next
        if after is None:
            return
        progress.reached(after, page.items)


def _all(rows: Rows) -> Iterable[Item]:
    return [*([rows.item] if rows.item else []), *rows.others.values()]


def _parts(key: str) -> StorageKey | None:
    try:
        return parse_storage_key(key)
    except WorkspaceError:
        return None
