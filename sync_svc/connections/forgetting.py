"""What goes with a connection: its cursors, its quarantine, its pending bytes.

No record of either side goes. What is in quarantine is still in the surface.
"""

from __future__ import annotations

import json
from collections.abc import Sequence

from services.records.port import ConditionFailed, Index, Item, Match, Put
from services.records.store import RecordStore

__all__ = ["forget_state"]

_PAGE = 50
_KINDS = frozenset({"sync_state", "quarantine", "pending_bytes"})


async def forget_state(records: RecordStore, connection_id: str) -> None:
    """Make the rows tombstones without a body. Rows that changed meanwhile are
    looked at again; the claim of runs stays."""
    pk = f"SYNC#{connection_id}"
    after: str | None = None
    while True:
        page = await records.run(
            Index.BASE, pk, lower="", upper="\x7f", limit=_PAGE, after=after
        )
        await _forget(records, [each for each in page.items if _is_left(each)])
        after = page.next
        if after is None:
            return


def _is_left(item: Item) -> bool:
    return item.family in _KINDS and not (item.deleted and item.body == "{}")


async def _forget(records: RecordStore, items: Sequence[Item]) -> None:
    for item in items:
        current: Item | None = item
        while current is not None and _is_left(current):
            put = Put(
                current.key, Match(current.token), current.family, json.dumps({}), deleted=True
            )
            try:
                await records.put_row(put)
            except ConditionFailed:
                current = await records.get_row(item.key)
            else:
                current = None
