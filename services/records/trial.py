"""Dry runs: a use case runs as it is, up to its commit, and nothing is written.

    trial = trial_kernel(kernel)
    writes = await tried(Grants(kernel=trial, ...).create(request))

Everything that a change decides and refuses is thereby decided and refused by
the very same code (ADR 0008). A use case that meant to write anything on the
way fails loudly: the store of a trial only reads.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace
from typing import Any, NoReturn, TypeVar, cast

from google.protobuf.message import Message

from services.events.due import DueWork
from services.kernel import Kernel
from services.records.deciding import Still
from services.records.mutation import Decorate, Mutation, Mutations
from services.records.record import Activity, Head, Record, Write
from services.records.store import RecordStore

__all__ = ["trial_kernel", "tried"]

M = TypeVar("M", bound=Message)
_READS = frozenset(
    {"get", "batch_get", "query", "head", "heads", "run", "scan", "get_row", "replayed", "actor"}
)


class _Tried(Exception):
    """What the commit would have written."""

    def __init__(self, writes: Sequence[Write[Any]]) -> None:
        super().__init__("a dry run came to its commit")
        self.writes = list(writes)


async def tried(change: Awaitable[object]) -> list[Write[Any]]:
    """The writes of the commit that a use case on a trial kernel comes to; none
    if it would write nothing. Raises what the change itself would raise."""
    try:
        await change
    except _Tried as reached:
        return reached.writes
    return []


def trial_kernel(kernel: Kernel) -> Kernel:
    """The kernel with a store that only reads, mutations that end at their
    commit, and due work that is not scheduled."""
    records = cast(RecordStore, _ReadOnly(kernel.records))
    mutations = _TrialMutations(
        records, instance_key=kernel.instance_key, consistency=kernel.consistency
    )
    return replace(kernel, records=records, mutations=mutations, due=cast(DueWork, _NothingDue()))


class _ReadOnly:
    """The reading part of a store; anything else is a defect of ours."""

    def __init__(self, records: RecordStore) -> None:
        self._records = records

    def __getattr__(self, name: str) -> Any:
        if name not in _READS:
            raise AssertionError(f"a dry run must not use the store's {name!r}")
        return getattr(self._records, name)


class _NothingDue:
    """Due work is scheduled before its effect: in a dry run there is none."""

    async def schedule(self, *args: Any, **kwargs: Any) -> None:
        """Nothing."""


class _TrialMutations(Mutations):
    def begin(
        self, request: Message, *, principal: str = "", decorate: Decorate | None = None
    ) -> Mutation:
        """Of an unknown request id: nothing was done before."""
        copy = type(request)()
        copy.CopyFrom(request)
        copy.ClearField("request_id")
        real = super().begin(copy, principal=principal, decorate=decorate)
        return _TrialMutation(self, real.once, decorate, known_id=False)


class _TrialMutation(Mutation):
    async def commit(
        self,
        pk: str,
        writes: Sequence[Write[Any]],
        *,
        activity: Activity,
        answer: Callable[[Sequence[Record[Any]]], M],
        if_head: Head | None = None,
        still: Still | None = None,
    ) -> NoReturn:
        """The end of the dry run."""
        del pk, activity, answer, if_head, still
        raise _Tried(writes)
