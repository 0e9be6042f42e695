"""A queue of one between the two ends of a stream: the writer feels the reader."""

from __future__ import annotations

import asyncio

__all__ = ["Pipe"]


class Pipe:
    """Holds at most one serialised message. Either end may close it."""

    __slots__ = ("_closed", "_item", "_waiters")

    def __init__(self) -> None:
        self._item: bytes | None = None
        self._closed = False
        self._waiters: list[asyncio.Future[None]] = []

    async def put(self, item: bytes) -> bool:
        """Wait for room, then leave `item` there. False: closed, nobody will read it."""
        while self._item is not None and not self._closed:
            await self._changed()
        if self._closed:
            return False
        self._item = item
        self._wake()
        return True

    async def get(self) -> bytes | None:
        """The next message; None once the pipe is closed and empty."""
        while self._item is None:
            if self._closed:
                return None
            await self._changed()
        item, self._item = self._item, None
        self._wake()
        return item

    def close(self, *, discard: bool = False) -> None:
        """No more writing. `discard` also drops a message not read yet."""
        self._closed = True
        if discard:
            self._item = None
        self._wake()

    async def _changed(self) -> None:
        waiter = asyncio.get_running_loop().create_future()
        self._waiters.append(waiter)
        await waiter

    def _wake(self) -> None:
        waiters, self._waiters = self._waiters, []
        for waiter in waiters:
            if not waiter.done():
                waiter.set_result(None)
