"""What is done now and then beside runs: metrics, and history that is too long."""

from __future__ import annotations

import asyncio
import logging
import time

from services.model.errors import Reason, WorkspaceError
from services.rpc.context import set_current_call
from services.telemetry.sync import SyncMetrics
from sync_svc.runs.history import History
from sync_svc.runs.ports import Connections
from sync_svc.runs.status import SyncStatuses

__all__ = ["Housekeeping"]

_METRICS_SECONDS = 60.0
_TRIM_SECONDS = 3600.0
_log = logging.getLogger("workspace.sync.runs")


class Housekeeping:
    """See the module."""

    def __init__(
        self, *, connections: Connections, statuses: SyncStatuses, history: History,
        metrics: SyncMetrics,
    ) -> None:
        self._connections = connections
        self._statuses = statuses
        self._history = history
        self._metrics = metrics

    async def run(self) -> None:
        """Until cancelled."""
        set_current_call(None)
        trimmed = time.monotonic()
        while True:
            try:
                self._metrics.observed(await self._statuses.everything())
                if time.monotonic() - trimmed >= _TRIM_SECONDS:
                    trimmed = time.monotonic()
                    await self.trim()
            except WorkspaceError as error:
                _log.warning("housekeeping of sync waits: %s", Reason.Name(error.reason))
            except Exception:
                _log.exception("housekeeping of sync failed; it goes on")
            await asyncio.sleep(_METRICS_SECONDS)

    async def trim(self) -> None:
        """Forget old runs of every connection."""
        for connection in await self._connections.everything():
            await self._history.trim(connection.connection_id)
