"""One mutating call, from its request id to its answer.

    mutation = mutations.begin(request)
    pk = project_pk(mutation.new_id("p"))
    if done := await mutation.replay(pk, CreateProjectResponse):
        return done
    return await mutation.commit(pk, writes, activity=..., answer=build)
"""

from __future__ import annotations

import uuid
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, TypeVar

from google.protobuf.message import Message

from services.model.errors import Reason, WorkspaceError
from services.records.deciding import Still
from services.records.large_answers import complete
from services.records.record import Activity, Committed, Head, Record, Write
from services.records.requests import Once
from services.records.store import RecordStore
from services.rpc.consistency import ConsistencyTokens
from services.rpc.context import current_call

__all__ = ["Decorate", "Mutation", "Mutations", "require_etag"]

M = TypeVar("M", bound=Message)
Decorate = Callable[[Any], Awaitable[None]]
"""Changes an answer in place."""


class Mutations:
    """Begins mutating calls of the caller that is being served."""

    def __init__(
        self, records: RecordStore, *, instance_key: bytes, consistency: ConsistencyTokens
    ) -> None:
        self.records = records
        self.consistency = consistency
        self._instance_key = instance_key

    def begin(
        self, request: Message, *, principal: str = "", decorate: Decorate | None = None
    ) -> Mutation:
        """`request` has a `request_id`; without one the server makes one.
        `principal` names the acting party where there is no user yet.

        `decorate` completes a replayed answer whose records had to be read again
        (large_answers): it adds what is computed for the caller, and takes out
        what the caller may not see any more.
        """
        call = current_call()
        request_id: str = getattr(request, "request_id", "") or str(uuid.uuid4())
        once = Once.of(
            request,
            principal=principal or call.user_id or f"service:{call.service}",
            method=call.method,
            request_id=request_id,
            instance_key=self._instance_key,
        )
        return Mutation(self, once, decorate, known_id=bool(getattr(request, "request_id", "")))


class Mutation:
    """See the module. Nobody can repeat a call whose request id the server made
    (`known_id` False): no answer is kept for it, and none is looked for."""

    def __init__(
        self, mutations: Mutations, once: Once, decorate: Decorate | None, *, known_id: bool
    ) -> None:
        self._mutations = mutations
        self._decorate = decorate
        self._known_id = known_id
        self.once = once

    def new_id(self, prefix: str) -> str:
        """Id of a created root, for example `p_...`; equal for every replay."""
        return self.once.derived_id(prefix)

    async def replay(self, pk: str, answer: type[M]) -> M | None:
        """The answer of an earlier run of this very call. Ask after
        authorisation and before any effect."""
        if not self._known_id:
            return None
        stored = await self._mutations.records.replayed(pk, self.once)
        if stored is None:
            return None
        done = await self._whole(answer.FromString(stored.data), cut=stored.cut)
        return self._finish(done, pk, stored.pseq, stored.time_ms)

    async def commit(
        self,
        pk: str,
        writes: Sequence[Write[Any]],
        *,
        activity: Activity,
        answer: Callable[[Sequence[Record[Any]]], M],
        if_head: Head | None = None,
        still: Still | None = None,
    ) -> M:
        """Commit and answer, with the consistency token filled in. `if_head` and
        `still` are those of RecordStore.commit."""
        made: list[M] = []

        def build(records: Sequence[Record[Any]]) -> M:
            made.append(answer(records))
            return made[0]

        done: Committed = await self._mutations.records.commit(
            pk,
            writes,
            activity=activity,
            once=self.once if self._known_id else None,
            answer=build,
            if_head=if_head,
            still=still,
        )
        given = await self._whole(type(made[0]).FromString(done.answer), cut=done.cut)
        return self._finish(given, pk, done.pseq, done.time_ms)

    async def _whole(self, answer: M, *, cut: bool) -> M:
        if cut:
            await complete(self._mutations.records.get, answer)
            if self._decorate is not None:
                await self._decorate(answer)
        return answer

    def _finish(self, answer: M, pk: str, pseq: int, time_ms: int) -> M:
        if "consistency_token" in answer.DESCRIPTOR.fields_by_name:
            answer.consistency_token = self._mutations.consistency.issue(  # type: ignore[attr-defined]
                pk, pseq, time_ms
            )
        return answer


def require_etag(record: Record[Any], etag: str, resource: str) -> None:
    """Refuse when the caller saw another version. An empty etag asks nothing."""
    if etag and etag != record.etag:
        raise WorkspaceError(
            Reason.ERROR_REASON_ETAG_MISMATCH,
            f"{resource} changed since it was read; read it again and repeat",
            metadata={"resource": resource},
        )
