"""Which projects a user may be able to see, in order of project id.

Indexes only propose: every candidate is decided by strong reads afterwards.
Several sources (grants to the user, to his teams and accounts, open projects
of his accounts) are merged; each is read on from the last project id, so a
page costs what it answers and needs nothing remembered in between.
"""

from __future__ import annotations

import heapq
from collections.abc import AsyncIterator, Iterable, Sequence
from dataclasses import dataclass

from services.model.indexes import Index
from services.records.port import ItemPage
from services.records.store import RecordStore

__all__ = ["CandidateSource", "Candidates", "granted_to", "open_projects", "projects_of"]

_GRANTS = "GRANT#"
# Above '#', which ends an id in a sort key, and below every character of an id.
_AFTER_ID = "$"
_FIRST_READ = 64
_LONGEST_READ = 500


@dataclass(frozen=True, slots=True)
class CandidateSource:
    """A run of one index partition whose sort keys are `prefix` + project id
    (+ `#...`)."""

    index: Index
    partition: str
    prefix: str


def granted_to(index: Index, partition: str) -> CandidateSource:
    """Projects with a grant to the user, team or account of the partition."""
    return CandidateSource(index, partition, _GRANTS)


def open_projects(account_id: str) -> CandidateSource:
    """Projects of an account that are not restricted."""
    return CandidateSource(Index.ACCOUNT, f"ACCOUNT#{account_id}", "PROJECT#open#")


def projects_of(index: Index, partition: str) -> list[CandidateSource]:
    """All projects of a team (index TEAM) or a workspace (index ACCOUNT)."""
    if index is Index.TEAM:
        return [CandidateSource(index, partition, "PROJECT#")]
    return [
        CandidateSource(index, partition, f"PROJECT#{kind}#") for kind in ("open", "restricted")
    ]


class Candidates:
    """Reads candidate ids. Only keys are looked at, no record is decoded."""

    def __init__(self, records: RecordStore) -> None:
        self._records = records

    async def merged(
        self, sources: Iterable[CandidateSource], *, after: str = ""
    ) -> AsyncIterator[str]:
        """Distinct project ids above `after`, ascending by bytes."""
        runs = [self._ids(source, after) for source in sources]
        heap: list[tuple[str, int]] = []
        for number, run in enumerate(runs):
            first = await anext(run, None)
            if first is not None:
                heap.append((first, number))
        heapq.heapify(heap)
        last = ""
        while heap:
            project_id, number = heap[0]
            following = await anext(runs[number], None)
            if following is None:
                heapq.heappop(heap)
            else:
                heapq.heapreplace(heap, (following, number))
            if project_id != last:
                last = project_id
                yield project_id

    async def _ids(self, source: CandidateSource, after: str) -> AsyncIterator[str]:
        last, limit = "", _FIRST_READ
        position: str | None = None
        while True:
            page = await self._page(source, after, limit, position)
            for sort in _sorts(source, page):
                project_id = sort.removeprefix(source.prefix).split("#", 1)[0]
                if project_id != last:
                    last = project_id
                    yield project_id
            if page.next is None:
                return
            limit, position = _LONGEST_READ, page.next

    async def _page(
        self, source: CandidateSource, after: str, limit: int, position: str | None
    ) -> ItemPage:
        lower = source.prefix + after + (_AFTER_ID if after else "")
        return await self._records.run(
            source.index,
            source.partition,
            lower=lower,
            upper=source.prefix[:-1] + _AFTER_ID,
            limit=limit,
            after=position,
        )


def _sorts(source: CandidateSource, page: ItemPage) -> Sequence[str]:
    return [
        item.indexes[source.index][1]
        for item in page.items
        if not item.deleted and item.indexes[source.index][1].startswith(source.prefix)
    ]
