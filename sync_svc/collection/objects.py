"""Objects that nothing names any more are removed from a surface: after two cycles
and a day of the store's own time, and never on the word of one listing.

A cycle: lease and epoch -> every object that no row names (`object_marks.py`) ->
candidates, counted on the surface -> of those that are ripe, each is claimed, looked
for once more by strong reads of whatever could name it, and deleted if the epoch is
still ours. A listing that fails or is not complete ends the cycle before anything is
noted. Runs that bring an object meanwhile are seen by their intents, or see the claim
(`sync_svc/engine/objects/intents.py`).

In a workspace that serves, storage_svc collects uploads that were never completed,
and project_svc deletes the files of documents that it purges; what their rows still
name is spared here. What is left is what came or was purged by sync.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field

from services.model.errors import Reason, WorkspaceError
from services.objects.port import ObjectInfo
from services.records.lease import Lease
from services.records.port import Key
from sync_svc.collection.epoch import Epoch, LostEpoch
from sync_svc.collection.object_candidates import AGE_SECONDS, Candidate, Candidates
from sync_svc.collection.object_check import still_named
from sync_svc.collection.object_marks import WINDOW, Incomplete, unnamed
from sync_svc.collection.store_time import store_time
from sync_svc.engine.objects.copying import find
from sync_svc.engine.objects.intents import CANDIDATES
from sync_svc.surfaces.surface import Surface

__all__ = ["CollectedObjects", "ObjectCollector"]

_LEASE_SECONDS = 60.0
_MOST = 10_000
"""Candidates at a time; the rest is found when these are gone."""
_CLAIMS = 500
_GUARD = 100
_GUARD_SHARE = 0.25
_INSTANCE = Key("INSTANCE", "INSTANCE")
_LOG = logging.getLogger("workspace.sync.collection")

Removed = Callable[[str, int], Awaitable[None]]
"""Told of each object that was deleted: its key and its size in bytes."""


@dataclass(slots=True)
class CollectedObjects:
    """What a cycle did. `outcome`: `done`, `busy` (somebody else collects), `lost`
    (taken over meanwhile), `incomplete` (a listing was), `guarded` (more than 100
    objects and a quarter of all would go: nothing was deleted), `read_only`."""

    outcome: str = "done"
    seen: int = 0
    candidates: int = 0
    deleted: int = 0
    bytes: int = 0
    spared: int = 0
    keys: list[str] = field(default_factory=list)


class ObjectCollector:
    """Collects surfaces, one cycle a call. `holder` is unique to the process, `now`
    unix seconds (for leases only), `removed` keeps accounts of what is deleted."""

    def __init__(
        self,
        *,
        holder: str,
        now: Callable[[], float],
        removed: Removed | None = None,
        window: int = WINDOW,
        most: int = _MOST,
    ) -> None:
        self._holder = holder
        self._now = now
        self._removed = removed
        self._window = window
        self._most = most

    async def run(self, surface: Surface, *, force: bool = False) -> CollectedObjects:
        """One cycle; `force` passes the guard. Raises BACKEND_UNAVAILABLE and
        STORAGE_FULL of the surface, and SURFACE_CHANGED when it is another."""
        done = CollectedObjects()
        if surface.read_only:
            done.outcome = "read_only"
            return done
        await _require_same(surface)
        lease = Lease(
            surface.records, Key(CANDIDATES, "LEASE"), holder=self._holder, now=self._now,
            seconds=_LEASE_SECONDS,
        )

        async def work() -> None:
            done.outcome = "done"
            epoch = Epoch(surface.records, CANDIDATES, lease, holder=self._holder)
            try:
                await epoch.begin()
                await self._cycle(surface, epoch, done, force=force)
            except LostEpoch:
                done.outcome = "lost"
            except Incomplete as error:
                done.outcome = "incomplete"
                _LOG.warning("collection of objects stopped: %s", error)

        done.outcome = "busy"
        if not await lease.hold(work) and done.outcome != "busy":
            done.outcome = "lost"
        return done

    async def _cycle(
        self, surface: Surface, epoch: Epoch, done: CollectedObjects, *, force: bool
    ) -> None:
        now = await store_time(surface.objects)
        suspects = await self._suspects(surface, now, done)
        await epoch.check()
        candidates = Candidates(surface.records, now=now)
        ripe = await candidates.note(suspects)
        done.candidates = len(suspects)
        if not force and len(ripe) > max(_GUARD, done.seen * _GUARD_SHARE):
            done.outcome = "guarded"
            return
        for at in range(0, len(ripe), _CLAIMS):
            await self._remove(surface, epoch, candidates, ripe[at : at + _CLAIMS], done, now)

    async def _suspects(
        self, surface: Surface, now: float, done: CollectedObjects
    ) -> dict[str, ObjectInfo]:
        found: dict[str, ObjectInfo] = {}
        sentinels = (_INSTANCE, Key(CANDIDATES, "STATE"), Key(CANDIDATES, "LEASE"))
        objects = unnamed(
            surface.objects, surface.records, now=now, sentinels=sentinels, window=self._window
        )
        async for info, is_unnamed in objects:
            done.seen += 1
            if is_unnamed and len(found) < self._most and info.modified_at + AGE_SECONDS <= now:
                found[info.key] = info
        return found

    async def _remove(
        self,
        surface: Surface,
        epoch: Epoch,
        candidates: Candidates,
        ripe: Sequence[Candidate],
        done: CollectedObjects,
        now: float,
    ) -> None:
        claimed = [each for each in ripe if await candidates.claim(each)]
        named = await still_named(surface.records, [each.key for each in claimed], now=now)
        for each in claimed:
            await epoch.check()
            spared = each.key in named or not await candidates.is_claimed(each.key)
            if spared or not await self._delete(surface, each, done):
                done.spared += 1
            await candidates.drop([each.key])

    async def _delete(
        self, surface: Surface, candidate: Candidate, done: CollectedObjects
    ) -> bool:
        """False when it is another object by now, or gone."""
        info = await find(surface.objects, candidate.key)
        if info is None or info.modified_at != candidate.modified_at:
            return False
        await surface.objects.delete(candidate.key)
        if self._removed is not None:
            await self._removed(candidate.key, info.size)
        done.deleted += 1
        done.bytes += info.size
        done.keys.append(candidate.key)
        return True


async def _require_same(surface: Surface) -> None:
    """The records are those of the surface that was opened: of an emptied or another
    store everything would seem unnamed."""
    item = await surface.records.get_row(_INSTANCE)
    if item is None or surface.instance.instance_id not in item.body:
        raise WorkspaceError(
            Reason.ERROR_REASON_SURFACE_CHANGED,
            "another surface is behind this connection; nothing was collected",
            metadata={"connection_id": surface.name},
        )
