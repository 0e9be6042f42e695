"""The caller's personal workspace."""

from __future__ import annotations

from workspace.identity.v1.identity_service_pb2 import GetUserRequest
from workspace.identity.v1.identity_service_pb2_grpc import IdentityServiceStub

from services.cli.client import Session

__all__ = ["own_workspace"]


async def own_workspace(session: Session) -> str:
    """Its id, which is an account id."""
    stub = session.stub(IdentityServiceStub)
    answer = await session.call(stub.GetUser, GetUserRequest(user_id=session.user_id))
    return str(answer.user.personal_workspace_id)
