"""How much waits for a push: the local feed after the push cursor, nothing else read."""

from __future__ import annotations

from dataclasses import dataclass

from workspace.sync.v1.connection_pb2 import Connection
from workspace.sync.v1.run_pb2 import SyncOptions

from services.model.clocks import hlc_millis
from services.model.errors import Reason, WorkspaceError
from services.model.stamp import Stamp
from services.records.port import Item
from services.records.store import RecordStore
from sync_svc.engine.reading import is_synced
from sync_svc.engine.scope import Scope
from sync_svc.engine.sync_state import SyncState

__all__ = ["MOST", "Backlog", "backlog_of"]

MOST = 100_000
"""Counting stops here: so many, or more, wait."""
_PAGE = 1000


@dataclass(frozen=True, slots=True)
class Backlog:
    """`records` that changed here and were not pushed; `oldest_ms` is when the first
    of them changed (unix milliseconds, 0: none)."""

    records: int
    oldest_ms: int


async def backlog_of(
    records: RecordStore, connection: Connection, state: SyncState
) -> Backlog:
    """What a push over this connection would look at, up to MOST. What came from its
    surface, and did not change here since, is not counted. A cursor that is lost
    counts everything: the next push compares all."""
    scope = Scope(connection, SyncOptions(), [records])
    cursor: str | None = state.push_cursor or None
    count, oldest = 0, 0
    while count < MOST:
        try:
            page = await records.changes(cursor, _PAGE)
        except WorkspaceError as error:
            if error.reason != Reason.ERROR_REASON_CURSOR_LOST or cursor is None:
                raise
            cursor = None
            continue
        wanted = [item for item in page.items if _waits(item, state.instance_id)]
        chosen = await scope.select(wanted)
        count += len(chosen)
        if chosen and not oldest:  # the feed is in the order of changes
            oldest = _changed_ms(chosen[0])
        cursor = page.cursor
        if not page.items:
            break
    return Backlog(count, oldest)


def _waits(item: Item, instance_id: str) -> bool:
    if not is_synced(item):
        return False
    return not (instance_id and f'"o":"{instance_id}"' in item.stamp)


def _changed_ms(item: Item) -> int:
    try:
        return hlc_millis(Stamp.load(item.stamp).hlc)
    except ValueError:  # a broken stamp: quarantine says so, not this count
        return 0
