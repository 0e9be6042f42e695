"""Conflicts of sync by their id, as their rows say."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from services.model.indexes import Index
from services.records.conflict_rows import CONFLICT, lookup
from services.records.port import Item
from services.records.store import RecordStore

__all__ = ["open_conflict"]


async def open_conflict(records: RecordStore, conflict_id: str) -> Mapping[str, Any] | None:
    """The row of a conflict that is open; None for any other."""
    page = await records.run(
        Index.TEAM, lookup(conflict_id), lower="", upper="\x7f", limit=1, after=None
    )
    rows = [json.loads(item.body) for item in page.items if _is_live(item)]
    return rows[0] if rows and rows[0]["status"] == "open" else None


def _is_live(item: Item) -> bool:
    return item.family == CONFLICT and not item.deleted
