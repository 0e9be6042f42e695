"""Ends the machine tokens of a user together with another change of the user.

They lie in the user's partition and are revoked in commits of at most 80, the
last one that of the change itself: a repeat goes on where an interrupted call
stopped, and who reads the change finds no token that still works.
"""

from __future__ import annotations

from typing import Any, Final

from workspace.identity.v1.machine_token_pb2 import MachineToken, MachineTokenStatus

from identity_svc.directory import timestamp, user_pk
from identity_svc.listing import every
from services.kernel import Kernel
from services.model.families import FAMILIES
from services.model.indexes import Index
from services.records.record import Activity, Head, Page, Record, Write
from services.rpc.context import current_call

__all__ = ["TokenRevocation"]

_FAMILY = FAMILIES["machine_token"]
_ACTIVE = MachineTokenStatus.MACHINE_TOKEN_STATUS_ACTIVE
_REVOKED = MachineTokenStatus.MACHINE_TOKEN_STATUS_REVOKED
_AT_ONCE: Final = 80
_MOST: Final = 100_000


class TokenRevocation:
    """See the module."""

    def __init__(self, kernel: Kernel) -> None:
        self._kernel = kernel
        self._records = kernel.records

    async def begin(
        self, user: str, head: Head, activity: Activity
    ) -> tuple[Head, list[Write[Any]], int]:
        """Revoke all but the last 80 active tokens, starting under `head`.

        Answers the head after it, the writes of the rest, for the caller's own
        commit under that head, and how many are revoked already.
        """
        pk, tokens, done = user_pk(user), await self._active(user), 0
        while len(tokens) > _AT_ONCE:
            batch, tokens = tokens[:_AT_ONCE], tokens[_AT_ONCE:]
            writes = [self._revoked(token) for token in batch]
            await self._records.commit(pk, writes, activity=activity, if_head=head)
            done += len(batch)
            head = await self._records.head(pk)
        return head, [self._revoked(token) for token in tokens], done

    async def _active(self, user: str) -> list[Record[MachineToken]]:
        async def query(limit: int, after: str | None) -> Page[Any]:
            return await self._records.query(
                _FAMILY, Index.BASE, user_pk(user), prefix="MACHINE#", limit=limit, after=after
            )

        rows = await every(query, at_most=_MOST)
        return [row for row in rows if row.message.status == _ACTIVE]

    def _revoked(self, base: Record[MachineToken]) -> Write[MachineToken]:
        token = base.edit()
        token.status = _REVOKED
        token.revoked_at.CopyFrom(timestamp(self._kernel.now()))
        token.revoked_by = current_call().user_id
        return Write(_FAMILY, token, base)
