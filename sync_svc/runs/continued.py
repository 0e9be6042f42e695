"""Answers whose making may outlast the call: it goes on, and the same call gets it."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Hashable
from typing import Generic, TypeVar

__all__ = ["Continued"]

T = TypeVar("T")
_MOST = 64


class Continued(Generic[T]):
    """Makes one answer a key at a time. An answer is given once: who asks after that
    has it made anew."""

    def __init__(self) -> None:
        self._making: dict[Hashable, asyncio.Task[T]] = {}

    async def get(self, key: Hashable, make: Callable[[], Awaitable[T]]) -> T:
        """The answer that is being made for `key`, or a new one. When the caller is
        cancelled the making goes on. Raises what `make` raises."""
        task = self._making.get(key)
        if task is None:
            self._let_go()
            task = self._making[key] = asyncio.ensure_future(_made(make))
        await asyncio.wait([task])
        if self._making.get(key) is task:
            del self._making[key]
        return task.result()

    async def close(self) -> None:
        """End what is being made."""
        tasks = list(self._making.values())
        self._making.clear()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _let_go(self) -> None:
        """Answers that nobody fetched make room, the oldest first."""
        done = [key for key, task in self._making.items() if task.done()]
        for key in done[: max(0, len(self._making) + 1 - _MOST)]:
            task = self._making.pop(key)
            if not task.cancelled():
                task.exception()  # looked at: nobody else will


async def _made(make: Callable[[], Awaitable[T]]) -> T:
    return await make()
