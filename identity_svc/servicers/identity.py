"""IdentityService."""

# ruff: noqa: N802 - the contract names the methods

from __future__ import annotations

from typing import Any

from workspace.identity.v1.identity_service_pb2 import (
    BatchGetMembershipsRequest,
    BatchGetMembershipsResponse,
    BootstrapPlatformAdminRequest,
    BootstrapPlatformAdminResponse,
    DisableUserRequest,
    DisableUserResponse,
    EnableUserRequest,
    EnableUserResponse,
    GetSessionRequest,
    GetSessionResponse,
    GetUserRequest,
    GetUserResponse,
    IssueLocalTokenRequest,
    IssueLocalTokenResponse,
    ListMembershipsRequest,
    ListMembershipsResponse,
    ListUsersRequest,
    ListUsersResponse,
    NormalizeIdentityRequest,
    NormalizeIdentityResponse,
    ResolveUserRequest,
    ResolveUserResponse,
    RevokeSessionsRequest,
    RevokeSessionsResponse,
    UpdateUserRequest,
    UpdateUserResponse,
)
from workspace.identity.v1.identity_service_pb2_grpc import IdentityServiceServicer

from identity_svc.local_tokens import LocalTokens
from identity_svc.memberships import Memberships
from identity_svc.platform import PlatformAdmins
from identity_svc.revocation import Revocation
from identity_svc.sessions import Sessions
from identity_svc.sign_in import SignIn
from identity_svc.users import Users

__all__ = ["IdentityServicer"]


class IdentityServicer(IdentityServiceServicer):
    """Only methods that are built are here; no others are registered."""

    def __init__(
        self,
        *,
        sign_in: SignIn,
        sessions: Sessions,
        users: Users,
        revocation: Revocation,
        local_tokens: LocalTokens,
        platform: PlatformAdmins,
        memberships: Memberships,
    ) -> None:
        self._sign_in = sign_in
        self._sessions = sessions
        self._users = users
        self._revocation = revocation
        self._local_tokens = local_tokens
        self._platform = platform
        self._memberships = memberships

    async def NormalizeIdentity(
        self, request: NormalizeIdentityRequest, _: Any
    ) -> NormalizeIdentityResponse:
        return await self._sign_in.normalize(request)

    async def GetSession(
        self, request: GetSessionRequest, _: Any
    ) -> GetSessionResponse:
        return await self._sessions.get(request)

    async def GetUser(
        self, request: GetUserRequest, _: Any
    ) -> GetUserResponse:
        return await self._users.get(request)

    async def UpdateUser(
        self, request: UpdateUserRequest, _: Any
    ) -> UpdateUserResponse:
        return await self._users.update(request)

    async def ListUsers(
        self, request: ListUsersRequest, _: Any
    ) -> ListUsersResponse:
        return await self._users.list_of_account(request)

    async def DisableUser(
        self, request: DisableUserRequest, _: Any
    ) -> DisableUserResponse:
        return await self._users.disable(request)

    async def EnableUser(
        self, request: EnableUserRequest, _: Any
    ) -> EnableUserResponse:
        return await self._users.enable(request)

    async def RevokeSessions(
        self, request: RevokeSessionsRequest, _: Any
    ) -> RevokeSessionsResponse:
        return await self._revocation.revoke(request)

    async def IssueLocalToken(
        self, request: IssueLocalTokenRequest, _: Any
    ) -> IssueLocalTokenResponse:
        return await self._local_tokens.issue(request)

    async def BootstrapPlatformAdmin(
        self, request: BootstrapPlatformAdminRequest, _: Any
    ) -> BootstrapPlatformAdminResponse:
        return await self._platform.bootstrap(request)

    async def ListMemberships(
        self, request: ListMembershipsRequest, _: Any
    ) -> ListMembershipsResponse:
        return await self._memberships.list_memberships(request)

    async def BatchGetMemberships(
        self, request: BatchGetMembershipsRequest, _: Any
    ) -> BatchGetMembershipsResponse:
        return await self._memberships.batch_get(request)

    async def ResolveUser(
        self, request: ResolveUserRequest, _: Any
    ) -> ResolveUserResponse:
        return await self._users.resolve(request)
