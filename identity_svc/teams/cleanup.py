"""What follows a removal from an account: memberships in its teams end.

They give nothing from the removal's commit on (the account mutes them), so this
is tidying, team by team. A replay of the removal runs it again, and nobody is
taken back into an account before it has run, so that no old membership revives.
"""

from __future__ import annotations

from typing import Any

from identity_svc.accounts.rules import REMOVED
from identity_svc.directory import TEAM, TEAM_MEMBER, Directory, account_pk, team_pk, timestamp
from identity_svc.listing import every
from services.kernel import Kernel
from services.model.indexes import Index
from services.records.deciding import deciding
from services.records.record import Activity, Page, Write
from services.rpc.context import current_call

__all__ = ["TeamCleanup"]

_MAX_TEAMS = 100_000


class TeamCleanup:
    """See the module."""

    def __init__(self, kernel: Kernel, directory: Directory) -> None:
        self._kernel = kernel
        self._records = kernel.records
        self._directory = directory

    async def end_memberships(self, account_id: str, user: str) -> None:
        """End the user's memberships, guests aside, in all teams of the account."""
        await self._kernel.feed.indexes_settled()  # teams made until the removal

        async def query(limit: int, after: str | None) -> Page[Any]:
            return await self._records.query(
                TEAM, Index.ACCOUNT, account_pk(account_id),
                prefix="TEAM#", limit=limit, after=after,
            )

        for team in await every(query, at_most=_MAX_TEAMS):
            await self._end(account_id, team.message.team_id, user)

    async def _end(self, account_id: str, team_id: str, user: str) -> None:
        pk = team_pk(team_id)

        async def attempt() -> None:
            head = await self._records.head(pk)
            base = await self._directory.team_member(team_id, user)
            if base is None or base.message.guest or base.message.status == REMOVED:
                return
            member = base.edit()
            now, actor = timestamp(self._kernel.now()), current_call().user_id
            member.status = REMOVED
            member.status_changed_at.CopyFrom(now)
            member.updated_at.CopyFrom(now)
            member.status_changed_by = member.updated_by = actor
            activity = Activity(
                "team_member.removed", f"teams/{team_id}/members/{user}", account_id=account_id
            )
            await self._records.commit(
                pk, [Write(TEAM_MEMBER, member, base)], activity=activity, if_head=head
            )

        await deciding(attempt)
