"""What a user would leave without an enabled owner or root administrator."""

from __future__ import annotations

from typing import Any

from workspace.identity.v1.identity_service_pb2 import OrphanedScope
from workspace.identity.v1.team_pb2 import TeamScopeType

from identity_svc.account_rules import OWNER, is_active, owners_left
from identity_svc.copies import MAX_MEMBERSHIPS
from identity_svc.directory import ACCOUNT_MEMBER, TEAM_MEMBER, Directory, user_pk
from identity_svc.listing import every
from services.model.families import Family
from services.model.indexes import Index
from services.records.record import Page, Record

__all__ = ["Orphans"]

_LISTED = 100
"""An answer is stored with its request (16 KiB), so it lists at most these."""
_IN_ACCOUNT = TeamScopeType.TEAM_SCOPE_TYPE_ACCOUNT


class Orphans:
    """Accounts and teams. Names are left out: a platform admin sees metadata
    of accounts by their ids, and nothing of teams."""

    def __init__(self, directory: Directory) -> None:
        self._directory = directory

    async def left_by(self, user: str) -> tuple[list[OrphanedScope], int]:
        """The first of them, and how many there are."""
        found = [*await self._accounts(user), *await self._teams(user)]
        return found[:_LISTED], len(found)

    async def _accounts(self, user: str) -> list[OrphanedScope]:
        orphaned = []
        for row in await self._memberships(ACCOUNT_MEMBER, "MEMBER#ACCOUNT#", user):
            account_id = row.message.account_id
            if not is_active(row) or row.message.role != OWNER:
                continue
            if not await owners_left(self._directory, account_id, without=user):
                orphaned.append(OrphanedScope(account_id=account_id))
        return orphaned

    async def _teams(self, user: str) -> list[OrphanedScope]:
        orphaned = []
        for row in await self._memberships(TEAM_MEMBER, "MEMBER#TEAM#", user):
            team = await self._directory.team(row.message.team_id)
            if team is None or not is_active(row) or team.message.scope_type == _IN_ACCOUNT:
                continue
            if team.message.root_admin_user_id == user:
                orphaned.append(OrphanedScope(team_id=team.message.team_id))
        return orphaned

    async def _memberships(self, family: Family, prefix: str, user: str) -> list[Record[Any]]:
        async def query(limit: int, after: str | None) -> Page[Any]:
            return await self._directory.records.query(
                family, Index.USER, user_pk(user), prefix=prefix, limit=limit, after=after
            )

        return await every(query, at_most=10 * MAX_MEMBERSHIPS)
