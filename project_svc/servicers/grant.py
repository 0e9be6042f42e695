"""The gRPC surface of grants."""

# ruff: noqa: N802 - the contract names the methods

from __future__ import annotations

from typing import Any

from workspace.project.v1 import grant_service_pb2 as pb
from workspace.project.v1.grant_service_pb2_grpc import GrantServiceServicer

from project_svc.grants import Grants
from project_svc.member_grants import MemberGrants

__all__ = ["GrantServicer"]


class GrantServicer(GrantServiceServicer):
    """Answers GrantService from the use cases."""

    def __init__(self, grants: Grants, of_members: MemberGrants) -> None:
        self._grants = grants
        self._of_members = of_members

    async def CreateGrant(self, request: pb.CreateGrantRequest, _: Any) -> pb.CreateGrantResponse:
        return await self._grants.create(request)

    async def UpdateGrant(self, request: pb.UpdateGrantRequest, _: Any) -> pb.UpdateGrantResponse:
        return await self._grants.update(request)

    async def RevokeGrant(self, request: pb.RevokeGrantRequest, _: Any) -> pb.RevokeGrantResponse:
        return await self._grants.revoke(request)

    async def RevokeMemberGrants(
        self, request: pb.RevokeMemberGrantsRequest, _: Any
    ) -> pb.RevokeMemberGrantsResponse:
        return await self._of_members.revoke(request)

    async def ListGrants(self, request: pb.ListGrantsRequest, _: Any) -> pb.ListGrantsResponse:
        return await self._grants.list(request)
