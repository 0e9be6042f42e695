"""Conflict rows found and checked: a row is about the versions that are live now.

A conflict between versions is closed by the commit that ends it. One that lies
between records (`parent_deleted`), and one whose versions changed while nobody
looked, is closed by the first who sees that it is over.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any

from services.model.families import FAMILIES, Family
from services.model.stamp import Dot
from services.model.versions import State
from services.records.conflict_rows import Found, closed, lookup
from services.records.port import ConditionFailed, Index, Item, Key
from services.records.siblings import Rows
from services.records.store import RecordStore
from sync_svc.engine.orphans import is_gone, project_key
from sync_svc.quarantine.held import held_state, is_settled

__all__ = ["FoundConflict", "conflict_of", "find", "refreshed"]


@dataclass(frozen=True, slots=True)
class FoundConflict:
    """A conflict row, the record's rows, and for a version that is held aside its
    state. `row` is the parsed body: see services/records/conflict_rows.py."""

    item: Item
    row: Mapping[str, Any]
    rows: Rows
    held: State | None = None

    @property
    def family(self) -> Family:
        """Family of the record."""
        return FAMILIES[self.row["family"]]

    @property
    def key(self) -> Key:
        """Key of the record."""
        return self.rows.key

    @property
    def is_open(self) -> bool:
        """Whether it needs a decision."""
        return bool(self.row["status"] == "open")

    @property
    def is_current(self) -> bool:
        """Whether it is about the versions that are live now."""
        state = self.rows.state
        if self.held is not None:
            return not is_settled(self.held, state)
        return state is not None and list(state.dots) == self.dots

    @property
    def dots(self) -> list[Dot]:
        """The versions that the conflict stands for, sorted: with one that is held
        aside those that are here, too."""
        dots = {(actor, counter) for actor, counter in self.row["dots"]}
        if self.held is not None and self.rows.state is not None:
            dots |= set(self.rows.state.dots)
        return sorted(dots)


async def find(records: RecordStore, conflict: str) -> FoundConflict | None:
    """The conflict of an id, or None."""
    page = await records.run(
        Index.TEAM, lookup(conflict), lower="", upper="~", limit=1, after=None
    )
    if not page.items:
        return None
    return await conflict_of(records, page.items[0])


async def conflict_of(records: RecordStore, item: Item) -> FoundConflict:
    """The conflict of a row, with what is stored of its record now."""
    row = json.loads(item.body)
    rows = (await records.rows([Key(item.key.pk, row["sk"])]))[0]
    return FoundConflict(item, row, rows, held_state(item))


async def refreshed(
    records: RecordStore, found: FoundConflict, *, now_ms: int, user_id: str = ""
) -> FoundConflict:
    """The conflict, closed if it is over (by `user_id`, '' when nobody here decided).
    Idempotent."""
    if not found.is_open or (found.is_current and not await _parent_is_back(records, found)):
        return found
    put = closed(found.item, Found(now_ms, user_id=user_id))
    with suppress(ConditionFailed):  # somebody else did, or opened it for newer versions
        await records.put_row(put)
    return replace(found, row=json.loads(put.body))


async def _parent_is_back(records: RecordStore, found: FoundConflict) -> bool:
    """Whether the project of a document that survived it is there again."""
    if found.row["kind"] != "parent_deleted":
        return False
    item = await records.get_row(project_key(found.row["project_id"]))
    return item is not None and not is_gone(item)
