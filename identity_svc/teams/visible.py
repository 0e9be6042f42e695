"""Which teams a person may see: those he is in, and those of accounts he
co-administers. Candidates come from indexes; the list verifies each.

Each index run is in order of team id, so the runs are merged, and a page is
read on from the last id: it costs what it answers.
"""

from __future__ import annotations

import heapq
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

from identity_svc.directory import (
    ACCOUNT_MEMBER,
    TEAM,
    TEAM_MEMBER,
    Directory,
    account_pk,
    user_pk,
)
from identity_svc.listing import every
from identity_svc.users.copies import MAX_MEMBERSHIPS
from services.model.families import Family
from services.model.indexes import Index
from services.model.roles import co_administers
from services.records.record import Page

__all__ = ["VisibleTeams"]

_FIRST_READ, _LONGEST_READ = 50, 500
# Below every character of an id.
_AFTER_ID = "!"


@dataclass(frozen=True, slots=True)
class _Run:
    """Rows of one index partition whose sort keys are `prefix` + team id."""

    family: Family
    index: Index
    partition: str
    prefix: str


class VisibleTeams:
    """See the module."""

    def __init__(self, directory: Directory) -> None:
        self._directory = directory

    async def sees_all_of(self, account_id: str, user: str) -> bool:
        """Whether the user co-administers the account."""
        place = await self._directory.account_place(account_id, user)
        return (
            place.account is not None
            and place.member is not None
            and co_administers(
                account_role=place.member.message.role,
                member_status=place.member.message.status,
                account_status=place.account.message.status,
            )
        )

    async def ids(self, user: str, *, after: str = "") -> AsyncIterator[str]:
        """Ids of the candidates above `after`, ascending by bytes, each once."""
        runs = [self._ids(run, after) for run in await self._runs(user)]
        heap = [(first, n) for n, run in enumerate(runs) if (first := await anext(run, ""))]
        heapq.heapify(heap)
        last = ""
        while heap:
            team_id, number = heap[0]
            following = await anext(runs[number], "")
            if following:
                heapq.heapreplace(heap, (following, number))
            else:
                heapq.heappop(heap)
            if team_id != last:
                last = team_id
                yield team_id

    async def _runs(self, user: str) -> list[_Run]:
        async def query(limit: int, after: str | None) -> Page[Any]:
            return await self._directory.records.query(
                ACCOUNT_MEMBER, Index.USER, user_pk(user),
                prefix="MEMBER#ACCOUNT#", limit=limit, after=after,
            )

        # Removed memberships count here, so more rows than memberships in force.
        rows = await every(query, at_most=10 * MAX_MEMBERSHIPS)
        own = _Run(TEAM_MEMBER, Index.USER, user_pk(user), "MEMBER#TEAM#")
        ids = [row.message.account_id for row in rows]
        return [own] + [
            _Run(TEAM, Index.ACCOUNT, account_pk(each), "TEAM#")
            for each in ids
            if await self.sees_all_of(each, user)
        ]

    async def _ids(self, run: _Run, after: str) -> AsyncIterator[str]:
        lower = run.prefix + after + _AFTER_ID if after else ""
        limit, position = _FIRST_READ, None
        while True:
            page: Page[Any] = await self._directory.records.query(
                run.family, run.index, run.partition,
                prefix=run.prefix, lower=lower, limit=limit, after=position,
            )
            for row in page.records:
                yield row.message.team_id
            if page.next is None:
                return
            limit, position = _LONGEST_READ, page.next
