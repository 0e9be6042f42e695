"""IdentityService."""

# ruff: noqa: N802 - the contract names the methods

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

from workspace.identity.v1.identity_service_pb2 import (
    BatchGetMembershipsRequest,
    BatchGetMembershipsResponse,
    BootstrapPlatformAdminRequest,
    BootstrapPlatformAdminResponse,
    CreateMachineTokenRequest,
    CreateMachineTokenResponse,
    DisableUserRequest,
    DisableUserResponse,
    EnableUserRequest,
    EnableUserResponse,
    EraseUserRequest,
    EraseUserResponse,
    ExportUserDataRequest,
    ExportUserDataResponse,
    GetSessionRequest,
    GetSessionResponse,
    GetUserRequest,
    GetUserResponse,
    IssueLocalTokenRequest,
    IssueLocalTokenResponse,
    LinkIdentityRequest,
    LinkIdentityResponse,
    ListIdentityLinksRequest,
    ListIdentityLinksResponse,
    ListMachineTokensRequest,
    ListMachineTokensResponse,
    ListMembershipsRequest,
    ListMembershipsResponse,
    ListScopeMembersRequest,
    ListScopeMembersResponse,
    ListUsersRequest,
    ListUsersResponse,
    NormalizeIdentityRequest,
    NormalizeIdentityResponse,
    ResolveUserRequest,
    ResolveUserResponse,
    RevokeMachineTokenRequest,
    RevokeMachineTokenResponse,
    RevokeSessionsRequest,
    RevokeSessionsResponse,
    TryMembershipChangeRequest,
    TryMembershipChangeResponse,
    UnlinkIdentityRequest,
    UnlinkIdentityResponse,
    UpdateUserRequest,
    UpdateUserResponse,
    WatchMembershipsRequest,
    WatchMembershipsResponse,
)
from workspace.identity.v1.identity_service_pb2_grpc import IdentityServiceServicer

from identity_svc.memberships.membership_changes import MembershipTrials
from identity_svc.memberships.memberships import Memberships
from identity_svc.memberships.scope_members import ScopeMembers
from identity_svc.memberships.watch_memberships import MembershipWatch
from identity_svc.users.erasure import Erasures
from identity_svc.users.export import UserExport
from identity_svc.users.links import Links
from identity_svc.users.local_tokens import LocalTokens
from identity_svc.users.machine_tokens import MachineTokens
from identity_svc.users.platform import PlatformAdmins
from identity_svc.users.revocation import Revocation
from identity_svc.users.sessions import Sessions
from identity_svc.users.sign_in import SignIn
from identity_svc.users.users import Users

__all__ = ["IdentityServicer"]


class IdentityServicer(IdentityServiceServicer):
    """Only methods that are built are here; no others are registered."""

    def __init__(
        self,
        *,
        sign_in: SignIn,
        sessions: Sessions,
        users: Users,
        erasures: Erasures,
        export: UserExport,
        revocation: Revocation,
        local_tokens: LocalTokens,
        links: Links,
        machine_tokens: MachineTokens,
        platform: PlatformAdmins,
        memberships: Memberships,
        watch: MembershipWatch,
        scope_members: ScopeMembers,
        trials: MembershipTrials,
    ) -> None:
        self._sign_in = sign_in
        self._sessions = sessions
        self._users = users
        self._erasures = erasures
        self._export = export
        self._revocation = revocation
        self._local_tokens = local_tokens
        self._links = links
        self._machine_tokens = machine_tokens
        self._platform = platform
        self._memberships = memberships
        self._watch = watch
        self._scope_members = scope_members
        self._trials = trials

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

    async def LinkIdentity(
        self, request: LinkIdentityRequest, _: Any
    ) -> LinkIdentityResponse:
        return await self._links.link(request)

    async def UnlinkIdentity(
        self, request: UnlinkIdentityRequest, _: Any
    ) -> UnlinkIdentityResponse:
        return await self._links.unlink(request)

    async def ListIdentityLinks(
        self, request: ListIdentityLinksRequest, _: Any
    ) -> ListIdentityLinksResponse:
        return await self._links.list_of_user(request)

    async def CreateMachineToken(
        self, request: CreateMachineTokenRequest, _: Any
    ) -> CreateMachineTokenResponse:
        return await self._machine_tokens.create(request)

    async def ListMachineTokens(
        self, request: ListMachineTokensRequest, _: Any
    ) -> ListMachineTokensResponse:
        return await self._machine_tokens.list_of_user(request)

    async def RevokeMachineToken(
        self, request: RevokeMachineTokenRequest, _: Any
    ) -> RevokeMachineTokenResponse:
        return await self._machine_tokens.revoke(request)

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

    def WatchMemberships(
        self, request: WatchMembershipsRequest, _: Any
    ) -> AsyncIterator[WatchMembershipsResponse]:
        return self._watch.watch(request)

    async def ResolveUser(
        self, request: ResolveUserRequest, _: Any
    ) -> ResolveUserResponse:
        return await self._users.resolve(request)

    async def ListScopeMembers(
        self, request: ListScopeMembersRequest, _: Any
    ) -> ListScopeMembersResponse:
        return await self._scope_members.list(request)

    async def TryMembershipChange(
        self, request: TryMembershipChangeRequest, _: Any
    ) -> TryMembershipChangeResponse:
        return await self._trials.run(request)

    async def EraseUser(
        self, request: EraseUserRequest, _: Any
    ) -> EraseUserResponse:
        return await self._erasures.erase(request)

    async def ExportUserData(
        self, request: ExportUserDataRequest, _: Any
    ) -> ExportUserDataResponse:
        return await self._export.page(request)
