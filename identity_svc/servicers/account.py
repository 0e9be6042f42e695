"""AccountService."""

# ruff: noqa: N802 - the contract names the methods

from __future__ import annotations

from typing import Any

from workspace.identity.v1.account_service_pb2 import (
    AddAccountMemberRequest,
    AddAccountMemberResponse,
    ClaimOrphanedProjectRequest,
    ClaimOrphanedProjectResponse,
    CreateAccountRequest,
    CreateAccountResponse,
    DeleteAccountRequest,
    DeleteAccountResponse,
    ExportAccountDataRequest,
    ExportAccountDataResponse,
    GetAccountRequest,
    GetAccountResponse,
    GetNotificationRoutingRequest,
    GetNotificationRoutingResponse,
    GetUsageRequest,
    GetUsageResponse,
    ListAccountMembersRequest,
    ListAccountMembersResponse,
    ListAccountsRequest,
    ListAccountsResponse,
    ListAllAccountsRequest,
    ListAllAccountsResponse,
    RemoveAccountMemberRequest,
    RemoveAccountMemberResponse,
    SetAccountStatusRequest,
    SetAccountStatusResponse,
    TransferAccountOwnershipRequest,
    TransferAccountOwnershipResponse,
    UpdateAccountMemberRequest,
    UpdateAccountMemberResponse,
    UpdateAccountRequest,
    UpdateAccountResponse,
    UpdateNotificationRoutingRequest,
    UpdateNotificationRoutingResponse,
)
from workspace.identity.v1.account_service_pb2_grpc import AccountServiceServicer

from identity_svc.accounts.accounts import Accounts
from identity_svc.accounts.claims import Claims
from identity_svc.accounts.deletion import Deletion
from identity_svc.accounts.members import AccountMembers
from identity_svc.accounts.ownership import Ownership
from identity_svc.accounts.routing import Routing
from identity_svc.accounts.usage import Usage
from identity_svc.users.export import AccountExport

__all__ = ["AccountServicer"]


class AccountServicer(AccountServiceServicer):
    """Only methods that are built are here; no others are registered."""

    def __init__(
        self,
        *,
        accounts: Accounts,
        members: AccountMembers,
        ownership: Ownership,
        routing: Routing,
        claims: Claims,
        deletion: Deletion,
        export: AccountExport,
        usage: Usage,
    ) -> None:
        self._accounts = accounts
        self._members = members
        self._ownership = ownership
        self._routing = routing
        self._claims = claims
        self._deletion = deletion
        self._export = export
        self._usage = usage

    async def CreateAccount(
        self, request: CreateAccountRequest, _: Any
    ) -> CreateAccountResponse:
        return await self._accounts.create(request)

    async def GetAccount(
        self, request: GetAccountRequest, _: Any
    ) -> GetAccountResponse:
        return await self._accounts.get(request)

    async def ListAccounts(
        self, request: ListAccountsRequest, _: Any
    ) -> ListAccountsResponse:
        return await self._accounts.list_own(request)

    async def ListAllAccounts(
        self, request: ListAllAccountsRequest, _: Any
    ) -> ListAllAccountsResponse:
        return await self._accounts.list_all(request)

    async def UpdateAccount(
        self, request: UpdateAccountRequest, _: Any
    ) -> UpdateAccountResponse:
        return await self._accounts.update(request)

    async def SetAccountStatus(
        self, request: SetAccountStatusRequest, _: Any
    ) -> SetAccountStatusResponse:
        return await self._accounts.set_status(request)

    async def TransferAccountOwnership(
        self, request: TransferAccountOwnershipRequest, _: Any
    ) -> TransferAccountOwnershipResponse:
        return await self._ownership.transfer(request)

    async def AddAccountMember(
        self, request: AddAccountMemberRequest, _: Any
    ) -> AddAccountMemberResponse:
        return await self._members.add(request)

    async def UpdateAccountMember(
        self, request: UpdateAccountMemberRequest, _: Any
    ) -> UpdateAccountMemberResponse:
        return await self._members.update(request)

    async def RemoveAccountMember(
        self, request: RemoveAccountMemberRequest, _: Any
    ) -> RemoveAccountMemberResponse:
        return await self._members.remove(request)

    async def ListAccountMembers(
        self, request: ListAccountMembersRequest, _: Any
    ) -> ListAccountMembersResponse:
        return await self._members.list_members(request)

    async def GetNotificationRouting(
        self, request: GetNotificationRoutingRequest, _: Any
    ) -> GetNotificationRoutingResponse:
        return await self._routing.get(request)

    async def UpdateNotificationRouting(
        self, request: UpdateNotificationRoutingRequest, _: Any
    ) -> UpdateNotificationRoutingResponse:
        return await self._routing.update(request)

    async def ClaimOrphanedProject(
        self, request: ClaimOrphanedProjectRequest, _: Any
    ) -> ClaimOrphanedProjectResponse:
        return await self._claims.claim(request)

    async def DeleteAccount(
        self, request: DeleteAccountRequest, _: Any
    ) -> DeleteAccountResponse:
        return await self._deletion.delete(request)

    async def ExportAccountData(
        self, request: ExportAccountDataRequest, _: Any
    ) -> ExportAccountDataResponse:
        return await self._export.page(request)

    async def GetUsage(self, request: GetUsageRequest, _: Any) -> GetUsageResponse:
        return await self._usage.get(request)
