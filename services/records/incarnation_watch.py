"""Each process of a shared store notices when the store gets another incarnation.

See `services/records/actors.py` for why. On a store that one process owns alone
there is nothing to notice.
"""

from __future__ import annotations

import asyncio
import logging
import time

from services.model.errors import WorkspaceError
from services.records.instance import INSTANCE_KEY, instance_of
from services.records.store import RecordStore

__all__ = ["IncarnationWatch"]

_PERIOD_SECONDS = 1.0
_log = logging.getLogger("workspace.records.incarnation")


class IncarnationWatch:
    """Looks at the instance row every `period` seconds."""

    def __init__(self, records: RecordStore, *, period: float = _PERIOD_SECONDS) -> None:
        self._records = records
        self._period = period

    async def run(self) -> None:
        """Until cancelled; at once done where no other process writes."""
        if not self._records.driver.capabilities.multi_process:
            return
        while True:
            try:
                await self.look()
            except WorkspaceError:
                _log.warning("the record store does not answer")
            await asyncio.sleep(self._period)

    async def look(self) -> None:
        """Go on under the incarnation that is in use now. Raises BACKEND_UNAVAILABLE."""
        since = time.monotonic()
        item = await self._records.get_row(INSTANCE_KEY)
        if item is None:
            return
        instance = instance_of(item)
        if instance.floor:
            self._records.observe(instance.floor)
        if instance.actor != self._records.actor:
            _log.warning("the workspace goes on under a new incarnation")
            await self._records.become(instance.actor)
        self._records.actors.sure(since)
