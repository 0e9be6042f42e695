"""The nodes of a surface as last seen, in the local store: lists need no remote.

An eviction is decided here (`sync_svc/nodes/evicting.py`) and carried out in the
surface by the next run that speaks with it; if the node was seen there since, it
was not silent, and the run that evicted it by force is obeyed all the same.
"""

from __future__ import annotations

import logging
from dataclasses import replace

from services.model.errors import WorkspaceError
from services.records.port import ConditionFailed, Item
from sync_svc.collection.relaying import note_nodes
from sync_svc.engine.task import Task
from sync_svc.nodes.rows import NodeRow, node_key, node_put, node_rows, seen_key

__all__ = ["mirror"]

_log = logging.getLogger("workspace.sync")


async def mirror(task: Task) -> None:
    """Evict in the surface whom we evicted, then remember its nodes. What changes
    meanwhile is seen the next time."""
    rows: list[NodeRow] = []
    sound = True
    for item in await node_rows(task.remote.records):
        if item.key.sk != "NODE":
            continue
        try:
            row = NodeRow.of(item)
        except WorkspaceError:
            _log.warning("a row of a node of a surface is damaged")
            sound = False
            continue
        key = seen_key(row.instance_id, task.connection.connection_id)
        there = await task.local.records.get_row(key)
        row = await _evicted(task, item, row, there)
        rows.append(row)
        put = node_put(key, row, there)
        if there is not None and there.body == put.body:
            continue
        try:
            await task.local.records.put_row(put)
        except ConditionFailed:
            continue
    if not sound:
        return  # a node that cannot be read may be waited for
    await note_nodes(
        task.local.records, task.connection.connection_id,
        [_others(task, row) for row in rows], now_ms=task.now_ms(), lease_ms=task.lease_ms,
    )


def _others(task: Task, row: NodeRow) -> NodeRow:
    """The row without ourselves: we know what we deleted."""
    own = task.local.records.actor
    entries = {i: e for i, e in row.entries.items() if f"{row.instance_id}.{i}" != own}
    return replace(row, entries=entries)


async def _evicted(task: Task, item: Item, row: NodeRow, there: Item | None) -> NodeRow:
    """The row after an eviction that was decided here and is not there yet."""
    if there is None or task.remote.read_only:
        return row
    decided = NodeRow.of(there)
    if not decided.pending:
        return row
    later = row.evict(decided.evicted_by, decided.evicted_ms, decided.note)
    try:
        await task.remote.records.put_row(node_put(node_key(row.instance_id), later, item))
    except ConditionFailed:
        return replace(later, pending=True)
    return later
