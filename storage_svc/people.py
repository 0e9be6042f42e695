"""What identity_svc knows about people that this service asks for."""

from __future__ import annotations

from typing import TYPE_CHECKING

from workspace.identity.v1.identity_service_pb2 import BatchGetMembershipsRequest

from services.model.membership_rows import USER
from services.rpc.context import scope_of

if TYPE_CHECKING:  # the generated class exists for type checkers only
    from workspace.identity.v1.identity_service_pb2_grpc import IdentityServiceAsyncStub

__all__ = ["People"]


class People:
    """Calls to identity_svc."""

    def __init__(self, identity: IdentityServiceAsyncStub) -> None:
        self._identity = identity

    async def is_platform_admin(self, user_id: str) -> bool:
        """Whether the user is an enabled platform admin now; never by a machine token."""
        if scope_of(user_id) is not None:
            return False
        answer = await self._identity.BatchGetMemberships(
            BatchGetMembershipsRequest(user_id=user_id)
        )
        own = {each.partition for each in answer.user_partitions}
        return answer.is_platform_admin and USER + user_id in own  # the answer is about him
