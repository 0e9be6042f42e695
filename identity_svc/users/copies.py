"""Copies of a user's name and address on member records, for lists.

They follow by a resumable walk: it rewrites only copies that differ, so that a
repeat after an interruption finishes it. Nothing about access reads them.
"""

from __future__ import annotations

import asyncio
from typing import Any

from workspace.identity.v1.user_pb2 import User

from identity_svc.directory import ACCOUNT_MEMBER, TEAM_MEMBER, USER, user_pk
from identity_svc.listing import every
from services.model.families import Family
from services.model.indexes import Index
from services.records.deciding import deciding
from services.records.port import Key
from services.records.record import Activity, Page, Record, Write
from services.records.store import RecordStore

__all__ = ["MAX_MEMBERSHIPS", "MemberCopies"]

MAX_MEMBERSHIPS = 1000
_AT_ONCE = 16
_KINDS = ((ACCOUNT_MEMBER, "MEMBER#ACCOUNT#"), (TEAM_MEMBER, "MEMBER#TEAM#"))


class MemberCopies:
    """See the module."""

    def __init__(self, records: RecordStore) -> None:
        self._records = records

    async def follow(self, user_id: str) -> None:
        """Bring every member record of the user up to its present name and
        address; the user is read anew, so that a late replay brings nothing back."""
        found = await self._records.get(USER, Key(user_pk(user_id), user_pk(user_id)))
        if found is None:
            return
        user: User = found.message
        for family, prefix in _KINDS:
            members = await self._members(family, prefix, user.user_id)
            stale = [record for record in members if _differs(record, user)]
            for at in range(0, len(stale), _AT_ONCE):  # each is a commit of its own partition
                part = stale[at : at + _AT_ONCE]
                await asyncio.gather(*(self._rewrite(family, record, user) for record in part))

    async def _members(self, family: Family, prefix: str, user: str) -> list[Record[Any]]:
        async def query(limit: int, after: str | None) -> Page[Any]:
            return await self._records.query(
                family, Index.USER, user_pk(user), prefix=prefix, limit=limit, after=after
            )

        return await every(query, at_most=10 * MAX_MEMBERSHIPS)

    async def _rewrite(self, family: Family, seen: Record[Any], user: User) -> None:
        pk = seen.key.pk

        async def attempt() -> None:
            head = await self._records.head(pk)
            base = await self._records.get(family, seen.key)
            if base is None or not _differs(base, user):
                return
            member = base.edit()
            member.name, member.email = user.name, user.email
            activity = Activity("member.renamed", f"users/{user.user_id}")
            await self._records.commit(
                pk, [Write(family, member, base)], activity=activity, if_head=head
            )

        await deciding(attempt)


def _differs(record: Record[Any], user: User) -> bool:
    return (record.message.name, record.message.email) != (user.name, user.email)
