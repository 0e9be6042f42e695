"""CompareSurfaces: a page at a time, each from behind the last key of the one before.

A page ends when it is full, after some seconds, or at the end; so an answer may have
no difference and yet a token. Objects that are read take long: the page is made on
without the caller, and the same call again gets it.
"""

from __future__ import annotations

import asyncio
import json
import time
from contextlib import aclosing
from dataclasses import dataclass

from workspace.sync.v1.connection_pb2 import Connection
from workspace.sync.v1.run_pb2 import SyncDirection, SyncOptions
from workspace.sync.v1.sync_service_pb2 import CompareSurfacesRequest, CompareSurfacesResponse

from services.kernel import Kernel
from services.records.port import Key
from services.rpc.context import current_call, set_current_call
from services.rpc.page_tokens import page_size
from sync_svc.engine.compare import Comparison, compare
from sync_svc.engine.sync_state import SyncStates
from sync_svc.engine.task import Tally, Task
from sync_svc.engine.wiring import run_parts
from sync_svc.runs.continued import Continued
from sync_svc.runs.ports import Connections, OpenPair
from sync_svc.runs.starting import require_unchanged

__all__ = ["Comparing"]

_METHOD = "CompareSurfaces"
_PAGE_SECONDS = 6.0


@dataclass(frozen=True, slots=True)
class _Place:
    """Where a page begins, and what was counted before it."""

    after: Key | None = None
    records: int = 0
    objects: int = 0
    differs: bool = False
    second_walk: bool = False

    def dump(self) -> str:
        assert self.after is not None, "the first page has no token"
        key = [self.after.pk, self.after.sk]
        return json.dumps(
            [*key, self.records, self.objects, self.differs, self.second_walk]
        )

    @classmethod
    def load(cls, text: str) -> _Place:
        if not text:
            return cls()
        pk, sk, *counted = json.loads(text)
        return cls(Key(pk, sk), *counted)


@dataclass(frozen=True, slots=True)
class _Page:
    answer: CompareSurfacesResponse
    next: _Place | None


class Comparing:
    """See the module."""

    def __init__(self, *, kernel: Kernel, connections: Connections, open_pair: OpenPair) -> None:
        self._kernel = kernel
        self._connections = connections
        self._open_pair = open_pair
        self._continued = Continued[_Page]()

    async def compare(self, request: CompareSurfacesRequest) -> CompareSurfacesResponse:
        """A page. Raises PERMISSION_DENIED, SURFACE_CHANGED, INVALID_PAGE_TOKEN,
        BACKEND_UNAVAILABLE."""
        connection = await self._connections.allowed(request.connection_id)
        tokens, user = self._kernel.page_tokens, current_call().user_id
        place = _Place.load(tokens.open(_METHOD, user, request, request.page_token))
        require_unchanged(connection, SyncOptions())
        key = (user, request.SerializeToString(deterministic=True))
        page = await self._continued.get(key, lambda: self._page(connection, request, place))
        if page.next is not None:
            page.answer.next_page_token = tokens.issue(_METHOD, user, request, page.next.dump())
        return page.answer

    async def run(self) -> None:
        """Until cancelled; then nothing is made any more."""
        try:
            await asyncio.Event().wait()
        finally:
            await self._continued.close()

    async def _page(
        self, connection: Connection, request: CompareSurfacesRequest, place: _Place
    ) -> _Page:
        set_current_call(None)
        options, tally = SyncOptions(project_ids=request.project_ids), Tally()
        async with self._open_pair(
            connection, tally=tally, options=options, read_only=True
        ) as (local, remote):
            task = Task(
                run_id="", direction=SyncDirection.SYNC_DIRECTION_PULL, connection=connection,
                options=options, local=local, remote=remote, tally=tally,
                now_ms=lambda: int(self._kernel.now() * 1000), monotonic=time.monotonic,
                stop=lambda: False,
            )
            state = await SyncStates(local.records).load(connection.connection_id)
            await run_parts(task).checks.look(task, state)
            comparison = compare(
                task, include_objects=request.include_objects,
                read_bytes=request.read_bytes, after=place.after,
                second_walk=place.second_walk,
            )
            return await _filled(comparison, place, page_size(request))


async def _filled(comparison: Comparison, place: _Place, limit: int) -> _Page:
    """Differences until the page is full or its time is over. All differences of a
    record are on one page."""
    answer, more = CompareSurfacesResponse(), False
    deadline = time.monotonic() + _PAGE_SECONDS
    async with aclosing(comparison.by_key()) as records:
        async for found in records:
            answer.differences.extend(found)
            if len(answer.differences) >= limit or time.monotonic() >= deadline:
                more = True
                break
    answer.records_compared = place.records + comparison.records
    answer.objects_compared = place.objects + comparison.objects
    differs = place.differs or bool(answer.differences)
    if not more:
        answer.equal = not differs
        return _Page(answer, None)
    return _Page(answer, _Place(
        comparison.after, answer.records_compared, answer.objects_compared, differs,
        comparison.second_walk,
    ))  # fmt: skip
