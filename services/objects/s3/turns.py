"""Turns of the writers of one key inside a process.

S3 decides between writers by itself; stores that look first and write then do not.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from weakref import WeakValueDictionary

__all__ = ["Turns"]


class Turns:
    """One writer at a time of each key."""

    def __init__(self) -> None:
        self._locks: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()

    @asynccontextmanager
    async def of(self, key: str) -> AsyncIterator[None]:
        """Hold the turn of a key."""
        lock = self._locks.setdefault(key, asyncio.Lock())
        async with lock:
            yield
