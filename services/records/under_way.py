"""Commits that go on when their caller leaves, and that `close` waits for."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any

__all__ = ["UnderWay"]


class UnderWay:
    """The commits of one driver that have begun."""

    def __init__(self) -> None:
        self._tasks: set[asyncio.Task[list[str]]] = set()

    async def run(self, commit: Coroutine[Any, Any, list[str]]) -> list[str]:
        """Its tokens. A caller that leaves does not stop it: half a story helps no one."""
        task = asyncio.create_task(commit)
        self._tasks.add(task)
        task.add_done_callback(self._ended)
        return await asyncio.shield(task)

    async def wait(self) -> None:
        """Until all of them have ended."""
        while self._tasks:
            await asyncio.wait(self._tasks)

    def _ended(self, task: asyncio.Task[list[str]]) -> None:
        self._tasks.discard(task)
        if not task.cancelled():
            task.exception()  # it was seen, even if its caller has left
