"""Following the mark of the local store through each connection.

Nodes that sync with a surface of ours cannot say that they passed a mark of our
store; they pass marks of the surface. So a connection has passed our mark when a push
that began after it has ended, and then every node of the surface has passed a mark
that the surface got later still. Everything is counted, no clocks are compared.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace

from services.records.port import ConditionFailed
from services.records.store import RecordStore
from sync_svc.collection.marks import MARK_KEY, Mark, Relayed, mark_of, mark_put
from sync_svc.nodes.rows import LEASE_MS, NodeRow

__all__ = ["all_passed", "note_nodes", "note_run"]

_Change = Callable[[Mark], Relayed | None]


async def note_run(
    local: RecordStore, connection_id: str, *, push: bool, last_push_ms: int, there: int
) -> None:
    """A run begins; the surface's mark is `there` and the last push ended at
    `last_push_ms`. Usually nothing is written."""

    def change(mark: Mark) -> Relayed | None:
        known = mark.relayed.get(connection_id, Relayed())
        if known.number < mark.number:
            return Relayed(mark.number, last_push_ms) if push else None
        if not known.needed and known.number and last_push_ms != known.began:
            return replace(known, needed=there + 1)
        return None

    await _change(local, connection_id, change)


async def note_nodes(
    local: RecordStore,
    connection_id: str,
    rows: Iterable[NodeRow],
    *,
    now_ms: int,
    lease_ms: int = LEASE_MS,
) -> None:
    """The node rows of the surface, as they are now."""
    nodes = list(rows)

    def change(mark: Mark) -> Relayed | None:
        known = mark.relayed.get(connection_id, Relayed())
        if known.passed or not known.needed:
            return None
        passed = all_passed(nodes, known.needed, now_ms=now_ms, lease_ms=lease_ms)
        return replace(known, passed=True) if passed else None

    await _change(local, connection_id, change)


def all_passed(
    rows: Iterable[NodeRow], number: int, *, now_ms: int, lease_ms: int = LEASE_MS
) -> bool:
    """Whether every incarnation that is waited for has passed the mark."""
    return all(
        entry.mark >= number for row in rows for entry in row.awaited(now_ms, lease_ms)
    )


async def _change(local: RecordStore, connection_id: str, change: _Change) -> None:
    item = await local.get_row(MARK_KEY)
    mark = mark_of(item)
    later = change(mark)
    if later is None:
        return
    relayed = {**mark.relayed, connection_id: later}
    try:
        await local.put_row(mark_put(replace(mark, relayed=relayed), item))
    except ConditionFailed:
        return  # it is noted by the next run
