"""ImportLegacyTeam: a standalone team from an earlier system, by invitations.

(1) The team in one commit: its id derives from the id in the earlier system, so
that nobody imports it twice. It has no member, and gives nobody anything. (2) An
invitation for each person; ids derive from team and address, so that a repeat
makes the missing ones. Who accepts becomes a member, and the root administrator
becomes just that, because the team names him already.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Sequence
from datetime import timedelta
from typing import Final

from workspace.identity.v1.invitation_pb2 import Invitation, InvitationTerms
from workspace.identity.v1.team_pb2 import Team, TeamRole, TeamScopeType, TeamStatus
from workspace.identity.v1.team_service_pb2 import (
    ImportLegacyTeamRequest,
    ImportLegacyTeamResponse,
    LegacyTeamMemberResult,
)

from identity_svc.directory import TEAM, Directory, not_found, team_pk, timestamp
from identity_svc.invitations.rules import (
    INVITATION,
    PENDING,
    TEAM_TARGET,
    activity,
    invitation_key,
    invitation_pk,
    shown,
)
from identity_svc.invitations.tokens import InvitationTokens
from identity_svc.settling import settle
from identity_svc.teams.teams import team_activity
from services.kernel import Kernel
from services.model.errors import Reason, WorkspaceError, invalid_field, permission_denied
from services.model.ids import canonical_email
from services.model.names import validate_name
from services.records.record import Write
from services.rpc.context import current_call
from services.rpc.errors import to_status

__all__ = ["LegacyTeams"]

_ADMIN = TeamRole.TEAM_ROLE_ADMIN
_LIFETIME: Final = timedelta(days=30)


class LegacyTeams:
    """See the module."""

    def __init__(
        self, kernel: Kernel, directory: Directory, tokens: InvitationTokens
    ) -> None:
        self._kernel = kernel
        self._records = kernel.records
        self._directory = directory
        self._tokens = tokens

    async def import_team(self, request: ImportLegacyTeamRequest) -> ImportLegacyTeamResponse:
        caller = current_call().user_id
        if not await self._directory.is_platform_admin(caller):
            raise permission_denied("platform_admin", "teams")
        root_email = await self._root_email(request)
        await self._require_not_oneself(request)
        mutation, team_id = self._kernel.mutations.begin(request), _team_id(request.legacy_id)
        pk, name = team_pk(team_id), validate_name("name", request.name)

        async def attempt() -> ImportLegacyTeamResponse:
            if await self._directory.team(team_id) is not None:
                raise _imported_before(team_id)
            return await mutation.commit(
                pk,
                [Write(TEAM, self._team(request, team_id, name))],
                activity=team_activity("team.imported", Team(team_id=team_id)),
                answer=lambda records: ImportLegacyTeamResponse(team=records[0].shown()),
            )

        answer = await settle(mutation, pk, ImportLegacyTeamResponse, attempt)
        root = await self._invited(answer.team, root_email, _ADMIN)
        answer.root_admin_invitation.CopyFrom(root)
        answer.results.extend(await self._results(answer.team, request, root_email))
        return answer

    async def _root_email(self, request: ImportLegacyTeamRequest) -> str:
        root = await self._directory.active_user(request.root_admin_user_id)
        if root is None or not root.message.email_verified or not root.message.email:
            raise not_found(f"users/{request.root_admin_user_id}")
        return root.message.email

    async def _require_not_oneself(self, request: ImportLegacyTeamRequest) -> None:
        """A platform admin never adds himself."""
        caller = current_call().user_id
        if request.root_admin_user_id == caller:
            raise invalid_field("root_admin_user_id", "must not be yourself; name another user")
        own = await self._directory.user(caller)
        address = canonical_email(own.message.email) if own else ""
        if address and address in {canonical_email(each.email) for each in request.members}:
            raise invalid_field("members.email", "must not be your own address; leave it out")

    def _team(self, request: ImportLegacyTeamRequest, team_id: str, name: str) -> Team:
        caller, now = current_call().user_id, timestamp(self._kernel.now())
        return Team(
            team_id=team_id,
            scope_type=TeamScopeType.TEAM_SCOPE_TYPE_STANDALONE,
            name=name,
            status=TeamStatus.TEAM_STATUS_ACTIVE,
            owner_user_id=request.root_admin_user_id,
            root_admin_user_id=request.root_admin_user_id,
            description=request.description,
            created_at=now,
            created_by=caller,
            updated_at=now,
            updated_by=caller,
        )

    async def _results(
        self, team: Team, request: ImportLegacyTeamRequest, root_email: str
    ) -> Sequence[LegacyTeamMemberResult]:
        """One per person, in the order asked; an address counts once."""
        seen, results = {canonical_email(root_email)}, []
        for member in request.members:
            result = LegacyTeamMemberResult(email=member.email)
            if canonical_email(member.email) in seen:
                result.error.CopyFrom(to_status(_named_twice(), current_call().request_id))
            else:
                seen.add(canonical_email(member.email))
                result.invitation.CopyFrom(await self._invited(team, member.email, member.role))
            results.append(result)
        return results

    async def _invited(self, team: Team, email: str, role: TeamRole.ValueType) -> Invitation:
        """The invitation of this address; made unless it is there."""
        invitation_id = _invitation_id(team.team_id, email)
        pk = invitation_pk(invitation_id)
        now = self._kernel.now()
        found = await self._records.get(INVITATION, invitation_key(invitation_id))
        if found is None:
            draft = self._draft(team, invitation_id, email, role)
            draft.token_hash = self._tokens.hash_of(draft)
            event = activity("invitation.created", draft)
            try:
                await self._records.commit(pk, [Write(INVITATION, draft)], activity=event)
            except WorkspaceError as error:
                if error.reason != Reason.ERROR_REASON_ALREADY_EXISTS:
                    raise
            found = await self._records.get(INVITATION, invitation_key(invitation_id))
        assert found is not None
        return shown(found, now)

    def _draft(
        self, team: Team, invitation_id: str, email: str, role: TeamRole.ValueType
    ) -> Invitation:
        now = self._kernel.now()
        at, ends = timestamp(now), timestamp(now + _LIFETIME.total_seconds())
        return Invitation(
            invitation_id=invitation_id,
            target_type=TEAM_TARGET,
            target_id=team.team_id,
            target_name=team.name,
            team_id=team.team_id,
            email=email.strip(),
            terms=InvitationTerms(team_role=role),
            status=PENDING,
            generation=1,
            invited_by=team.created_by,
            created_by=team.created_by,
            created_at=at,
            issued_at=at,
            updated_at=at,
            updated_by=team.created_by,
            expires_at=ends,
        )


def _team_id(legacy_id: str) -> str:
    return "t_" + _hashed("legacy team", legacy_id)


def _invitation_id(team_id: str, email: str) -> str:
    return "i_" + _hashed("legacy member", team_id, canonical_email(email))


def _hashed(*parts: str) -> str:
    digest = hashlib.sha256("\0".join(parts).encode()).digest()
    return base64.b32encode(digest).decode().lower()[:26]


def _imported_before(team_id: str) -> WorkspaceError:
    return WorkspaceError(
        Reason.ERROR_REASON_ALREADY_EXISTS,
        f"this legacy_id was imported before, as teams/{team_id}",
        metadata={"resource": f"teams/{team_id}"},
    )


def _named_twice() -> WorkspaceError:
    return WorkspaceError(
        Reason.ERROR_REASON_ALREADY_EXISTS,
        "this address is named twice, or is that of the root administrator",
        metadata={"resource": "members"},
    )
