"""Who mints the versions of a store: one actor at a time.

A store that turns out to be restored or cloned goes on under another actor. What
was planned under the former one may still be on its way to the database then, and
whoever mints the former's versions again has to see all of it: `Actors.become`
waits for it.

Where several processes write to one store, each looks regularly which actor is in
use (services/records/incarnation_watch.py). One that could not look for
`FENCE_SECONDS` plans nothing: so `SETTLE_SECONDS` after a change nobody writes under
the former actor any more.
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from services.model.errors import Reason, WorkspaceError

__all__ = ["FENCE_SECONDS", "SETTLE_SECONDS", "Actors"]

FENCE_SECONDS = 10.0
SETTLE_SECONDS = 15.0


class Actors:
    """The actor in use, and how many commits are under way by each. `monotonic` is
    in seconds."""

    def __init__(self, actor: str, *, monotonic: Callable[[], float] = time.monotonic) -> None:
        self.current = actor
        self._monotonic = monotonic
        self._under_way: Counter[str] = Counter()
        self._ended = asyncio.Event()
        self._sure_until: float | None = None

    @contextmanager
    def minting(self) -> Iterator[str]:
        """The actor of a commit, from before it is planned until it has ended.
        Raises BACKEND_UNAVAILABLE when the actor may have been replaced."""
        if self._sure_until is not None and self._monotonic() > self._sure_until:
            raise WorkspaceError(
                Reason.ERROR_REASON_BACKEND_UNAVAILABLE,
                "this process could not look at the record store for a while and writes "
                "nothing until it can; repeat with the same request_id",
                metadata={"backend": "records"},
                retry_after=1.0,
            )
        actor = self.current
        release = self.hold(actor)
        try:
            yield actor
        finally:
            release()

    def hold(self, actor: str) -> Callable[[], None]:
        """Count something under way by `actor`; returns what ends it."""
        self._under_way[actor] += 1

        def release() -> None:
            self._under_way[actor] -= 1
            self._ended.set()

        return release

    async def become(self, actor: str) -> None:
        """Plan later commits under `actor`; returns when those that were planned
        under another one have ended."""
        self.current = actor
        while any(n for other, n in self._under_way.items() if other != self.current):
            self._ended.clear()
            await self._ended.wait()

    def sure(self, since: float) -> None:
        """The actor in use was looked up at `since` (monotonic seconds)."""
        self._sure_until = since + FENCE_SECONDS
