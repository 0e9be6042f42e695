"""Wakes who watches a run in this process."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from weakref import WeakValueDictionary

__all__ = ["Bells"]


class Bells:
    """One bell a run. A watcher takes the bell, looks, and then waits for it: what
    happens between is not missed."""

    def __init__(self) -> None:
        self._bells: WeakValueDictionary[str, asyncio.Event] = WeakValueDictionary()

    def bell(self, run_id: str) -> asyncio.Event:
        """Is set when something about the run changes after this call."""
        bell = self._bells.get(run_id)
        if bell is None:
            bell = self._bells[run_id] = asyncio.Event()
        return bell

    def ring(self, run_id: str) -> None:
        """Something changed."""
        bell = self._bells.pop(run_id, None)
        if bell is not None:
            bell.set()

    @staticmethod
    async def wait(bell: asyncio.Event, seconds: float) -> None:
        """Until the bell is rung, at most `seconds`: other processes ring none here."""
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await bell.wait()
