"""The grant to which an accepted invitation leads, for the identity service.

Identity knows who accepted; what the inviter may give is decided here, at this
moment, under the head of the project. The id derives from the invitation: a
repeat finds the grant that is there, whatever became of it.
"""

from __future__ import annotations

import base64
import hashlib

from workspace.identity.v1.account_pb2 import AccountStatus
from workspace.identity.v1.membership_pb2 import MembershipFact
from workspace.identity.v1.user_pb2 import UserStatus
from workspace.project.v1.grant_pb2 import Grant, GrantSource, GrantStatus, GrantTargetType
from workspace.project.v1.grant_service_pb2 import (
    CreateInvitedGrantRequest,
    CreateInvitedGrantResponse,
)

from project_svc.access.facts import ProjectView, project_pk
from project_svc.access.gate import Access, ProjectAccess, invalid_state, require_active
from project_svc.grants.new_grants import GrantTerms, end_of, new_grant, require_room
from project_svc.grants.targets import require_share
from project_svc.projects.changes import activity_of
from project_svc.projects.homes import team_of
from services.kernel import Kernel
from services.model.errors import Reason, WorkspaceError
from services.model.families import FAMILIES
from services.model.permissions import MANAGE_ACCESS
from services.model.times import from_timestamp
from services.records.deciding import deciding
from services.records.record import Record, Write

__all__ = ["InvitedGrants", "invited_grant_id"]

_GRANT = FAMILIES["project_grant"]
_ACCOUNT_ACTIVE = AccountStatus.ACCOUNT_STATUS_ACTIVE
_TYPES = GrantTargetType


def invited_grant_id(invitation_id: str) -> str:
    """An invitation is accepted once, in whatever generation: it has one grant."""
    digest = hashlib.sha256(f"invitation {invitation_id}".encode()).digest()
    return "g_" + base64.b32encode(digest).decode().lower()[:26]


class InvitedGrants:
    """See the module."""

    def __init__(self, *, kernel: Kernel, access: Access) -> None:
        self._kernel = kernel
        self._access = access

    async def create(self, request: CreateInvitedGrantRequest) -> CreateInvitedGrantResponse:
        """Decide and, unless `validate_only`, commit."""

        async def attempt() -> CreateInvitedGrantResponse:
            view = await self._access.facts.project(request.project_id)
            made = _made_before(view, request)
            if made is not None:
                return CreateInvitedGrantResponse(grant=made.shown())
            found = await self._access.of(request.inviter_user_id, request.project_id)
            found = self._access.admit(
                found, MANAGE_ACCESS, resource=f"projects/{request.project_id}"
            )
            grant = await self._decided(found, request)
            answer = CreateInvitedGrantResponse(
                project_name=found.project.name,
                account_id=found.project.account_id,
                workspace_id=found.project.workspace_id,
                team_id=found.project.team_id,
            )
            return answer if request.validate_only else await self._commit(found, grant, answer)

        return await deciding(attempt)

    async def _decided(self, found: ProjectAccess, request: CreateInvitedGrantRequest) -> Grant:
        require_share(found)
        terms = GrantTerms(
            target_type=request.target_type,
            target_id=request.target_id,
            permissions=frozenset(map(int, request.permissions)),
            ends=end_of(request),
            source=GrantSource.GRANT_SOURCE_INVITATION,
            source_id=request.invitation_id,
        )
        grant_id = invited_grant_id(request.invitation_id)
        grant = new_grant(found, terms, grant_id=grant_id, now=self._access.now())
        _require_home(found, request)
        require_active(found.project)
        if not request.validate_only:  # an offer does not tell who is there
            await self._require_target(grant)
        if request.target_id:
            require_room(found, grant, self._access.now())
            _require_not_taken_away(found, request)
        return grant

    async def _commit(
        self, found: ProjectAccess, grant: Grant, answer: CreateInvitedGrantResponse
    ) -> CreateInvitedGrantResponse:
        name = f"projects/{grant.project_id}/grants/{grant.grant_id}"
        pk = project_pk(grant.project_id)
        done = await self._kernel.records.commit(
            pk,
            [Write(_GRANT, grant)],
            activity=activity_of("grant.created", found.project, name),
            if_head=found.head,
        )
        answer.grant.CopyFrom(done.records[0].shown())  # type: ignore[arg-type]
        answer.consistency_token = self._kernel.consistency.issue(pk, done.pseq, done.time_ms)
        return answer

    async def _require_target(self, grant: Grant) -> None:
        """Raises NOT_FOUND unless the receiver is active. That it agreed is what
        the identity service has established."""
        facts = self._access.facts
        if grant.target_type == _TYPES.GRANT_TARGET_TYPE_USER:
            user = await facts.user(grant.target_id)
            active = user.status == UserStatus.USER_STATUS_ACTIVE
        elif grant.target_type == _TYPES.GRANT_TARGET_TYPE_TEAM:
            user = await facts.user(grant.created_by, teams=[grant.target_id])
            fact: MembershipFact = user.raw[grant.target_id]
            closed = fact.account_id and fact.account_status != _ACCOUNT_ACTIVE
            active = team_of(grant.target_id, fact).active and not closed
        else:
            user = await facts.user(grant.created_by, accounts=[grant.target_id])
            active = user.raw[grant.target_id].account_status == _ACCOUNT_ACTIVE
        if not active:
            raise WorkspaceError(
                Reason.ERROR_REASON_NOT_FOUND,
                f"{grant.target_id} is not an active receiver; invite another one",
                metadata={"resource": grant.target_id},
            )


def _made_before(
    view: ProjectView | None, request: CreateInvitedGrantRequest
) -> Record[Grant] | None:
    wanted = invited_grant_id(request.invitation_id)
    rows = view.grants if view else ()
    return next((row for row in rows if row.message.grant_id == wanted), None)


def _require_home(found: ProjectAccess, request: CreateInvitedGrantRequest) -> None:
    """Raises INVALID_STATE when the project is in another home than it was."""
    offered = (request.account_id, request.workspace_id)
    home = (found.project.account_id, found.project.workspace_id)
    if any(offered) and offered != home:
        raise invalid_state(f"projects/{request.project_id}", "moved", "invite again")


def _require_not_taken_away(found: ProjectAccess, request: CreateInvitedGrantRequest) -> None:
    """Raises INVALID_STATE when the receiver lost a grant after the offer: an old
    invitation does not bring it back."""
    if not request.HasField("issued_at"):
        return
    since = from_timestamp(request.issued_at)
    for row in found.view.grants:
        grant = row.message
        same = (grant.target_type, grant.target_id) == (request.target_type, request.target_id)
        ended = grant.status == GrantStatus.GRANT_STATUS_REVOKED
        if same and ended and from_timestamp(grant.revoked_at) >= since:
            raise invalid_state(
                f"projects/{request.project_id}/grants/{grant.grant_id}",
                "revoked after the invitation", "invite again",
            )
