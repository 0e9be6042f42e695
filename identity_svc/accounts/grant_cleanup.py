"""What follows a removal from an account: direct grants on its projects end.

The project service revokes them, call by call, until nothing is left to do. A
replay of the removal runs it again, and nobody is taken back before it has run.
"""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

from workspace.identity.v1.account_pb2 import AccountMember
from workspace.identity.v1.account_service_pb2 import KeptOwnerGrant
from workspace.project.v1.grant_service_pb2 import RevokeMemberGrantsRequest

from services.model.times import from_timestamp, to_timestamp

if TYPE_CHECKING:  # the generated class exists for type checkers only
    from workspace.project.v1.grant_service_pb2_grpc import GrantServiceAsyncStub

__all__ = ["GrantCleanup"]

_IN_FLIGHT = timedelta(seconds=60)
"""Longer than a call lasts: grants that were decided while he was a member."""


class GrantCleanup:
    """See the module."""

    def __init__(self, grants: GrantServiceAsyncStub) -> None:
        self._grants = grants

    async def end_grants(self, member: AccountMember) -> list[KeptOwnerGrant]:
        """Revoke what the removed member was given until his removal. What he is
        given later, on purpose, is not the removal's business. Answers the owner
        grants that stay, because nobody else owns those projects."""
        until = from_timestamp(member.status_changed_at) + _IN_FLIGHT
        complete, kept = False, dict[str, KeptOwnerGrant]()
        while not complete:
            answer = await self._grants.RevokeMemberGrants(
                RevokeMemberGrantsRequest(
                    account_id=member.account_id,
                    user_id=member.user_id,
                    granted_until=to_timestamp(until),
                    reason="account_member_removed",
                )
            )
            complete = answer.complete
            kept |= {
                grant.grant_id: KeptOwnerGrant(
                    project_id=grant.project_id, grant_id=grant.grant_id
                )
                for grant in answer.kept
            }
        return list(kept.values())
