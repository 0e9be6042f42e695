"""What a user would leave without an enabled owner or root administrator."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import grpc.aio
from workspace.identity.v1.identity_service_pb2 import OrphanedScope
from workspace.identity.v1.team_pb2 import TeamScopeType
from workspace.project.v1.grant_service_pb2 import FindOrphanedProjectsRequest

from identity_svc.accounts.rules import OWNER, PERSONAL, is_active, owners_left
from identity_svc.directory import ACCOUNT_MEMBER, TEAM_MEMBER, Directory, user_pk
from identity_svc.listing import every
from identity_svc.teams.rules import ARCHIVED
from identity_svc.users.copies import MAX_MEMBERSHIPS
from services.events.feed import Feed
from services.model.errors import Reason, WorkspaceError
from services.model.families import Family
from services.model.indexes import Index
from services.records.record import Page, Record
from services.rpc.context import set_current_call

if TYPE_CHECKING:  # the generated class exists for type checkers only
    from workspace.project.v1.grant_service_pb2_grpc import GrantServiceAsyncStub

__all__ = ["Left", "Orphans"]

_LISTED = 100
"""An answer is stored with its request (16 KiB), so it lists at most these."""
_IN_ACCOUNT = TeamScopeType.TEAM_SCOPE_TYPE_ACCOUNT


@dataclass(frozen=True, slots=True)
class Left:
    """What a user leaves. `incomplete`: the service of projects did not answer."""

    scopes: Sequence[OrphanedScope]
    incomplete: bool = False

    @property
    def listed(self) -> Sequence[OrphanedScope]:
        return self.scopes[:_LISTED]


class Orphans:
    """Accounts, teams and projects. Names are left out: a platform admin sees
    metadata of accounts by their ids, and nothing of teams and projects.

    Ask after the commit that takes the user away. Whether a user is enabled lies
    in another partition than who owns what: every partition in which he has a
    membership is touched first, so that a decision under way there which still
    saw him enabled is made anew. Of two owners of whom one leaves while the other
    is disabled, either the first is refused or the second is listed here.
    """

    def __init__(
        self, directory: Directory, grants: GrantServiceAsyncStub, feed: Feed
    ) -> None:
        self._directory = directory
        self._grants = grants
        self._feed = feed

    async def left_by(self, user: str, *, own_personal: bool = True) -> Left:
        """All of them; without `own_personal` his personal account aside."""
        await self._feed.indexes_settled()  # what he got elsewhere until now
        found = [*await self._accounts(user, own_personal), *await self._teams(user)]
        try:
            # Without the caller's token: it is refused already if he is the user.
            projects = await asyncio.create_task(self._projects(user))
            return Left([*found, *projects])
        except (grpc.aio.AioRpcError, WorkspaceError) as error:
            if not _is_unavailable(error):
                raise
            return Left(found, incomplete=True)

    async def _accounts(self, user: str, own_personal: bool) -> list[OrphanedScope]:
        orphaned = []
        for row in await self._memberships(ACCOUNT_MEMBER, "MEMBER#ACCOUNT#", user):
            account_id = row.message.account_id
            if not is_active(row):
                continue
            await self._directory.records.touch(row.key.pk)
            fresh = await self._directory.account_place(account_id, user)
            if not is_active(fresh.member) or fresh.account is None or fresh.member is None:
                continue
            if fresh.member.message.role != OWNER or fresh.account.message.HasField("purged_at"):
                continue
            if fresh.account.message.type == PERSONAL and not own_personal:
                continue
            if not await owners_left(self._directory, account_id, without=user):
                orphaned.append(OrphanedScope(account_id=account_id))
        return orphaned

    async def _teams(self, user: str) -> list[OrphanedScope]:
        orphaned = []
        for row in await self._memberships(TEAM_MEMBER, "MEMBER#TEAM#", user):
            if not is_active(row):
                continue
            await self._directory.records.touch(row.key.pk)
            team = await self._directory.team(row.message.team_id)
            if team is None or team.message.scope_type == _IN_ACCOUNT:
                continue
            if team.message.status != ARCHIVED and team.message.root_admin_user_id == user:
                orphaned.append(OrphanedScope(team_id=team.message.team_id))
        return orphaned

    async def _projects(self, user: str) -> list[OrphanedScope]:
        set_current_call(None)
        orphaned, after, more = list[OrphanedScope](), "", True
        while more:
            answer = await self._grants.FindOrphanedProjects(
                FindOrphanedProjectsRequest(user_id=user, after_project_id=after)
            )
            orphaned += [OrphanedScope(project_id=each) for each in answer.project_ids]
            after = answer.next_after_project_id
            more = bool(after)
        return orphaned

    async def _memberships(self, family: Family, prefix: str, user: str) -> list[Record[Any]]:
        async def query(limit: int, after: str | None) -> Page[Any]:
            return await self._directory.records.query(
                family, Index.USER, user_pk(user), prefix=prefix, limit=limit, after=after
            )

        return await every(query, at_most=10 * MAX_MEMBERSHIPS)


def _is_unavailable(error: grpc.aio.AioRpcError | WorkspaceError) -> bool:
    if isinstance(error, WorkspaceError):
        return error.reason == Reason.ERROR_REASON_BACKEND_UNAVAILABLE
    return error.code() in (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED)
