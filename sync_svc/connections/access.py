"""Who may use a connection: platform admins, and owners of all accounts it covers.

Absent and forbidden connections are refused alike, to the letter.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from typing import TYPE_CHECKING

import grpc
import grpc.aio
from workspace.identity.v1.account_pb2 import AccountRole, AccountStatus, MemberStatus
from workspace.identity.v1.identity_service_pb2 import (
    BatchGetMembershipsRequest,
    ListMembershipsRequest,
)
from workspace.identity.v1.membership_pb2 import MembershipFact, ScopeRef
from workspace.identity.v1.user_pb2 import UserStatus
from workspace.project.v1.project_service_pb2 import GetProjectRequest
from workspace.sync.v1.connection_pb2 import SyncScope, SyncScopeType

from services.model.errors import WorkspaceError, permission_denied
from services.model.ids import NO_ACCOUNT
from services.rpc.context import current_call, scope_of

if TYPE_CHECKING:  # the generated classes exist for type checkers only
    from workspace.identity.v1.identity_service_pb2_grpc import IdentityServiceAsyncStub
    from workspace.project.v1.project_service_pb2_grpc import ProjectServiceAsyncStub

__all__ = ["ConnectionAccess", "denied"]

_SCOPES = 500
_AT_ONCE = 16
_CLOSED = frozenset({grpc.StatusCode.PERMISSION_DENIED, grpc.StatusCode.NOT_FOUND})


def denied(connection_id: str = "") -> WorkspaceError:
    """The one refusal, for what is missing as for what is not the caller's."""
    return permission_denied("sync", f"connections/{connection_id or '-'}")


class ConnectionAccess:
    """Asks identity_svc and project_svc; decides for the caller of the current call."""

    def __init__(
        self, *, identity: IdentityServiceAsyncStub, projects: ProjectServiceAsyncStub
    ) -> None:
        self._identity = identity
        self._projects = projects

    async def is_platform_admin(self) -> bool:
        """Whether the caller is an enabled platform admin now; never by a machine token."""
        user = current_call().user_id
        if scope_of(user) is not None:
            return False
        answer = await self._identity.BatchGetMemberships(BatchGetMembershipsRequest(user_id=user))
        active = answer.user_status == UserStatus.USER_STATUS_ACTIVE
        return bool(active and answer.is_platform_admin)

    async def require_platform_admin(self, connection_id: str = "") -> None:
        """Raises PERMISSION_DENIED unless the caller is one."""
        if not await self.is_platform_admin():
            raise denied(connection_id)

    async def require(self, scope: SyncScope | None, connection_id: str = "") -> None:
        """Raises PERMISSION_DENIED unless the caller may use a connection of this scope.
        None, for a connection that is absent, is refused as slowly as one of others."""
        if not await self.allows(scope or _nowhere()) or scope is None:
            raise denied(connection_id)

    async def allows(self, scope: SyncScope) -> bool:
        """Whether the caller may."""
        return await self.is_platform_admin() or await self.owns(scope)

    async def owns(self, scope: SyncScope) -> bool:
        """Whether the caller owns every account that the scope covers. Nobody owns
        everything, nor a project without a home."""
        if scope.type == SyncScopeType.SYNC_SCOPE_TYPE_ACCOUNTS:
            return await self._owns_accounts(scope.account_ids)
        if scope.type == SyncScopeType.SYNC_SCOPE_TYPE_PROJECTS:
            homes = await self._homes(scope.project_ids)
            return "" not in homes and await self._owns_accounts(homes)
        return False

    async def owned_accounts(self) -> list[str]:
        """Accounts and personal workspaces in which the caller is an owner."""
        request = ListMembershipsRequest(
            user_id=current_call().user_id, status=MemberStatus.MEMBER_STATUS_ACTIVE, page_size=500
        )
        found: list[str] = []
        while True:
            answer = await self._identity.ListMemberships(request)
            members = [each.account_member for each in answer.memberships]
            owner = AccountRole.ACCOUNT_ROLE_OWNER
            found += [each.account_id for each in members if each.role == owner]
            if not answer.next_page_token:
                return sorted(found)
            request.page_token = answer.next_page_token

    async def _owns_accounts(self, account_ids: Iterable[str]) -> bool:
        wanted = sorted(set(account_ids))
        for at in range(0, len(wanted), _SCOPES):
            part = wanted[at : at + _SCOPES]
            answer = await self._identity.BatchGetMemberships(
                BatchGetMembershipsRequest(
                    user_id=current_call().user_id,
                    scopes=[ScopeRef(account_id=each) for each in part],
                )
            )
            if not all(_is_owner(each.fact) for each in answer.results):
                return False
        return bool(wanted)

    async def _homes(self, project_ids: Iterable[str]) -> set[str]:
        """Accounts and personal workspaces of projects; '' for one that has none or
        that the caller cannot see."""
        slots = asyncio.Semaphore(_AT_ONCE)

        async def home(project_id: str) -> str:
            async with slots:
                return await self._home(project_id)

        return set(await asyncio.gather(*map(home, project_ids)))

    async def _home(self, project_id: str) -> str:
        try:
            answer = await self._projects.GetProject(GetProjectRequest(project_id=project_id))
        except grpc.aio.AioRpcError as error:
            if error.code() in _CLOSED:
                return ""
            raise
        project = answer.project
        return str(project.account_id or project.workspace_id)


def _nowhere() -> SyncScope:
    return SyncScope(type=SyncScopeType.SYNC_SCOPE_TYPE_ACCOUNTS, account_ids=[NO_ACCOUNT])


def _is_owner(fact: MembershipFact) -> bool:
    return (
        fact.user_status == UserStatus.USER_STATUS_ACTIVE
        and fact.account_member_status == MemberStatus.MEMBER_STATUS_ACTIVE
        and fact.account_role == AccountRole.ACCOUNT_ROLE_OWNER
        and fact.account_status
        in (AccountStatus.ACCOUNT_STATUS_ACTIVE, AccountStatus.ACCOUNT_STATUS_ARCHIVED)
    )
