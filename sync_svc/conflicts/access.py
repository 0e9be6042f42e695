"""Who may see a conflict, and who may decide it.

Everything resolves through the project; conflicts without one through the
account, and those without either are the platform administrators'.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import grpc.aio
from workspace.common.v1.consistency_pb2 import Consistency
from workspace.identity.v1.account_pb2 import AccountCapability
from workspace.identity.v1.identity_service_pb2 import BatchGetMembershipsRequest
from workspace.identity.v1.membership_pb2 import MembershipFact, ScopeRef
from workspace.project.v1.permission_service_pb2 import GetEffectivePermissionsRequest

from services.model.errors import WorkspaceError, permission_denied
from services.model.permissions import MANAGE_ACCESS, OWNER, VIEW, WRITE
from services.model.roles import effective_capabilities
from services.rpc.context import current_call, scope_of
from sync_svc.conflicts.found import FoundConflict

if TYPE_CHECKING:  # the generated classes exist for type checkers only
    from workspace.identity.v1.identity_service_pb2_grpc import IdentityServiceAsyncStub
    from workspace.project.v1.permission_service_pb2_grpc import PermissionServiceAsyncStub

__all__ = ["ACCESS_FAMILIES", "ConflictAccess", "refuse_unknown", "resource_of"]

_FRESH = Consistency(fully_consistent=True)
_MANAGE = AccountCapability.ACCOUNT_CAPABILITY_MANAGE_ACCOUNT
_RIGHTS = "policy"
ACCESS_FAMILIES = frozenset({"project_grant", "access_request"})
"""Who may do what: shown to those who manage access, as its lists are."""


def resource_of(conflict: str) -> str:
    """The name of a conflict in errors and events."""
    return f"conflicts/{conflict}"


def refuse_unknown(conflict: str) -> WorkspaceError:
    """The refusal to decide a conflict that does not exist."""
    return permission_denied("write", resource_of(conflict))


class ConflictAccess:
    """Asks project_svc and identity_svc about the caller; each answer is fresh."""

    def __init__(
        self, *, permissions: PermissionServiceAsyncStub, identity: IdentityServiceAsyncStub
    ) -> None:
        self._permissions = permissions
        self._identity = identity

    async def may_see(self, found: FoundConflict) -> bool:
        """Whether the caller may view the record of a conflict."""
        if project_id := found.row["project_id"]:
            return _viewing(found) in await self.held(project_id)
        return await self._manages(found)

    async def may_list(self, found: FoundConflict) -> bool:
        """The same, and platform administrators: they see that there is one."""
        return await self.may_see(found) or await self.is_platform_admin()

    async def may_decide(self, found: FoundConflict) -> bool:
        """`write` on the project, `owner` for rights; `manage_account` elsewhere."""
        project_id = found.row["project_id"]
        if not project_id:
            return await self._manages(found)
        held = await self.held(project_id)
        if found.row["kind"] != _RIGHTS:
            return {WRITE, _viewing(found)} <= held
        return OWNER in held or await self._manages(found)

    async def require_decide(self, found: FoundConflict) -> None:
        """Raises PERMISSION_DENIED; who may not even look is told what `refuse_unknown`
        tells about a conflict that does not exist."""
        if await self.may_decide(found):
            return
        if found.row["kind"] == _RIGHTS and await self.may_see(found):
            raise permission_denied("owner", resource_of(found.row["conflict_id"]))
        raise refuse_unknown(found.row["conflict_id"])

    async def require_rights(self, found: FoundConflict) -> None:
        """Whoever changes rights or existence needs what a conflict about them needs,
        whatever its kind. Raises PERMISSION_DENIED."""
        project_id = found.row["project_id"]
        if project_id and OWNER in await self.held(project_id):
            return
        if not await self._manages(found):
            raise permission_denied("owner", resource_of(found.row["conflict_id"]))

    async def held(self, project_id: str) -> frozenset[int]:
        """The caller's permissions on a project; none where it may not look."""
        request = GetEffectivePermissionsRequest(
            project_id=project_id, user_id=current_call().user_id, consistency=_FRESH
        )
        try:
            answer = await self._permissions.GetEffectivePermissions(request)
        except grpc.aio.AioRpcError as error:
            if error.code() is grpc.StatusCode.PERMISSION_DENIED:
                return frozenset()
            raise
        return frozenset(map(int, answer.effective_permissions.permissions))

    async def is_platform_admin(self) -> bool:
        """Whether the caller is a platform administrator."""
        user = current_call().user_id
        if scope_of(user) is not None:
            return False
        answer = await self._identity.BatchGetMemberships(BatchGetMembershipsRequest(user_id=user))
        return answer.is_platform_admin

    async def _manages(self, found: FoundConflict) -> bool:
        user = current_call().user_id
        if scope_of(user) is not None:
            return False
        answer = await self._identity.BatchGetMemberships(
            BatchGetMembershipsRequest(user_id=user, scopes=_scopes(found))
        )
        return answer.is_platform_admin or any(
            _MANAGE in _capabilities(each.fact) for each in answer.results
        )


def _viewing(found: FoundConflict) -> int:
    """What shows a record of a project elsewhere, too."""
    return MANAGE_ACCESS if found.row["family"] in ACCESS_FAMILIES else VIEW


def _scopes(found: FoundConflict) -> list[ScopeRef]:
    """The account of a record, or the team whose account it is."""
    if account_id := found.row["account_id"]:
        return [ScopeRef(account_id=account_id)]
    kind, _, team_id = found.key.pk.partition("#")
    return [ScopeRef(team_id=team_id)] if kind == "TEAM" else []


def _capabilities(fact: MembershipFact) -> frozenset[int]:
    return effective_capabilities(
        fact.account_role, fact.capabilities, member_status=fact.account_member_status,
        account_status=fact.account_status,
    )
