"""RevokeSessions: every token issued before now is refused."""

from __future__ import annotations

from typing import Any

from workspace.identity.v1.identity_service_pb2 import (
    RevokeSessionsRequest,
    RevokeSessionsResponse,
)

from identity_svc.directory import USER, Directory, cut_off, not_found, timestamp, user_pk
from identity_svc.settling import settle
from identity_svc.users.token_revocation import TokenRevocation
from identity_svc.users.users import require_self_or_admin
from services.kernel import Kernel
from services.records.record import Activity, Record, Write
from services.rpc.context import current_call

__all__ = ["Revocation"]


class Revocation:
    """See the module."""

    def __init__(self, kernel: Kernel, directory: Directory) -> None:
        self._kernel = kernel
        self._records = kernel.records
        self._directory = directory
        self._tokens = TokenRevocation(kernel)

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
            writes: list[Write[Any]] = [self._cut_off(base)]
            if request.include_machine_tokens:
                head, rest, count = await self._tokens.begin(user, head, activity)
                earlier += count
                writes += rest
            count = earlier + len(writes) - 1
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

    def _cut_off(self, base: Record[Any]) -> Write[Any]:
        user = base.edit()
        now = timestamp(self._kernel.now())
        user.tokens_not_before.CopyFrom(cut_off(base.message, self._kernel.now()))
        user.updated_at.CopyFrom(now)
        user.updated_by = current_call().user_id
        return Write(USER, user, base)
