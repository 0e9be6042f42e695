"""Objects first: what records name is at the target, verified, before they are."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

from services.model.versions import State
from services.objects.store import ObjectStore
from services.records.port import Key
from services.records.replica import Incoming
from sync_svc.engine.objects.copying import (
    OtherBytes,
    SourceDamaged,
    SourceMissing,
    copy_object,
    look,
)
from sync_svc.engine.objects.intents import register, unclaim
from sync_svc.engine.objects.needed import (
    Fault,
    Moved,
    NeededObject,
    Presence,
    named_objects,
)
from sync_svc.engine.objects.parallel import in_parallel
from sync_svc.engine.objects.pending import Pending
from sync_svc.engine.task import Task
from sync_svc.surfaces.backoff import Backoff
from sync_svc.surfaces.surface import Surface

__all__ = ["ObjectMover"]

_KNOWN = 65_536
There = Mapping[Key, State | None]
"""States at the target, by record key."""


class ObjectMover:
    """Moves objects for one run; see the package. Of `concurrency` objects at a time
    one chunk each is in memory. `backoff` repeats what a store did not answer."""

    def __init__(self, *, concurrency: int = 4, backoff: Backoff | None = None) -> None:
        self._concurrency = concurrency
        self._backoff = backoff or Backoff()
        self._known: OrderedDict[tuple[str, str, str], None] = OrderedDict()
        self._pending = Pending(concurrency=concurrency)

    async def send(
        self, task: Task, incoming: Sequence[Incoming], *, there: There | None = None
    ) -> Moved:
        """Push: have the objects of these states at the remote surface. Records that
        `gated` and `corrupt` name stay here; those in `gated` are looked at again in
        later runs (`waiting`). Raises STORAGE_FULL, BACKEND_UNAVAILABLE, Stopped."""
        return await self._carry(task, incoming, there, task.local, task.remote)

    async def fetch(
        self, task: Task, incoming: Sequence[Incoming], *, there: There | None = None
    ) -> Moved:
        """Have the objects of these remote states here. What is missing is noted as
        pending before this returns, so that the records can be joined. Raises
        STORAGE_FULL, BACKEND_UNAVAILABLE, Stopped."""
        moved = await self._carry(task, incoming, there, task.remote, task.local)
        task.tally.counts.bytes_pending += len(moved.gated)
        return moved

    async def waiting(self, task: Task) -> list[Key]:
        """Keys of local records that an earlier push held back for their objects."""
        return await self._pending.waiting(task)

    async def settle(self, task: Task, keys: Iterable[Key]) -> None:
        """These records are at the remote surface: those of `waiting` wait no more."""
        await self._pending.settle(task, keys)

    async def fetch_pending(self, task: Task) -> int:
        """Get what is still to come here from the remote surface of this run, over
        whichever connection its record came; how many objects came."""

        async def bring(needed: NeededObject) -> Fault | None:
            presence = await look(task.local.objects, needed)
            if presence is Presence.ABSENT:
                return await self._copy(task, needed, task.remote.objects, task.local.objects)
            return None if presence is Presence.SAME else Fault.MISMATCH

        return await self._pending.fetch(task, bring)

    async def needed(
        self,
        task: Task,
        incoming: Sequence[Incoming],
        *,
        there: There | None = None,
        target: Surface | None = None,
    ) -> list[NeededObject]:
        """Objects that these states name and that the target may lack, with what it
        has (`presence`). Reads only. Default: the target of the run."""
        goal = target or task.target
        wanted = [each for each in self._named(incoming, there or {}) if self._is_new(goal, each)]
        found: dict[tuple[str, str], Presence] = {}

        async def one(each: NeededObject) -> None:
            found[each.identity] = await look(goal.objects, each)

        distinct = {each.identity: each for each in wanted}
        await in_parallel(distinct.values(), one, concurrency=self._concurrency)
        return [replace(each, presence=found[each.identity]) for each in wanted]

    async def survey(
        self, task: Task, needed: Sequence[NeededObject], *, source: Surface | None = None
    ) -> Moved:
        """What `move` would come to, as far as can be told without reading the bytes.
        Reads only. `objects` and `bytes` are those to move."""
        moved, origin = Moved(), (source or task.source).objects
        seen: dict[tuple[str, str], Presence] = {}

        async def one(each: NeededObject) -> None:
            seen[each.identity] = await look(origin, each)

        absent = {each.identity: each for each in needed if each.presence is Presence.ABSENT}
        await in_parallel(absent.values(), one, concurrency=self._concurrency)
        for each in needed:
            if each.presence is Presence.OTHER:
                moved.note(each, Fault.MISMATCH)
            elif seen.get(each.identity, Presence.SAME) is not Presence.SAME:
                gone = seen[each.identity] is Presence.ABSENT
                moved.note(each, Fault.MISSING if gone else Fault.CORRUPT)
        whole = [each for key, each in absent.items() if seen[key] is Presence.SAME]
        moved.objects, moved.bytes = len(whole), sum(each.size or 0 for each in whole)
        return moved

    async def move(
        self,
        task: Task,
        needed: Sequence[NeededObject],
        *,
        source: Surface | None = None,
        target: Surface | None = None,
    ) -> Moved:
        """Have these objects at the target. Their keys are registered there as
        intents first. Raises STORAGE_FULL, BACKEND_UNAVAILABLE, Stopped; what was
        copied stays and is found again."""
        origin, goal = source or task.source, target or task.target
        moved = Moved()
        if not needed:
            return moved
        removing = await self._announce(task, goal, needed)
        distinct = {each.identity: each for each in needed}
        self._plan(task, distinct.values())
        faults: dict[tuple[str, str], Fault] = {}

        async def one(each: NeededObject) -> None:
            task.check()
            fault = Fault.REMOVING if each.key in removing else None
            fault = fault or await self._one(task, each, origin, goal, moved)
            if fault is not None:
                faults[each.identity] = fault
            else:
                self._remember(goal, each)

        await in_parallel(distinct.values(), one, concurrency=self._concurrency)
        for each in needed:
            if each.identity in faults:
                moved.note(each, faults[each.identity])
        return moved

    async def mark_pending(self, task: Task, moved: Moved, *, pull: bool | None = None) -> None:
        """Note the objects that are not where their records (are to) be, for later
        runs. Before the records are joined: a run that is cut off must not forget."""
        is_pull = task.source is task.remote if pull is None else pull
        await self._pending.mark(task, moved, direction="pull" if is_pull else "push")

    async def _carry(
        self,
        task: Task,
        incoming: Sequence[Incoming],
        there: There | None,
        source: Surface,
        target: Surface,
    ) -> Moved:
        needed = await self.needed(task, incoming, there=there, target=target)
        moved = await self.move(task, needed, source=source, target=target)
        pull = source is task.remote
        await self.mark_pending(task, moved, pull=pull)
        if not pull:
            through = {each.key for each in incoming} - moved.gated - moved.corrupt
            await self._pending.settle(task, through)
        return moved

    def _named(self, incoming: Sequence[Incoming], there: There) -> Iterable[NeededObject]:
        for each in incoming:
            state = there.get(each.key)
            named = {o.identity for o in named_objects(each.key, state)} if state else set()
            for needed in named_objects(each.key, each.state):
                if needed.identity not in named:
                    yield needed

    async def _announce(
        self, task: Task, target: Surface, needed: Sequence[NeededObject]
    ) -> set[str]:
        """Register the keys; which of them are being removed just now."""
        keys = sorted({each.key for each in needed if each.presence is not Presence.OTHER})
        if not keys:
            return set()
        await register(target.records, task.run_id, keys, now_ms=task.now_ms())
        return await unclaim(target.records, keys, now_ms=task.now_ms())

    async def _one(
        self, task: Task, needed: NeededObject, source: Surface, target: Surface, moved: Moved
    ) -> Fault | None:
        presence = needed.presence
        if presence is Presence.SAME:  # once more, now that the intent is there
            presence = await look(target.objects, needed)
        if presence is Presence.SAME:
            return None
        if presence is Presence.OTHER:
            return Fault.MISMATCH
        fault = await self._copy(task, needed, source.objects, target.objects)
        if fault is None:
            moved.objects += 1
            moved.bytes += needed.size or 0
        return fault

    async def _copy(
        self, task: Task, needed: NeededObject, source: ObjectStore, target: ObjectStore
    ) -> Fault | None:
        counts = task.tally.counts

        def progress(count: int) -> None:
            counts.bytes_done += count

        try:
            await copy_object(
                needed, source=source, target=target, backoff=self._counting(task),
                progress=progress,
            )
        except SourceMissing:
            return Fault.MISSING
        except SourceDamaged:
            return Fault.CORRUPT
        except OtherBytes:
            return Fault.MISMATCH
        counts.objects_done += 1
        return None

    def _counting(self, task: Task) -> Backoff:
        def retried() -> None:
            task.tally.counts.retries += 1

        return replace(self._backoff, retried=retried)

    def _plan(self, task: Task, needed: Iterable[NeededObject]) -> None:
        absent = [each for each in needed if each.presence is Presence.ABSENT]
        task.tally.counts.objects_planned += len(absent)
        task.tally.counts.bytes_planned += sum(each.size or 0 for each in absent)

    def _is_new(self, target: Surface, needed: NeededObject) -> bool:
        known = (target.name, *needed.identity) in self._known
        if known:
            self._known.move_to_end((target.name, *needed.identity))
        return not known

    def _remember(self, target: Surface, needed: NeededObject) -> None:
        self._known[(target.name, *needed.identity)] = None
        while len(self._known) > _KNOWN:
            self._known.popitem(last=False)
