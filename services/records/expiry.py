"""Removing expired rows for good, where the database has no expiry of its own.

Expired rows are invisible at once on every driver; this is about space. A driver
whose database removes them itself (a TTL) has no `collect_expired` and needs
nothing.
"""

from __future__ import annotations

import asyncio
import logging
from typing import Protocol, runtime_checkable

from services.records.port import DriverUnavailable, RecordDriver, StorageFull

__all__ = ["CollectsExpired", "ExpirySweep"]

PERIOD_SECONDS = 60.0
_BATCH = 500
_MOST = 20
_REST_SECONDS = 0.05
_LOG = logging.getLogger("workspace.records.expiry")


@runtime_checkable
class CollectsExpired(Protocol):
    """Capability of a driver without expiry of its own."""

    async def collect_expired(self, limit: int) -> int:
        """Remove up to `limit` expired rows for good; returns how many."""
        ...


class ExpirySweep:
    """Sweeps in small transactions with rests between them, at most 10,000 rows
    a run, so that callers hardly notice. `period` is the pause between runs, in
    seconds."""

    def __init__(
        self,
        driver: RecordDriver,
        *,
        period: float = PERIOD_SECONDS,
        batch: int = _BATCH,
        most: int = _MOST,
    ) -> None:
        self._driver = driver
        self._period = period
        self._batch = batch
        self._most = most

    async def run(self) -> None:
        """Sweep again and again until cancelled; at once done without need."""
        if not isinstance(self._driver, CollectsExpired):
            return
        while True:
            await asyncio.sleep(self._period)
            try:
                removed = await self.sweep()
            except (DriverUnavailable, StorageFull):
                _LOG.warning("expired rows wait: the record store does not answer")
            else:
                if removed:
                    _LOG.info("%d expired rows removed", removed)

    async def sweep(self) -> int:
        """One run; how many rows it removed."""
        if not isinstance(self._driver, CollectsExpired):
            return 0
        removed = 0
        for _ in range(self._most):
            found = await self._driver.collect_expired(self._batch)
            removed += found
            if found < self._batch:
                break
            await asyncio.sleep(_REST_SECONDS)
        return removed
