"""GetSession: everything a client needs after signing in, in one answer."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from workspace.identity.v1.account_pb2 import AccountMember
from workspace.identity.v1.identity_service_pb2 import GetSessionRequest, GetSessionResponse
from workspace.identity.v1.session_pb2 import (
    AccountSession,
    GrantSummary,
    ProjectSummary,
    SessionContext,
    TeamSession,
)
from workspace.project.v1.grant_pb2 import GrantSource
from workspace.project.v1.permission_pb2 import PermissionSource, PermissionSourceKind
from workspace.project.v1.permission_service_pb2 import GetEffectivePermissionsRequest
from workspace.project.v1.project_pb2 import Project
from workspace.project.v1.project_service_pb2 import ListProjectsRequest

from identity_svc.accounts.rules import REMOVED
from identity_svc.directory import (
    ACCOUNT,
    ACCOUNT_MEMBER,
    TEAM,
    TEAM_MEMBER,
    Directory,
    in_scope,
    invalid_state,
    user_pk,
)
from identity_svc.listing import every
from identity_svc.users.copies import MAX_MEMBERSHIPS
from identity_svc.users.preferences import Preferences
from services.model.families import Family
from services.model.indexes import Index
from services.model.roles import effective_capabilities
from services.records.port import Key
from services.records.record import Page, Record
from services.rpc.context import current_call

if TYPE_CHECKING:  # the generated classes exist for type checkers only
    from workspace.project.v1.permission_service_pb2_grpc import PermissionServiceAsyncStub
    from workspace.project.v1.project_service_pb2_grpc import ProjectServiceAsyncStub

__all__ = ["Sessions"]

_KIND = PermissionSourceKind
_AT_ONCE = 50
_READ_AT_ONCE = 500


class Sessions:
    """Accounts, teams and preferences are ours; projects and the grants that
    reach the caller are asked of the project service with the caller's token."""

    def __init__(
        self,
        directory: Directory,
        preferences: Preferences,
        *,
        projects: ProjectServiceAsyncStub,
        permissions: PermissionServiceAsyncStub,
    ) -> None:
        self._directory = directory
        self._preferences = preferences
        self._projects = projects
        self._permissions = permissions

    async def get(self, request: GetSessionRequest) -> GetSessionResponse:
        caller = current_call().user_id
        user = await self._directory.user(caller)
        if user is None or not user.message.personal_workspace_id:
            raise invalid_state(
                f"users/{caller}", "not normalised", "call NormalizeIdentity first"
            )
        accounts, teams, preferences, is_admin = await asyncio.gather(
            self._accounts(caller),
            self._teams(caller),
            self._preferences.all_of(caller),
            self._directory.is_platform_admin(caller),
        )
        session = SessionContext(
            user=user.shown(),
            accounts=accounts,
            teams=teams,
            preferences=preferences,
            is_platform_admin=is_admin,
        )
        await self._add_projects(session, request)
        return GetSessionResponse(session=session)

    async def _accounts(self, caller: str) -> list[AccountSession]:
        members = await self._members(ACCOUNT_MEMBER, "MEMBER#ACCOUNT#", caller)
        keys = [Key(member.key.pk, member.key.pk) for member in members]
        accounts = await self._batch(ACCOUNT, keys)
        return [
            AccountSession(
                account=account.shown(),
                member=member.shown(),
                capabilities=_effective(member.message, account.message.status),
            )
            for account, member in zip(accounts, members, strict=True)
            if account and in_scope(caller, account.message.account_id)
        ][:MAX_MEMBERSHIPS]

    async def _teams(self, caller: str) -> list[TeamSession]:
        members = await self._members(TEAM_MEMBER, "MEMBER#TEAM#", caller)
        teams = await self._batch(TEAM, [Key(member.key.pk, member.key.pk) for member in members])
        return [
            TeamSession(team=team.shown(), member=member.shown())
            for team, member in zip(teams, members, strict=True)
            if team and in_scope(caller, team.message.account_id or team.message.workspace_id)
        ][:MAX_MEMBERSHIPS]

    async def _members(self, family: Family, prefix: str, caller: str) -> list[Record[Any]]:
        """Memberships that were not ended: the index proposes, strong reads decide."""
        proposed = await self._memberships(family, prefix, caller)
        found = await self._batch(family, [row.key for row in proposed])
        return [row for row in found if row and row.message.status != REMOVED]

    async def _batch(self, family: Family, keys: Sequence[Key]) -> list[Record[Any] | None]:
        """Strong reads, 500 at once."""
        parts = [keys[at : at + _READ_AT_ONCE] for at in range(0, len(keys), _READ_AT_ONCE)]
        found = await asyncio.gather(
            *(self._directory.records.batch_get(family, part) for part in parts)
        )
        return [row for part in found for row in part]

    async def _memberships(self, family: Family, prefix: str, caller: str) -> list[Record[Any]]:
        async def query(limit: int, after: str | None) -> Page[Any]:
            return await self._directory.records.query(
                family, Index.USER, user_pk(caller), prefix=prefix, limit=limit, after=after
            )

        return await every(query, at_most=10 * MAX_MEMBERSHIPS)

    async def _add_projects(self, session: SessionContext, request: GetSessionRequest) -> None:
        page = await self._projects.ListProjects(
            ListProjectsRequest(page_size=request.page_size, page_token=request.page_token)
        )
        session.next_page_token = page.next_page_token
        session.projects.extend(map(_summary, page.projects))
        ids = [project.project_id for project in page.projects]
        for start in range(0, len(ids), _AT_ONCE):
            batch = ids[start : start + _AT_ONCE]
            for grants in await asyncio.gather(*map(self._grants, batch)):
                session.grants.extend(grants)

    async def _grants(self, project_id: str) -> list[GrantSummary]:
        """About oneself everybody may ask which grants count."""
        answer = await self._permissions.GetEffectivePermissions(
            GetEffectivePermissionsRequest(project_id=project_id)
        )
        return [
            _grant(project_id, source, user=current_call().user_id)
            for source in answer.effective_permissions.sources
            if source.grant_id
        ]


def _effective(member: AccountMember, account_status: int) -> list[Any]:
    return sorted(
        effective_capabilities(
            member.role,
            member.permissions,
            member_status=member.status,
            account_status=account_status,
        )
    )


def _summary(project: Project) -> ProjectSummary:
    return ProjectSummary(
        project_id=project.project_id,
        name=project.name,
        account_id=project.account_id,
        workspace_id=project.workspace_id,
        team_id=project.team_id,
        permissions=project.my_permissions,
    )


def _grant(project_id: str, source: PermissionSource, *, user: str) -> GrantSummary:
    grant = GrantSummary(
        grant_id=source.grant_id,
        project_id=project_id,
        permissions=source.permissions,
        source=GrantSource.Name(source.grant_source).removeprefix("GRANT_SOURCE_").lower(),
    )
    if source.kind == _KIND.PERMISSION_SOURCE_KIND_TEAM_GRANT:
        grant.team_id = source.team_id
    elif source.kind == _KIND.PERMISSION_SOURCE_KIND_ACCOUNT_GRANT:
        grant.account_id = source.account_id
    else:
        grant.user_id = user
    if source.HasField("expires_at"):
        grant.expires_at.CopyFrom(source.expires_at)
    return grant
