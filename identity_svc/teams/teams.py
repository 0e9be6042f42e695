"""Teams: creation, reading, lists, fields, archiving."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import nullcontext
from typing import Any

from workspace.identity.v1.account_pb2 import AccountCapability, MemberStatus
from workspace.identity.v1.team_pb2 import Team, TeamMember, TeamRole, TeamScopeType, TeamStatus
from workspace.identity.v1.team_service_pb2 import (
    ArchiveTeamRequest,
    ArchiveTeamResponse,
    CreateTeamRequest,
    CreateTeamResponse,
    GetTeamRequest,
    GetTeamResponse,
    ListTeamsRequest,
    ListTeamsResponse,
    UpdateTeamRequest,
    UpdateTeamResponse,
)
from workspace.identity.v1.user_pb2 import User

from identity_svc.accounts.rules import (
    PERSONAL,
    require_capability,
    require_open,
    require_room,
)
from identity_svc.directory import (
    TEAM,
    TEAM_MEMBER,
    AccountPlace,
    Directory,
    account_pk,
    team_pk,
    timestamp,
)
from identity_svc.listing import Pager
from identity_svc.settling import settle
from identity_svc.teams.rules import (
    ARCHIVED,
    require_admin,
    require_not_archived,
    team_place,
)
from identity_svc.teams.tree import TeamTree
from identity_svc.teams.visible import VisibleTeams
from services.kernel import Kernel
from services.model.errors import invalid_field, permission_denied
from services.model.indexes import Index
from services.model.names import validate_name
from services.records.mutation import require_etag
from services.records.record import Activity, Page, Record, Write
from services.rpc.context import current_call
from services.rpc.field_masks import apply_mask
from services.rpc.page_tokens import page_size

__all__ = ["Teams", "team_activity"]

_CREATE = AccountCapability.ACCOUNT_CAPABILITY_CREATE_TEAM
_MOST_CANDIDATES = 2_000
_SETTABLE = frozenset({"name", "description", "parent_team_id"})
_SERVER_SET = frozenset(
    field.name for field in Team.DESCRIPTOR.fields if field.name not in _SETTABLE
)


def team_activity(kind: str, team: Team, resource: str = "") -> Activity:
    return Activity(kind, resource or f"teams/{team.team_id}", account_id=team.account_id)


class Teams:
    """See the module."""

    def __init__(self, kernel: Kernel, directory: Directory, visible: VisibleTeams) -> None:
        self._kernel = kernel
        self._records = kernel.records
        self._directory = directory
        self._visible = visible
        self._tree = TeamTree(kernel, directory)
        self._pager = Pager(kernel)

    async def create(self, request: CreateTeamRequest) -> CreateTeamResponse:
        await self._authorise_create(request)
        name = validate_name("name", request.name)
        mutation = self._kernel.mutations.begin(request)
        team_id = mutation.new_id("t")
        pk = team_pk(team_id)

        async def attempt() -> CreateTeamResponse:
            place = await self._authorise_create(request)
            assert place.account is not None
            require_open(place.account)
            team = self._new_team(request, team_id, name)
            await require_room(
                self._records, team.root_admin_user_id, TEAM_MEMBER, by=team.created_by
            )
            user = await self._directory.user(team.root_admin_user_id)
            assert user is not None
            member = self._root_member(team, user.message)
            async with self._tree.place(team):
                return await mutation.commit(
                    pk,
                    [Write(TEAM, team), Write(TEAM_MEMBER, member)],
                    activity=team_activity("team.created", team),
                    answer=lambda records: CreateTeamResponse(
                        team=records[0].shown(), root_admin=records[1].shown()
                    ),
                    still=lambda: self._authorise_create(request),
                )

        return await settle(mutation, pk, CreateTeamResponse, attempt)

    async def get(self, request: GetTeamRequest) -> GetTeamResponse:
        place = await team_place(self._directory, request.team_id, current_call().user_id)
        if place is None or not (place.is_member or place.is_admin):
            raise permission_denied("view", f"teams/{request.team_id}")
        return GetTeamResponse(team=place.team.shown())

    async def list_visible(self, request: ListTeamsRequest) -> ListTeamsResponse:
        """By team id. In one co-administered account straight from the index;
        otherwise merged from memberships and co-administered accounts. Looks at
        2,000 candidates at most: a page may be short and still have a next one."""
        caller = current_call().user_id
        if request.account_id and await self._visible.sees_all_of(request.account_id, caller):
            return await self._of_account(request)
        limit, teams, seen, last = page_size(request), list[Team](), 0, ""
        async for team_id in self._visible.ids(caller, after=self._pager.position(request)):
            if len(teams) == limit or seen == _MOST_CANDIDATES:
                return ListTeamsResponse(
                    teams=teams, next_page_token=self._pager.token(request, last)
                )
            last, seen = team_id, seen + 1
            place = await team_place(self._directory, team_id, caller)
            if place and (place.is_member or place.is_admin) and _fits(place.team, request):
                teams.append(place.team.shown())
        return ListTeamsResponse(teams=teams)

    async def update(self, request: UpdateTeamRequest) -> UpdateTeamResponse:
        """A new parent is checked and committed while the tree is claimed: of two
        moves that together make a cycle the second sees the first (team_tree)."""
        team_id, pk = request.team.team_id, team_pk(request.team.team_id)
        caller = current_call().user_id
        await require_admin(self._directory, team_id, caller)
        mutation = self._kernel.mutations.begin(request)

        async def attempt() -> UpdateTeamResponse:
            head = await self._records.head(pk)
            base = (await require_admin(self._directory, team_id, caller)).team
            require_not_archived(base)
            require_etag(base, request.team.etag, f"teams/{team_id}")
            changed = base.edit()
            apply_mask(changed, request.team, request.update_mask, server_set=_SERVER_SET)
            changed.name = validate_name(
                "team.name", changed.name, before=base.message.name
            )
            self._stamp(changed)
            moved = changed.parent_team_id != base.message.parent_team_id
            async with self._tree.place(changed) if moved else nullcontext():
                return await mutation.commit(
                    pk,
                    [Write(TEAM, changed, base)],
                    activity=team_activity("team.updated", changed),
                    answer=lambda records: UpdateTeamResponse(team=records[0].shown()),
                    if_head=head,
                    still=lambda: require_admin(self._directory, team_id, caller),
                )

        return await settle(mutation, pk, UpdateTeamResponse, attempt)

    async def archive(self, request: ArchiveTeamRequest) -> ArchiveTeamResponse:
        team_id, pk = request.team_id, team_pk(request.team_id)
        caller = current_call().user_id
        await require_admin(self._directory, team_id, caller)
        mutation = self._kernel.mutations.begin(request)

        async def attempt() -> ArchiveTeamResponse:
            head = await self._records.head(pk)
            base = (await require_admin(self._directory, team_id, caller)).team
            require_etag(base, request.etag, f"teams/{team_id}")
            if base.message.status == ARCHIVED:
                return ArchiveTeamResponse(team=base.shown())
            changed = base.edit()
            changed.status = ARCHIVED
            self._stamp(changed)
            changed.archived_at.CopyFrom(changed.updated_at)
            changed.archived_by = changed.updated_by
            return await mutation.commit(
                pk,
                [Write(TEAM, changed, base)],
                activity=team_activity("team.archived", changed),
                answer=lambda records: ArchiveTeamResponse(team=records[0].shown()),
                if_head=head,
            )

        return await settle(mutation, pk, ArchiveTeamResponse, attempt)

    async def _authorise_create(self, request: CreateTeamRequest) -> AccountPlace:
        home = request.account_id or request.workspace_id
        place = await self._directory.account_place(home, current_call().user_id)
        account, _ = require_capability(place, _CREATE, f"accounts/{home}")
        is_personal = account.message.type == PERSONAL
        if is_personal and request.account_id:
            raise invalid_field("account_id", "is a personal workspace; send it as workspace_id")
        if not is_personal and request.workspace_id:
            raise invalid_field("workspace_id", "is a shared account; send it as account_id")
        return place

    def _new_team(self, request: CreateTeamRequest, team_id: str, name: str) -> Team:
        caller = current_call().user_id
        scope = TeamScopeType.TEAM_SCOPE_TYPE_PERSONAL_WORKSPACE
        if request.account_id:
            scope = TeamScopeType.TEAM_SCOPE_TYPE_ACCOUNT
        team = Team(
            team_id=team_id,
            account_id=request.account_id,
            workspace_id=request.workspace_id,
            scope_type=scope,
            parent_team_id=request.parent_team_id,
            name=name,
            status=TeamStatus.TEAM_STATUS_ACTIVE,
            owner_user_id=caller,
            root_admin_user_id=caller,
            description=request.description,
            created_by=caller,
        )
        self._stamp(team)
        team.created_at.CopyFrom(team.updated_at)
        return team

    def _root_member(self, team: Team, user: User) -> TeamMember:
        return TeamMember(
            team_id=team.team_id,
            user_id=user.user_id,
            email=user.email,
            name=user.name,
            role=TeamRole.TEAM_ROLE_ADMIN,
            status=MemberStatus.MEMBER_STATUS_ACTIVE,
            status_changed_at=team.created_at,
            status_changed_by=team.created_by,
            created_at=team.created_at,
            created_by=team.created_by,
            updated_at=team.created_at,
            updated_by=team.created_by,
        )

    async def _of_account(self, request: ListTeamsRequest) -> ListTeamsResponse:
        async def query(limit: int, after: str | None) -> Page[Any]:
            return await self._records.query(
                TEAM, Index.ACCOUNT, account_pk(request.account_id),
                prefix="TEAM#", limit=limit, after=after,
            )

        async def keep(rows: Sequence[Record[Any]]) -> list[Team]:
            return [row.shown() for row in rows if _fits(row, request)]

        found = await self._pager.page(request, query, keep)
        return ListTeamsResponse(teams=found.items, next_page_token=found.next_page_token)

    def _stamp(self, team: Team) -> None:
        team.updated_at.CopyFrom(timestamp(self._kernel.now()))
        team.updated_by = current_call().user_id


def _fits(row: Record[Team], request: ListTeamsRequest) -> bool:
    team = row.message
    return (
        (not request.account_id or team.account_id == request.account_id)
        and (not request.workspace_id or team.workspace_id == request.workspace_id)
        and (not request.scope_type or team.scope_type == request.scope_type)
        and (not request.status or team.status == request.status)
    )
