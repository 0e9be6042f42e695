"""How far push and pull of a connection are, and the surface as it was last seen.

One `sync_state` row a connection, in the local store. Every write is a
compare-and-swap against the row that was loaded, so that of two runs of one
connection the later cannot set back (or forward) what the earlier did not know.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, fields, replace

from services.model.errors import Reason, WorkspaceError
from services.records.port import ABSENT, ConditionFailed, Item, Key, Match, Put
from services.records.store import RecordStore

__all__ = ["SyncState", "SyncStates"]

_FAMILY = "sync_state"


@dataclass(frozen=True, slots=True)
class SyncState:
    """See the module. Times are unix milliseconds, 0 for never; texts are empty
    when unknown. `push_cursor` is of the local feed, `pull_cursor` of the surface's.

    `epoch` is that of the memory of the surface (`sync_svc/nodes/handshake.py`) which
    the cursors belong to. `push_filter` and `pull_filter` are hashes of the
    scope that the cursors stand for. `push_reconciled_ms`, `pull_reconciled_ms`:
    last full reconcile; `in_step_ms`: since when both directions are complete.
    `loaded` names the row that was read and is not stored."""

    connection_id: str
    push_cursor: str = ""
    pull_cursor: str = ""
    instance_id: str = ""
    provider_identity: str = ""
    remote_generation: int = 0
    epoch: int = 0
    push_filter: str = ""
    pull_filter: str = ""
    push_reconciled_ms: int = 0
    pull_reconciled_ms: int = 0
    in_step_ms: int = 0
    last_push_ms: int = 0
    last_pull_ms: int = 0
    revision: int = 0
    loaded: str | None = None


_STORED = tuple(
    each.name for each in fields(SyncState) if each.name not in ("connection_id", "loaded")
)


class SyncStates:
    """The `sync_state` rows of one store."""

    def __init__(self, records: RecordStore) -> None:
        self._records = records

    async def load(self, connection_id: str) -> SyncState:
        """The row, or the state of a connection that was never used."""
        item = await self._records.get_row(_key(connection_id))
        return _state(connection_id, item)

    async def store(self, state: SyncState) -> SyncState:
        """Write what `load` gave, changed with `dataclasses.replace`; returns it as
        stored. Nothing is written when nothing changed. Raises CONFLICTING_WRITE when
        the row changed since it was loaded: load it again and decide again."""
        item = await self._records.get_row(_key(state.connection_id))
        if (item.token if item else None) != state.loaded:
            raise _changed(state)
        if _body(_state(state.connection_id, item)) == _body(state):
            return state
        later = replace(state, revision=state.revision + 1)
        condition = Match(state.loaded) if state.loaded else ABSENT
        put = Put(_key(state.connection_id), condition, _FAMILY, _body(later))
        try:
            token = await self._records.put_row(put)
        except ConditionFailed:
            raise _changed(state) from None
        return replace(later, loaded=token)


def _key(connection_id: str) -> Key:
    return Key(f"SYNC#{connection_id}", "STATE")


def _state(connection_id: str, item: Item | None) -> SyncState:
    if item is None:
        return SyncState(connection_id)
    raw = json.loads(item.body)
    # A member that later software wrote is left out, one that it did not know is empty.
    known = {name: raw[name] for name in _STORED if name in raw}
    return SyncState(connection_id, **known, loaded=item.token)


def _body(state: SyncState) -> str:
    raw = asdict(state)
    return json.dumps({name: raw[name] for name in _STORED}, sort_keys=True)


def _changed(state: SyncState) -> WorkspaceError:
    return WorkspaceError(
        Reason.ERROR_REASON_CONFLICTING_WRITE,
        "another run of the same connection changed its state meanwhile; repeat the call",
        metadata={"connection_id": state.connection_id},
        retry_after=0.1,
    )
