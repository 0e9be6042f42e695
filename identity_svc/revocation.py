"""RevokeSessions: every token issued before now is refused.

Machine tokens lie in the same partition. They are revoked in commits of at most
80, the last one together with `tokens_not_before`: a repeat goes on where an
interrupted call stopped.
"""

from __future__ import annotations

from typing import Any

from workspace.identity.v1.identity_service_pb2 import (
    RevokeSessionsRequest,
    RevokeSessionsResponse,
)
from workspace.identity.v1.machine_token_pb2 import MachineToken, MachineTokenStatus

from identity_svc.directory import USER, Directory, cut_off, not_found, timestamp, user_pk
from identity_svc.listing import every
from identity_svc.settling import settle
from identity_svc.users import require_self_or_admin
from services.kernel import Kernel
from services.model.families import FAMILIES
from services.model.indexes import Index
from services.records.record import Activity, Page, Record, Write
from services.rpc.context import current_call

__all__ = ["Revocation"]

_MACHINE = FAMILIES["machine_token"]
_ACTIVE = MachineTokenStatus.MACHINE_TOKEN_STATUS_ACTIVE
_AT_ONCE = 80


class Revocation:
    """See the module."""

    def __init__(self, kernel: Kernel, directory: Directory) -> None:
        self._kernel = kernel
        self._records = kernel.records
        self._directory = directory

    async def revoke(self, request: RevokeSessionsRequest) -> RevokeSessionsResponse:
        user = request.user_id
        await require_self_or_admin(self._directory, user, "revoke_sessions")
        mutation, pk = self._kernel.mutations.begin(request), user_pk(user)
        activity = Activity("user.sessions_revoked", f"users/{user}")
        earlier = 0

        async def attempt() -> RevokeSessionsResponse:
            nonlocal earlier
            head = await self._records.head(pk)
            base = await self._directory.user(user)
            if base is None:
                raise not_found(f"users/{user}")
            tokens = await self._active_tokens(user) if request.include_machine_tokens else []
            while len(tokens) > _AT_ONCE:
                batch, tokens = tokens[:_AT_ONCE], tokens[_AT_ONCE:]
                writes = [self._revoked(token) for token in batch]
                await self._records.commit(pk, writes, activity=activity, if_head=head)
                earlier += len(batch)
                head = await self._records.head(pk)
            writes = [self._cut_off(base), *map(self._revoked, tokens)]
            count = earlier + len(tokens)
            return await mutation.commit(
                pk,
                writes,
                activity=activity,
                answer=lambda records: RevokeSessionsResponse(
                    user=records[0].shown(), revoked_machine_tokens=count
                ),
                if_head=head,
            )

        return await settle(mutation, pk, RevokeSessionsResponse, attempt)

    async def _active_tokens(self, user: str) -> list[Record[MachineToken]]:
        async def query(limit: int, after: str | None) -> Page[Any]:
            return await self._records.query(
                _MACHINE, Index.BASE, user_pk(user), prefix="MACHINE#", limit=limit, after=after
            )

        rows = await every(query, at_most=100_000)
        return [row for row in rows if row.message.status == _ACTIVE]

    def _cut_off(self, base: Record[Any]) -> Write[Any]:
        user = base.edit()
        now = timestamp(self._kernel.now())
        user.tokens_not_before.CopyFrom(cut_off(base.message, self._kernel.now()))
        user.updated_at.CopyFrom(now)
        user.updated_by = current_call().user_id
        return Write(USER, user, base)

    def _revoked(self, base: Record[MachineToken]) -> Write[Any]:
        token = base.edit()
        token.status = MachineTokenStatus.MACHINE_TOKEN_STATUS_REVOKED
        token.revoked_at.CopyFrom(timestamp(self._kernel.now()))
        token.revoked_by = current_call().user_id
        return Write(_MACHINE, token, base)
