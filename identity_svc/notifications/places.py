"""Who stands where: routing of accounts, administrators of teams, managers of
projects. Strong reads here, service RPCs there; nothing is decided by a cache."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from workspace.common.v1.consistency_pb2 import Consistency
from workspace.common.v1.permission_pb2 import Permission
from workspace.identity.v1.account_pb2 import AccountCapability, AccountMember, NotificationRouting
from workspace.identity.v1.team_pb2 import TeamRole
from workspace.project.v1.grant_service_pb2 import FindOrphanedProjectsRequest
from workspace.project.v1.permission_service_pb2 import (
    GetEffectivePermissionsRequest,
    GetEffectivePermissionsResponse,
    ListProjectUsersRequest,
)

from identity_svc.accounts.routing import default_routing, routing_key
from identity_svc.accounts.rules import held, is_active
from identity_svc.directory import ACCOUNT_MEMBER, TEAM_MEMBER, Directory, account_pk, team_pk
from identity_svc.listing import every
from identity_svc.teams.rules import TeamPlace, team_place
from services.model.families import FAMILIES, Family
from services.model.indexes import Index
from services.records.port import Key
from services.records.record import Page, Record

if TYPE_CHECKING:  # the generated classes exist for type checkers only
    from workspace.project.v1.grant_service_pb2_grpc import GrantServiceAsyncStub
    from workspace.project.v1.permission_service_pb2_grpc import PermissionServiceAsyncStub

__all__ = ["MOST_RECIPIENTS", "Places"]

MOST_RECIPIENTS = 50
"""People who are written to about one event."""
_MOST_SCANNED = 5_000
_MOST_ORPHANS = 1_000
_ROUTING = FAMILIES["notification_routing"]
_PROJECT = FAMILIES["project"]
_MANAGE = AccountCapability.ACCOUNT_CAPABILITY_MANAGE_ACCOUNT
_FRESH = Consistency(fully_consistent=True)


class Places:
    """See the module. Lists have at most 50 people."""

    def __init__(
        self,
        directory: Directory,
        grants: GrantServiceAsyncStub,
        permissions: PermissionServiceAsyncStub,
    ) -> None:
        self.directory = directory
        self._records = directory.records
        self._grants = grants
        self._permissions = permissions

    async def routed(self, account_id: str, topic: str) -> list[str]:
        """Whom the account routes the topic to: the people it names, then roles."""
        routing = await self._routing(account_id, topic)
        if not account_id or routing.disabled:
            return []
        named = [user for user in routing.user_ids if await self._is_member(account_id, user)]
        members: list[Record[AccountMember]] = []
        if routing.roles:
            members = await self._rows(ACCOUNT_MEMBER, account_pk(account_id))
        by_role = [
            row.message.user_id
            for row in members
            if is_active(row) and row.message.role in routing.roles
        ]
        return _some(named + by_role)

    async def is_routed(self, account_id: str, topic: str, user: str) -> bool:
        """Whether `routed` would name the user now."""
        routing = await self._routing(account_id, topic)
        member = await self.directory.account_member(account_id, user)
        if routing.disabled or member is None or not is_active(member):
            return False
        return user in routing.user_ids or member.message.role in routing.roles

    async def account_managers(self, account_id: str) -> list[str]:
        rows = await self._rows(ACCOUNT_MEMBER, account_pk(account_id))
        return _some(row.message.user_id for row in rows if _MANAGE in held(row))

    async def manages_account(self, account_id: str, user: str) -> bool:
        return _MANAGE in held(await self.directory.account_member(account_id, user))

    async def team_managers(self, team_id: str) -> list[str]:
        """Administrators among the members, the root administrator first."""
        team = await self.directory.team(team_id)
        if team is None:
            return []
        rows = await self._rows(TEAM_MEMBER, team_pk(team_id))
        admins = [
            row.message.user_id
            for row in rows
            if is_active(row) and row.message.role == TeamRole.TEAM_ROLE_ADMIN
        ]
        root = team.message.root_admin_user_id
        return _some([root, *admins] if root in admins else admins)

    async def team_place(self, team_id: str, user: str) -> TeamPlace | None:
        return await team_place(self.directory, team_id, user)

    async def project_managers(self, project_id: str) -> list[str]:
        """Holders of `manage_access`, in order of id."""
        answer = await self._permissions.ListProjectUsers(
            ListProjectUsersRequest(
                project_id=project_id,
                permission=Permission.PERMISSION_MANAGE_ACCESS,
                consistency=_FRESH,
                page_size=MOST_RECIPIENTS,
            )
        )
        return [each.user_id for each in answer.users]

    async def project_owners(self, project_id: str) -> list[str]:
        """Holders of `owner`, in order of id."""
        answer = await self._permissions.ListProjectUsers(
            ListProjectUsersRequest(
                project_id=project_id,
                permission=Permission.PERMISSION_OWNER,
                consistency=_FRESH,
                page_size=MOST_RECIPIENTS,
            )
        )
        return [each.user_id for each in answer.users]

    async def account_of(self, project_id: str) -> str:
        """The account of a project ('' for none), by the record itself."""
        key = Key(f"PROJECT#{project_id}", f"PROJECT#{project_id}")
        found = await self._records.get(_PROJECT, key)
        return str(found.message.account_id) if found is not None else ""

    async def effective(self, project_id: str, user: str) -> GetEffectivePermissionsResponse:
        """What the user holds on the project now, and its name if he sees it."""
        return await self._permissions.GetEffectivePermissions(
            GetEffectivePermissionsRequest(
                project_id=project_id, user_id=user, consistency=_FRESH
            )
        )

    async def orphaned_by(self, user: str) -> dict[str, str]:
        """Projects without another enabled owner, and the account of each ('': none)."""
        found, after, more = dict[str, str](), "", True
        while more and len(found) < _MOST_ORPHANS:
            answer = await self._grants.FindOrphanedProjects(
                FindOrphanedProjectsRequest(user_id=user, after_project_id=after)
            )
            found |= {each: answer.account_ids.get(each, "") for each in answer.project_ids}
            after = answer.next_after_project_id
            more = bool(after)
        return found

    async def _routing(self, account_id: str, topic: str) -> NotificationRouting:
        row = None
        if account_id:
            row = await self._records.get(_ROUTING, routing_key(account_id, topic))
        return row.message if row else default_routing(account_id, topic)

    async def _is_member(self, account_id: str, user: str) -> bool:
        return is_active(await self.directory.account_member(account_id, user))

    async def _rows(self, family: Family, pk: str) -> list[Record[Any]]:
        async def query(limit: int, after: str | None) -> Page[Any]:
            return await self._records.query(
                family, Index.BASE, pk, prefix="MEMBER#", limit=limit, after=after
            )

        return await every(query, at_most=_MOST_SCANNED)


def _some(users: Iterable[str]) -> list[str]:
    """Each once, the first 50."""
    return list(dict.fromkeys(users))[:MOST_RECIPIENTS]
