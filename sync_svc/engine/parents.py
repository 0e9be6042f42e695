"""Ancestors of what changed: they go along, so that no child arrives before them.

A feed has a record where it changed last. A project that was renamed today comes
after its documents of yesterday; it is read by key and put beside them. What went
by once in this run is not looked at again.
"""

from __future__ import annotations

from collections.abc import Sequence

from services.records.port import Item, Key
from services.records.siblings import Rows
from services.records.store import RecordStore
from sync_svc.engine.order import parents_of
from sync_svc.engine.reading import is_synced, read_rows

__all__ = ["Ancestors"]

_MOST_SEEN = 20_000
_DEPTH = 5
_PARENTS = frozenset({"account", "team", "project", "document"})


class Ancestors:
    """Adds ancestors to batches. `there`: a store where those that exist need not
    be added (for a pull: this one; asking it costs nothing)."""

    def __init__(self, source: RecordStore, *, there: RecordStore | None = None) -> None:
        self._source = source
        self._there = there
        self._seen: dict[Key, str] = {}

    def unseen(self, rows: Sequence[Rows]) -> list[Rows]:
        """Those that did not go by in this very version."""
        return [each for each in rows if each.item and self._seen.get(each.key) != each.item.token]

    async def of(self, rows: Sequence[Rows]) -> list[Rows]:
        """Ancestors of these records that did not go by yet, as the source has them."""
        self._note(rows)
        found: list[Rows] = []
        children = [each.item for each in rows if each.item]
        for _ in range(_DEPTH):
            added = await self._parents(children)
            found += added
            children = [each.item for each in added if each.item]
            if not children:
                break
        return found

    async def _parents(self, children: Sequence[Item]) -> list[Rows]:
        wanted = dict.fromkeys(key for child in children for key in parents_of(child))
        missing = [key for key in wanted if key not in self._seen]
        if self._there is not None and missing:
            here = await read_rows(self._there, missing)
            missing = [each.key for each in here if each.item is None]
        if not missing:
            return []
        read = await read_rows(self._source, missing)
        self._seen |= dict.fromkeys(missing, "")
        found = [each for each in read if each.item and is_synced(each.item)]
        self._note(found)
        return found

    def _note(self, rows: Sequence[Rows]) -> None:
        if len(self._seen) > _MOST_SEEN:
            self._seen.clear()
        for each in rows:
            if each.item and each.item.family in _PARENTS:
                self._seen[each.key] = each.item.token
