"""The engine's `Checks`: preflight, handshake and acknowledgement of one run."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

from services.model.errors import Reason, WorkspaceError
from sync_svc.engine.sync_state import SyncState, SyncStates
from sync_svc.engine.task import Task
from sync_svc.nodes.contact import Contact, acknowledge, announce_export
from sync_svc.nodes.preflight import Preflight, Sleep, look, preflight

__all__ = ["NodeChecks"]


@dataclass(frozen=True, slots=True)
class _Looked:
    full_reconcile: bool


class NodeChecks:
    """One object a run. `sleep` (seconds) waits for other processes of this workspace
    when it was restored."""

    def __init__(self, *, sleep: Sleep = asyncio.sleep) -> None:
        self._sleep = sleep
        self._contact: Contact | None = None
        self._reconciles = False

    async def look(self, task: Task, state: SyncState) -> _Looked:
        """What `preflight` would find; nothing is written."""
        return _Looked(await look(task, state))

    async def preflight(self, task: Task, state: SyncState) -> Preflight:
        """Stores the sync state when the surface is new or its cursors mean nothing
        any more: load it again. Raises SURFACE_CHANGED, INVALID_STATE."""
        found = await preflight(task, state, sleep=self._sleep)
        self._contact, self._reconciles = found.contact, found.full_reconcile
        return found

    async def announce_export(self, task: Task) -> None:
        """Before the first write to the surface. Raises CONFLICTING_WRITE when a copy of
        this workspace spoke with it meanwhile."""
        self._contact = await announce_export(task, self._known())

    async def acknowledge(self, task: Task) -> None:
        """At the end of a pull, after its cursor was stored."""
        state = await SyncStates(task.local.records).load(task.connection.connection_id)
        self._contact = await acknowledge(
            task, self._known(), cursor=state.pull_cursor, reconciled=self._reconciles
        )

    def _known(self) -> Contact:
        if self._contact is None:
            raise WorkspaceError(
                Reason.ERROR_REASON_INVALID_STATE, "the run has not checked its surface"
            )
        return self._contact
