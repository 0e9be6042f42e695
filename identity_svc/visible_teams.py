"""Which teams a person may see: those he is in, and those of accounts he
co-administers. Candidates come from indexes; the list verifies each."""

from __future__ import annotations

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
from services.model.families import Family
from services.model.indexes import Index
from services.model.roles import co_administers
from services.records.record import Page, Record

__all__ = ["VisibleTeams"]

_MAX_ROWS = 100_000


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

    async def ids(self, user: str) -> list[str]:
        """Ids of the candidates, sorted, each once."""
        own = await self._rows(TEAM_MEMBER, Index.USER, user_pk(user), "MEMBER#TEAM#")
        found = {row.message.team_id for row in own}
        accounts = await self._rows(ACCOUNT_MEMBER, Index.USER, user_pk(user), "MEMBER#ACCOUNT#")
        for row in accounts:
            if await self.sees_all_of(row.message.account_id, user):
                pk = account_pk(row.message.account_id)
                teams = await self._rows(TEAM, Index.ACCOUNT, pk, "TEAM#")
                found.update(team.message.team_id for team in teams)
        return sorted(found)

    async def _rows(
        self, family: Family, index: Index, partition: str, prefix: str
    ) -> list[Record[Any]]:
        async def query(limit: int, after: str | None) -> Page[Any]:
            return await self._directory.records.query(
                family, index, partition, prefix=prefix, limit=limit, after=after
            )

        return await every(query, at_most=_MAX_ROWS)
