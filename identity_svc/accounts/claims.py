"""ClaimOrphanedProject: who may ask. The project service does it, in one commit.

Nothing is kept here: the request id is handed on, and the project's partition
has the answer for a repeat.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from workspace.identity.v1.account_pb2 import AccountStatus
from workspace.identity.v1.account_service_pb2 import (
    ClaimOrphanedProjectRequest,
    ClaimOrphanedProjectResponse,
)
from workspace.project.v1.grant_service_pb2 import ClaimProjectRequest

from identity_svc.accounts.rules import OWNER, PERSONAL, is_active
from identity_svc.directory import AccountPlace, Directory, invalid_state
from services.model.errors import invalid_field, permission_denied
from services.rpc.context import current_call

if TYPE_CHECKING:  # the generated class exists for type checkers only
    from workspace.project.v1.grant_service_pb2_grpc import GrantServiceAsyncStub

__all__ = ["Claims"]

_SUSPENDED = AccountStatus.ACCOUNT_STATUS_SUSPENDED


class Claims:
    """See the module."""

    def __init__(self, directory: Directory, grants: GrantServiceAsyncStub) -> None:
        self._directory = directory
        self._grants = grants

    async def claim(self, request: ClaimOrphanedProjectRequest) -> ClaimOrphanedProjectResponse:
        caller, resource = current_call().user_id, f"accounts/{request.account_id}"
        place = await self._directory.account_place(request.account_id, caller)
        is_personal = place.account is not None and place.account.message.type == PERSONAL
        if is_personal:
            await self._require_appointment(request, resource)
        else:
            _require_own_claim(place, request, resource)
        assert place.account is not None
        if place.account.message.status == _SUSPENDED:
            raise invalid_state(resource, "suspended", "make it active first")
        answer = await self._grants.ClaimProject(
            ClaimProjectRequest(
                account_id=request.account_id,
                project_id=request.project_id,
                owner_user_id=request.owner_user_id or caller,
                reason=request.reason,
                entitled_only=is_personal,
                successor_user_id=place.account.message.successor_user_id,
                request_id=request.request_id,
            )
        )
        return ClaimOrphanedProjectResponse(
            project_id=answer.grant.project_id,
            owner_user_id=answer.grant.target_id,
            grant_id=answer.grant.grant_id,
            consistency_token=answer.consistency_token,
        )

    async def _require_appointment(
        self, request: ClaimOrphanedProjectRequest, resource: str
    ) -> None:
        """A platform admin appoints somebody else in a personal workspace."""
        caller = current_call().user_id
        if not await self._directory.is_platform_admin(caller):
            # As for an account that is not there: a stranger learns nothing.
            raise permission_denied("owner", resource)
        if request.owner_user_id in ("", caller):
            raise invalid_field(
                "owner_user_id",
                "name whom you appoint: someone who manages the project's access, or the "
                "named successor; never yourself",
            )


def _require_own_claim(
    place: AccountPlace, request: ClaimOrphanedProjectRequest, resource: str
) -> None:
    """An owner of an account claims for himself."""
    member = place.member
    if place.account is None or member is None or not is_active(member):
        raise permission_denied("owner", resource)
    if member.message.role != OWNER:
        raise permission_denied("owner", resource)
    if request.owner_user_id not in ("", member.message.user_id):
        raise invalid_field("owner_user_id", "an owner claims for himself; leave it empty")
