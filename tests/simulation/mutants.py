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

from services.model.shown import winner_of
from services.model.stamp import Dot
from services.model.versions import State, Version, join, supersede
from services.records import plan, replica, store
from services.records.plan import CommitPlan, head_of, next_head
from services.records.port import ConditionFailed, DriverUnavailable, Key, Match
from services.records.record import Activity
from services.records.siblings import Rows

__all__ = ["KERNEL_MUTANTS", "Mutant"]

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

    async def converged(self: Any, pk: str, rows: Sequence[Rows], decide: Any, most: int) -> bool:
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

    async def alone(self: Any, pk: str, part: Sequence[replica.Incoming], *args: Any, **options: Any) -> Any:
        def one(state: State) -> State:
            winner = winner_of(state.versions.values())
            return replace(state, versions={winner.dot: winner})

        return await real(self, pk, [replace(p, state=one(p.state)) for p in part], *args, **options)

    return mock.patch.object(replica.Replica, "_join", alone)


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

