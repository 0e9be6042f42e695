"""Wrong engines: product code patched in the test's process, one mistake each.

Every mistake is one that real systems made (reference: sync 2.12 and 2.13). The
simulator has to find each of them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from contextvars import ContextVar
from dataclasses import replace
from typing import Any
from unittest import mock

from services.model.families import FAMILIES
from services.model.shown import winner_of
from services.model.stamp import Dot
from services.model.versions import State, Version, join, supersede
from services.records import plan, replica, store
from services.records.plan import CommitPlan, head_of, next_head
from services.records.port import ConditionFailed, DriverUnavailable, Key, Match
from services.records.record import Activity, Write
from services.records.siblings import Rows
from services.records.walking import all_rows
from sync_svc.collection import tombstones
from sync_svc.engine import pipeline
from sync_svc.engine.applying import Applier
from sync_svc.engine.objects import ObjectMover
from sync_svc.engine.pipeline import Pipeline
from sync_svc.nodes import preflight

__all__ = ["ENGINE_MUTANTS", "KERNEL_MUTANTS", "Mutant"]

_EDITED = frozenset({"project", "document", "account", "project_grant", "account_member"})

Mutant = Callable[[], Any]
"""A context in which the product makes the mistake."""


def _last_writer_wins() -> Any:
    """The later clock reading wins; the other version is forgotten."""

    def latest(mine: State | None, theirs: State | None) -> State:
        both = join(mine, theirs)
        winner = max(both.versions.values(), key=lambda each: (each.hlc, each.dot))
        return replace(both, versions={winner.dot: winner})

    return mock.patch.object(replica, "join", latest)


def _unconditional_put() -> Any:
    """A lost race is answered by writing the same rows once more, without looking."""

    async def converged(
        self: Any, pk: str, rows: Sequence[Rows], decide: Any, most: int, met: set[Key]
    ) -> bool:
        puts = list(await decide(rows[1:]))
        if not puts:
            return True
        puts = [next_head(head_of(pk, rows[0].item)), *puts]
        while True:
            try:
                await self._driver.commit(pk, puts)
            except DriverUnavailable:
                return False
            except ConditionFailed as failed:
                there = failed.current
                put = puts[failed.position]
                if there is None:
                    return False
                puts[failed.position] = replace(put, condition=Match(there.token))
                continue
            return True

    return mock.patch.object(store.RecordStore, "_converged", converged)


def _join_mints() -> Any:
    """What comes from elsewhere gets a new version here."""

    real = replica.Replica._join
    actor: ContextVar[str] = ContextVar("actor")

    async def of_this_store(self: Any, *args: Any, **options: Any) -> Any:
        actor.set(self.records.actor)
        return await real(self, *args, **options)

    def minted(mine: State | None, theirs: State | None) -> State:
        both = join(mine, theirs)
        if both.same_as(mine):
            return both
        winner = winner_of(both.versions.values())
        dot: Dot = (actor.get(), both.clock.get(actor.get(), 0) + 1)
        vv = {**both.clock, dot[0]: dot[1]}
        return supersede(both, [winner.dot], replace(winner, dot=dot, vv=vv))

    return all_patched(
        mock.patch.object(replica.Replica, "_join", of_this_store),
        mock.patch.object(replica, "join", minted),
    )


def _join_writes_event() -> Any:
    """A join is told as if somebody here had done it."""
    real = store.RecordStore.converge

    async def converge(
        self: Any, pk: str, keys: Sequence[Key], decide: Any, *args: Any, **options: Any
    ) -> None:
        async def telling(rows: Any) -> Any:
            puts = list(await decide(rows))
            if puts:
                made = CommitPlan.of(
                    pk, [], activity=Activity("sync.joined", pk), once=None, answer=None,
                    actor=self.actor, hlc=self._clock.now(),
                )
                puts.append(made._event(1))
            return puts

        await real(self, pk, keys, telling, *args, **options)

    return mock.patch.object(store.RecordStore, "converge", converge)


def _timeout_is_success() -> Any:
    """A commit whose answer was lost is taken for done."""

    async def happened(self: Any, plan_: CommitPlan) -> bool:
        return True

    return mock.patch.object(store.RecordStore, "_happened", happened)


def _timeout_is_failure() -> Any:
    """A commit whose answer was lost is taken for undone."""

    async def happened(self: Any, plan_: CommitPlan) -> bool:
        return False

    return mock.patch.object(store.RecordStore, "_happened", happened)


def _joined_timeout_is_success() -> Any:
    """A join whose answer was lost is taken for done."""
    real = store.RecordStore._converged

    async def converged(self: Any, *args: Any, **options: Any) -> bool:
        inner = self._driver

        class Trusting:
            def __getattr__(self, name: str) -> Any:
                return getattr(inner, name)

            async def commit(self, pk: str, puts: Any) -> list[str]:
                try:
                    return list(await inner.commit(pk, puts))
                except DriverUnavailable as error:
                    if not error.ambiguous:
                        raise
                    return [""] * len(puts)

        try:
            self._driver = Trusting()
            return await real(self, *args, **options)
        finally:
            self._driver = inner

    return mock.patch.object(store.RecordStore, "_converged", converged)


def _resolution_replaces_all() -> Any:
    """A write to a contested record removes every version, seen or not."""

    def all_of(state: State, dots: Sequence[Dot], version: Version) -> State:
        everything = {**state.clock, **version.vv}
        return supersede(state, state.versions, replace(version, vv=everything))

    return mock.patch.object(plan, "supersede", all_of)


def _shared_actor() -> Any:
    """A restored or copied store goes on counting where its copy counted."""
    return mock.patch("services.records.instance._reborn", lambda found: found)


def _forgets_siblings() -> Any:
    """Only one version of a contested record travels."""
    real = replica.Replica._join

    async def alone(self: Any, pk: str, part: Any, *args: Any, **options: Any) -> Any:
        def one(state: State) -> State:
            winner = winner_of(state.versions.values())
            return replace(state, versions={winner.dot: winner})

        fewer = [replace(each, state=one(each.state)) for each in part]
        return await real(self, pk, fewer, *args, **options)

    return mock.patch.object(replica.Replica, "_join", alone)


def _engine_cursor_first() -> Any:
    """The cursor is stored before what it stands for."""
    real = Pipeline._apply

    async def work(self: Any, source: Any, state: Any) -> Any:
        async for batch in self.batches(source):
            if batch.cursor:
                state = await self._advance(state, batch.cursor)
            if batch.rows:
                await real(self, batch, None)
        if source.tail:
            state = await self._advance(state, source.tail, reconciled=True)
        return state

    return mock.patch.object(Pipeline, "_work", work)


def _record_before_object() -> Any:
    """Records are joined while their objects are still on the way."""
    real = Applier._push

    async def push(self: Any, judged: Any, source: Any) -> None:
        if judged.incoming:
            await self._announce()
            await self._join(self._task.remote, judged.incoming, judged.known, source)
        await real(self, judged, source)

    return mock.patch.object(Applier, "_push", push)


def _no_blob_gate() -> Any:
    """A record goes on although nobody has its bytes."""
    real = ObjectMover.send

    async def send(self: Any, *args: Any, **options: Any) -> Any:
        moved = await real(self, *args, **options)
        moved.gated.clear()
        return moved

    return mock.patch.object(ObjectMover, "send", send)


def _absent_is_deleted() -> Any:
    """What a full listing of the surface does not have is deleted here."""
    real = pipeline.differing

    async def differing(task: Any, scope: Any) -> Any:
        async for batch in real(task, scope):
            yield batch
        if task.source is task.remote:
            there = {item.key async for item in all_rows(task.remote.records)}
            for item in [item async for item in all_rows(task.local.records)]:
                family = FAMILIES.get(item.family)
                if family is None or family.name not in _EDITED or item.deleted:
                    continue
                if item.key not in there:
                    base = await task.local.records.get(family, item.key)
                    if base is not None:
                        await task.local.records.commit(
                            item.key.pk, [Write(family, base.edit(), base=base, deleted=True)],
                            activity=Activity("thing.removed", item.key.pk),
                        )

    return mock.patch.object(pipeline, "differing", differing)


def _verdict_without(**changes: bool) -> Any:
    real = preflight.judge

    def judge(*args: Any) -> Any:
        return replace(real(*args), **changes)

    return mock.patch.object(preflight, "judge", judge)


def _token_not_checked() -> Any:
    """A store that was rolled back goes on under its name."""
    return _verdict_without(ours=False)


def _surface_rewind_not_noticed() -> Any:
    """A surface that was rolled back is taken for the same."""
    return _verdict_without(theirs=False, moved=False)


def _purge_without_stub() -> Any:
    """Tombstones vanish, before everybody knows of them."""
    real = tombstones._stubs

    async def passed(*args: Any, **options: Any) -> bool:
        return True

    async def nothing(*args: Any, **options: Any) -> set[Key]:
        return set()

    def vanishing(rows: Rows, now_ms: int) -> list[Any]:
        return [replace(put, expires_at=1) for put in real(rows, now_ms)]

    return all_patched(
        mock.patch.object(tombstones, "_is_passed", passed),
        mock.patch.object(tombstones, "_deleted_since", nothing),
        mock.patch.object(tombstones, "_stubs", vanishing),
    )


def _content_only_ignored() -> Any:
    """Every surface is trusted with everything."""
    return mock.patch("sync_svc.engine.trust.is_content_only", return_value=False)


def _clean_too_early() -> Any:
    """A push takes everything that is here at its end for sent."""
    real = Pipeline._advance

    async def advance(self: Any, state: Any, cursor: str, *, reconciled: bool = False) -> Any:
        if self.is_push:
            cursor = await self._task.local.records.tail()
        return await real(self, state, cursor, reconciled=reconciled)

    return mock.patch.object(Pipeline, "_advance", advance)


def _short_page_is_the_end() -> Any:
    """A page with fewer rows than asked for is taken for the last."""
    real = store.RecordStore.scan
    ends: set[Key | None] = set()

    async def scan(self: store.RecordStore, after: Key | None, limit: int) -> Any:
        if after in ends:
            ends.discard(after)
            return []
        items = await real(self, after, limit)
        if items and len(items) < limit:
            ends.add(items[-1].key)
        return items

    return mock.patch.object(store.RecordStore, "scan", scan)


def all_patched(*patches: Any) -> Any:
    """Several patches that make one mistake."""

    @contextmanager
    def together() -> Iterator[None]:
        with ExitStack() as stack:
            for patch in patches:
                stack.enter_context(patch)
            yield

    return together()


KERNEL_MUTANTS: dict[str, Mutant] = {
    "last writer wins": _last_writer_wins,
    "unconditional put": _unconditional_put,
    "a join mints a version": _join_mints,
    "a join writes an event": _join_writes_event,
    "a lost answer is success": _timeout_is_success,
    "a lost answer is failure": _timeout_is_failure,
    "a lost answer of a join is success": _joined_timeout_is_success,
    "a resolution replaces all": _resolution_replaces_all,
    "only the winner travels": _forgets_siblings,
}
"""Mistakes in the kernel, which every engine stands on."""

ENGINE_MUTANTS: dict[str, Mutant] = {
    "cursor before data": _engine_cursor_first,
    "record before object": _record_before_object,
    "no blob gate": _no_blob_gate,
    "absent is deleted": _absent_is_deleted,
    "handshake not checked": _token_not_checked,
    "rewound surface not noticed": _surface_rewind_not_noticed,
    "tombstones vanish": _purge_without_stub,
    "content_only ignored": _content_only_ignored,
    "marked clean too early": _clean_too_early,
    "a short page is the end": _short_page_is_the_end,
}
"""Mistakes in sync itself."""

