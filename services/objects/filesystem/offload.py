"""Blocking file work in a few threads, never on the event loop."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import TypeVar, TypeVarTuple

__all__ = ["Offload"]

_T = TypeVar("_T")
_Ts = TypeVarTuple("_Ts")


class Offload:
    """A bounded pool. `run` does not return before its thread is done, not
    even when cancelled, so that nobody closes a descriptor still in use."""

    def __init__(self, *, threads: int) -> None:
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix="objects")

    async def run(
        self,
        work: Callable[[*_Ts], _T],
        *args: *_Ts,
        undo: Callable[[_T], object] | None = None,
    ) -> _T:
        """`work(*args)` in a thread. When cancelled, a result that nobody will
        receive is handed to `undo`."""
        future = asyncio.get_running_loop().run_in_executor(self._pool, work, *args)
        try:
            return await asyncio.shield(future)
        except asyncio.CancelledError:
            await _settled(future)
            if undo is not None and not future.cancelled() and future.exception() is None:
                self._pool.submit(undo, future.result())
            raise

    def submit(self, work: Callable[[], object]) -> None:
        """Start `work` without waiting for it."""
        self._pool.submit(work)

    async def close(self) -> None:
        """Wait for running work and end the threads."""
        await asyncio.to_thread(self._pool.shutdown)


async def _settled(future: asyncio.Future[_T]) -> None:
    """Wait until the thread is done, however often we are cancelled."""
    while not future.done():
        with suppress(asyncio.CancelledError):
            await asyncio.wait([future])
    if not future.cancelled():
        future.exception()  # seen; the cancellation is what matters
