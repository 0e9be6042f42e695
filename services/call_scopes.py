"""Calls of a client that is closed while they are under way: they end with it, and do not
meet its closed connections."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

__all__ = ["CallScopes"]


class CallScopes:
    """The calls under way of one client. `error` makes what they raise once it is closed."""

    def __init__(self, error: Callable[[], Exception]) -> None:
        self._error = error
        self._scopes: set[asyncio.Timeout] = set()
        self._left = asyncio.Event()
        self.closed = False

    @asynccontextmanager
    async def call(self) -> AsyncIterator[None]:
        """Around one call, which is cancelled inside when `close` comes. Raises the error of
        this client then, and for every call after it."""
        if self.closed:
            raise self._error()
        scope = asyncio.timeout(None)
        self._scopes.add(scope)
        try:
            async with scope:
                yield
        except TimeoutError:
            if not scope.expired():
                raise  # of the call itself
            raise self._error() from None
        finally:
            self._scopes.discard(scope)
            self._left.set()

    async def close(self) -> None:
        """End the calls under way; returns when none of them does anything any more."""
        self.closed = True
        now = asyncio.get_running_loop().time()
        for scope in self._scopes:
            if not scope.expired():
                scope.reschedule(now)
        while self._scopes:
            self._left.clear()
            await self._left.wait()
