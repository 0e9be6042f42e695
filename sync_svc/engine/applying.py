"""Joining a batch at its target: objects first, parents before children, partitions
of one rank at the same time."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from workspace.sync.v1.quarantine_pb2 import QuarantineReason
from workspace.sync.v1.run_pb2 import RunPhase, SyncDirection

from services.model.errors import Reason, WorkspaceError
from services.records.conflict_rows import Found
from services.records.last_owners import OWNER_FAMILIES, settle_owners
from services.records.port import Key
from services.records.replica import Incoming, Joined
from services.records.siblings import Rows
from sync_svc.engine.matching import Judged
from sync_svc.engine.objects.parallel import in_parallel
from sync_svc.engine.order import by_partition, waves
from sync_svc.engine.orphans import ParentWatch
from sync_svc.engine.parts import Parts
from sync_svc.engine.phases import phase
from sync_svc.engine.reading import read_rows
from sync_svc.engine.refusal import Refusal
from sync_svc.engine.task import Task
from sync_svc.surfaces.surface import Surface

__all__ = ["Applier"]

_PARTITIONS = 128
_PUSH = SyncDirection.SYNC_DIRECTION_PUSH
_MISMATCH = Refusal(
    QuarantineReason.QUARANTINE_REASON_OBJECT_MISMATCH,
    "the target has other bytes under the key of an object that the record names",
)
_TOO_MANY = (
    "its versions side by side are more than one commit takes; decide its conflict where it "
    "comes from, then retry"
)
_LATER = frozenset(
    {
        Reason.ERROR_REASON_BACKEND_UNAVAILABLE,
        Reason.ERROR_REASON_STORAGE_FULL,
        Reason.ERROR_REASON_CONFLICTING_WRITE,
    }
)


class Applier:
    """Does what was judged. Everything may be repeated: a run that is cut off
    anywhere leaves nothing that its successor does not find as it is."""

    def __init__(self, task: Task, parts: Parts) -> None:
        self._task = task
        self._parts = parts
        self._announced = False
        self._parents = ParentWatch()

    def first_contact(self) -> None:
        """No run of this direction has come to its end yet."""
        self._parents.first_contact(self._task.source.instance.instance_id)

    async def apply(self, judged: Judged, source: Mapping[Key, Rows]) -> None:
        """Objects, then records, then (push) the answer of the remote surface.
        `source` has the rows as they are there."""
        self._parents.learn(judged.known)
        if self._task.direction == _PUSH:
            await self._push(judged, source)
            await self._parts.mover.settle(self._task, judged.equal)
        else:
            await self._take(judged.incoming, judged, source)
        await self._parts.intake.agreed(self._task, judged.equal)
        self._count(judged)

    async def _push(self, judged: Judged, source: Mapping[Key, Rows]) -> None:
        if judged.incoming:
            await self._announce()
            with phase(self._task, RunPhase.RUN_PHASE_OBJECTS):
                moved = await self._parts.mover.send(
                    self._task, judged.incoming, there=judged.before
                )
            await self._refuse(moved.corrupt, source)
            held = moved.gated | moved.corrupt
            going = [each for each in judged.incoming if each.key not in held]
            with phase(self._task, RunPhase.RUN_PHASE_RECORDS):
                await self._settle_owners(going)
                joined = await self._join(self._task.remote, going, judged.known, source)
            await self._clear([each.key for each in joined], outgoing=True)
            await self._again(judged, joined)
        if judged.answers:
            await self._take(judged.answers, None, judged.known)

    async def _settle_owners(self, going: Sequence[Incoming]) -> None:
        """What these change about owners holds here when it does there, even if this
        process ended behind the commit that wrote them."""
        found = Found(self._task.now_ms())
        homes = {each.key.pk for each in going if each.state.family in OWNER_FAMILIES}
        for pk in sorted(homes):
            await settle_owners(self._task.local.records, pk, found)

    async def _again(self, judged: Judged, joined: Sequence[Joined]) -> None:
        """Records that changed there between reading and joining: what came is read
        and screened like everything else before it is joined here."""
        moved = [
            each.key
            for each in joined
            if each.before is not None and not each.before.same_as(judged.before[each.key])
        ]
        if not moved:
            return
        rows = await read_rows(self._task.remote.records, moved)
        sorted_ = await self._parts.intake.sort(self._task, [each for each in rows if each.item])
        await self._take(list(sorted_.take), None, {each.key: each for each in rows})

    async def _take(
        self, incoming: Sequence[Incoming], judged: Judged | None, source: Mapping[Key, Rows]
    ) -> None:
        """Join states of the remote surface here."""
        if not incoming:
            return
        there = judged.before if judged else None
        with phase(self._task, RunPhase.RUN_PHASE_OBJECTS):
            moved = await self._parts.mover.fetch(self._task, incoming, there=there)
        await self._refuse(moved.corrupt, source)
        coming = [each for each in incoming if each.key not in moved.corrupt]
        with phase(self._task, RunPhase.RUN_PHASE_RECORDS):
            await self._join(
                self._task.local, coming, judged.known if judged else None, source
            )

    async def _join(
        self,
        surface: Surface,
        incoming: Sequence[Incoming],
        known: Mapping[Key, Rows] | None,
        source: Mapping[Key, Rows],
    ) -> list[Joined]:
        done: list[Joined] = []

        async def one(partition: tuple[str, list[Incoming]]) -> None:
            pk, part = partition
            done.extend(await self._partition(surface, pk, part, known, source))

        keys = [each.key for each in incoming]
        watched = surface is self._task.target
        for wave in waves(by_partition(incoming, keys)):
            if watched:
                self._parents.note(done)
                await self._watch_parents(surface, [e for _, part in wave for e in part])
            await in_parallel(wave, one, concurrency=min(_PARTITIONS, len(wave)))
        if watched:
            self._note(done)
            self._parents.note(done)
            await self._watch_parents(surface, (), done)
        return done

    async def _watch_parents(
        self, surface: Surface, coming: Sequence[Incoming], done: Sequence[Joined] = ()
    ) -> None:
        """Documents that come where their project is gone are shown here, too."""
        task = self._task
        found = Found(task.now_ms(), task.connection.connection_id)
        places = [surface.records]
        if surface is not task.local:
            places.append(task.local.records)
        counts = task.tally.counts
        counts.conflicts += await self._parents.announce(coming, places, found)
        counts.conflicts += await self._parents.look(done, places, found)

    async def _partition(
        self,
        surface: Surface,
        pk: str,
        part: Sequence[Incoming],
        known: Mapping[Key, Rows] | None,
        source: Mapping[Key, Rows],
    ) -> list[Joined]:
        """Join records of one partition. What the surface refuses is put aside and
        blocks nothing; that it cannot be reached, or is full, ends the run."""
        task, local = self._task, surface is self._task.local
        other = task.remote if local else task.local
        found = Found(task.now_ms(), task.connection.connection_id if local else "")
        try:
            return await surface.replica.join(
                pk, part, origin=other.instance.instance_id, found=found, known=known
            )
        except (WorkspaceError, ValueError, OverflowError) as error:
            if isinstance(error, WorkspaceError) and error.reason in _LATER:
                raise
            if len(part) > 1:
                alone = [await self._partition(surface, pk, [each], None, source) for each in part]
                return [joined for each in alone for joined in each]
            await self._rejected(part[0].key, source, error)
            return []

    async def _rejected(self, key: Key, source: Mapping[Key, Rows], error: Exception) -> None:
        why = "the record store refuses it"
        if isinstance(error, WorkspaceError):
            why = error.message
        elif isinstance(error, OverflowError):
            why = _TOO_MANY
        refusal = Refusal(QuarantineReason.QUARANTINE_REASON_REJECTED, why)
        await self._put_aside(key, source, refusal)

    async def _refuse(self, keys: set[Key], source: Mapping[Key, Rows]) -> None:
        for key in sorted(keys):
            await self._put_aside(key, source, _MISMATCH)

    async def _put_aside(self, key: Key, source: Mapping[Key, Rows], refusal: Refusal) -> None:
        task = self._task
        if key in source:
            name = task.connection.connection_id
            await self._parts.aside.put_all(name, task.run_id, [(source[key], refusal)])
        task.tally.counts.quarantined += 1

    async def _clear(self, keys: Sequence[Key], *, outgoing: bool = False) -> None:
        """Nothing is wrong with these any more."""
        name = self._task.connection.connection_id
        await self._parts.aside.clear(name, keys, outgoing=outgoing)

    async def _announce(self) -> None:
        if not self._announced:
            await self._parts.checks.announce_export(self._task)
            self._announced = True

    def _note(self, done: Sequence[Joined]) -> None:
        counts = self._task.tally.counts
        for each in done:
            counts.records_written += each.changed
            counts.records_deleted += each.changed and each.shown.version.deleted
            counts.conflicts += each.opened

    def _count(self, judged: Judged) -> None:
        counts = self._task.tally.counts
        counts.records_done += judged.looked
        counts.records_unchanged += len(judged.equal)
        counts.quarantined += judged.quarantined
        counts.batches += bool(judged.incoming or judged.answers)
