"""One opening of a surface in this process, shared by all who use it at a time.

A run has its connection alone (by its claim), but a test or a collection may come
by meanwhile. A second opening of the same files would be refused by their lock, or
close them under the run: so whoever comes later uses what is open.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace

from services.model.errors import Reason, WorkspaceError
from sync_svc.surfaces.surface import Surface

__all__ = ["Opened", "SharedSurfaces"]

_WAIT_SECONDS = 20.0


@dataclass(frozen=True, slots=True)
class Opened:
    """A surface and what closes it."""

    surface: Surface
    close: Callable[[], Awaitable[None]]


@dataclass(slots=True)
class _Place:
    """`opened` is None while it is being opened or closed."""

    read_only: bool
    opened: Opened | None = None
    users: int = 0


class SharedSurfaces:
    """Open surfaces by place. `wait` is how long (seconds) a writer waits until
    those who only read, or who are closing, are gone."""

    def __init__(self, *, wait: float = _WAIT_SECONDS) -> None:
        self._wait = wait
        self._places: dict[str, _Place] = {}
        self._changed = asyncio.Condition()

    @asynccontextmanager
    async def hold(
        self, place: str, *, read_only: bool, opening: Callable[[], Awaitable[Opened]]
    ) -> AsyncIterator[Surface]:
        """The surface at `place`, opened by `opening` if nobody has it open. It is
        closed when its last user leaves."""
        entry = await self._enter(place, read_only, opening)
        assert entry.opened is not None, "an entered place is open"
        surface = entry.opened.surface
        try:
            yield replace(surface, read_only=surface.read_only or read_only)
        finally:
            leaving = asyncio.ensure_future(self._leave(place, entry))
            try:
                await asyncio.shield(leaving)
            except asyncio.CancelledError:
                await leaving  # whoever comes next must find it closed
                raise

    async def _enter(
        self, place: str, read_only: bool, opening: Callable[[], Awaitable[Opened]]
    ) -> _Place:
        until = time.monotonic() + self._wait
        async with self._changed:
            while (entry := self._places.get(place)) is not None:
                if entry.opened is not None and (read_only or not entry.read_only):
                    entry.users += 1
                    return entry
                await self._until_changed(place, until)
            entry = self._places[place] = _Place(read_only, users=1)
        try:
            entry.opened = await opening()
        except BaseException:
            await self._drop(place)
            raise
        async with self._changed:
            self._changed.notify_all()
        return entry

    async def _until_changed(self, place: str, until: float) -> None:
        try:
            async with asyncio.timeout(max(0.0, until - time.monotonic())):
                await self._changed.wait()
        except TimeoutError:
            raise WorkspaceError(
                Reason.ERROR_REASON_INVALID_STATE,
                "the surface is being opened, closed or tested at this moment; repeat the call",
                metadata={"place": place.partition(":")[0]},
                retry_after=1.0,
            ) from None

    async def _leave(self, place: str, entry: _Place) -> None:
        async with self._changed:
            entry.users -= 1
            if entry.users:
                return
            opened, entry.opened = entry.opened, None
        try:
            if opened is not None:
                await opened.close()
        finally:
            await self._drop(place)

    async def _drop(self, place: str) -> None:
        async with self._changed:
            self._places.pop(place, None)
            self._changed.notify_all()
