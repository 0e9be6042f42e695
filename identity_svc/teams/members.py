"""Members of a team, and the transfer of its root administration. Decisions are
made under `if_head`, so that a team never loses its last root administrator."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from workspace.identity.v1.account_pb2 import AccountCapability, MemberStatus
from workspace.identity.v1.team_pb2 import TeamMember, TeamRole
from workspace.identity.v1.team_service_pb2 import (
    AddTeamMemberRequest,
    AddTeamMemberResponse,
    ListTeamMembersRequest,
    ListTeamMembersResponse,
    RemoveTeamMemberRequest,
    RemoveTeamMemberResponse,
    TransferRootAdminRequest,
    TransferRootAdminResponse,
    UpdateTeamMemberRequest,
    UpdateTeamMemberResponse,
)
from workspace.identity.v1.user_pb2 import User

from identity_svc.accounts.rules import (
    MEMBER_ACTIVE,
    REMOVED,
    held,
    require_open,
    require_room,
)
from identity_svc.directory import (
    TEAM,
    TEAM_MEMBER,
    Directory,
    invalid_state,
    not_found,
    team_pk,
    timestamp,
)
from identity_svc.listing import Pager
from identity_svc.settling import settle
from identity_svc.teams.rules import (
    IN_ACCOUNT,
    TeamPlace,
    last_root_admin,
    require_admin,
    require_not_archived,
    team_place,
)
from identity_svc.teams.teams import team_activity
from services.kernel import Kernel
from services.model.errors import Reason, WorkspaceError, invalid_field, permission_denied
from services.model.indexes import Index
from services.model.roles import may_admit_to_team
from services.records.mutation import Mutation, require_etag
from services.records.record import Head, Page, Record, Write
from services.rpc.context import current_call
from services.rpc.field_masks import apply_mask

__all__ = ["TeamMembers"]

_INVITE = AccountCapability.ACCOUNT_CAPABILITY_INVITE_MEMBERS
_STATUSES = (MEMBER_ACTIVE, MemberStatus.MEMBER_STATUS_SUSPENDED)
_SETTABLE = frozenset({"role", "guest", "status"})
_SERVER_SET = frozenset(
    field.name for field in TeamMember.DESCRIPTOR.fields if field.name not in _SETTABLE
)


class TeamMembers:
    """See the module."""

    def __init__(self, kernel: Kernel, directory: Directory) -> None:
        self._kernel = kernel
        self._records = kernel.records
        self._directory = directory
        self._pager = Pager(kernel)

    async def add(self, request: AddTeamMemberRequest) -> AddTeamMemberResponse:
        await self._authorise_add(request)
        mutation, pk = self._kernel.mutations.begin(request), team_pk(request.team_id)

        async def attempt() -> AddTeamMemberResponse:
            head = await self._records.head(pk)
            place = await self._authorise_add(request)
            require_not_archived(place.team)
            if place.account.account is not None:
                require_open(place.account.account)
            user = await self._directory.addressee(request)
            return await self._admit(mutation, head, request, place, user.message)

        return await settle(mutation, pk, AddTeamMemberResponse, attempt)

    async def update(self, request: UpdateTeamMemberRequest) -> UpdateTeamMemberResponse:
        sent, caller = request.member, current_call().user_id
        pk = team_pk(sent.team_id)
        await require_admin(self._directory, sent.team_id, caller)
        mutation = self._kernel.mutations.begin(request)

        async def attempt() -> UpdateTeamMemberResponse:
            head = await self._records.head(pk)
            place = await require_admin(self._directory, sent.team_id, caller)
            base = await self._member(sent.team_id, sent.user_id)
            require_not_archived(place.team)
            changed = await self._changed(place, base, request)
            return await mutation.commit(
                pk,
                [Write(TEAM_MEMBER, changed, base)],
                activity=team_activity(
                    "team_member.updated", place.team.message, _resource(changed)
                ),
                answer=lambda records: UpdateTeamMemberResponse(member=records[0].shown()),
                if_head=head,
                still=lambda: require_admin(self._directory, sent.team_id, caller),
            )

        return await settle(mutation, pk, UpdateTeamMemberResponse, attempt)

    async def remove(self, request: RemoveTeamMemberRequest) -> RemoveTeamMemberResponse:
        await self._authorise_remove(request)
        mutation, pk = self._kernel.mutations.begin(request), team_pk(request.team_id)

        async def attempt() -> RemoveTeamMemberResponse:
            head = await self._records.head(pk)
            place = await self._authorise_remove(request)
            base = await self._member(request.team_id, request.user_id)
            if base.message.status == REMOVED:
                raise not_found(_resource(base.message))
            require_etag(base, request.etag, _resource(base.message))
            changed = self._with_status(base.edit(), REMOVED)
            refusal = last_root_admin(place, base.message, changed)
            if refusal:
                raise refusal
            return await mutation.commit(
                pk,
                [Write(TEAM_MEMBER, changed, base)],
                activity=team_activity(
                    "team_member.removed", place.team.message, _resource(changed)
                ),
                answer=lambda records: RemoveTeamMemberResponse(member=records[0].shown()),
                if_head=head,
            )

        return await settle(mutation, pk, RemoveTeamMemberResponse, attempt)

    async def list_members(self, request: ListTeamMembersRequest) -> ListTeamMembersResponse:
        place = await team_place(self._directory, request.team_id, current_call().user_id)
        if place is None or not (place.is_member or place.is_admin):
            raise permission_denied("view", f"teams/{request.team_id}")

        async def query(limit: int, after: str | None) -> Page[Any]:
            return await self._records.query(
                TEAM_MEMBER, Index.BASE, team_pk(request.team_id),
                prefix="MEMBER#", limit=limit, after=after,
            )

        async def keep(rows: Sequence[Record[Any]]) -> list[TeamMember]:
            return [row.shown() for row in rows if _fits(row.message, request.status)]

        found = await self._pager.page(request, query, keep)
        return ListTeamMembersResponse(members=found.items, next_page_token=found.next_page_token)

    async def transfer_root(self, request: TransferRootAdminRequest) -> TransferRootAdminResponse:
        await self._authorise_transfer(request.team_id)
        mutation, pk = self._kernel.mutations.begin(request), team_pk(request.team_id)

        async def attempt() -> TransferRootAdminResponse:
            head = await self._records.head(pk)
            place = await self._authorise_transfer(request.team_id)
            require_not_archived(place.team)
            require_etag(place.team, request.etag, f"teams/{request.team_id}")
            return await mutation.commit(
                pk,
                await self._handed_over(place, request.new_root_admin_user_id),
                activity=team_activity("team.root_admin_transferred", place.team.message),
                answer=lambda records: TransferRootAdminResponse(team=records[0].shown()),
                if_head=head,
            )

        return await settle(mutation, pk, TransferRootAdminResponse, attempt)

    async def _authorise_add(self, request: AddTeamMemberRequest) -> TeamPlace:
        caller = current_call().user_id
        place = await require_admin(self._directory, request.team_id, caller)
        resource = f"teams/{request.team_id}"
        if request.guest:
            if place.team.message.scope_type != IN_ACCOUNT:
                raise invalid_field("guest", "only teams of an account have guests; leave it false")
            if _INVITE not in held(place.account.member):
                raise permission_denied("invite_members", resource)
        is_member = place.member is not None and place.member.message.status != REMOVED
        if request.user_id == caller and not is_member:
            raise permission_denied("add_self", resource)
        return place

    async def _authorise_remove(self, request: RemoveTeamMemberRequest) -> TeamPlace:
        """Leaving needs a membership, in whatever state, and nothing more."""
        caller = current_call().user_id
        if request.user_id == caller:
            place = await team_place(self._directory, request.team_id, caller)
            if place is not None and place.member is not None:
                return place
        return await require_admin(self._directory, request.team_id, caller)

    async def _authorise_transfer(self, team_id: str) -> TeamPlace:
        place = await team_place(self._directory, team_id, current_call().user_id)
        if place is None or not (place.is_root_admin or place.is_co_administrator):
            raise permission_denied("root_admin", f"teams/{team_id}")
        return place

    async def _admit(
        self,
        mutation: Mutation,
        head: Head,
        request: AddTeamMemberRequest,
        place: TeamPlace,
        user: User,
    ) -> AddTeamMemberResponse:
        base = await self._directory.team_member(request.team_id, user.user_id)
        if base is not None and base.message.status != REMOVED:
            resource = _resource(base.message)
            raise WorkspaceError(
                Reason.ERROR_REASON_ALREADY_EXISTS,
                f"{resource} is a member already; change it with UpdateTeamMember",
                metadata={"resource": resource},
            )
        if not may_admit_to_team(current_call().user_id, user.user_id, administers=True):
            raise permission_denied("add_self", f"teams/{request.team_id}")
        await self._require_fitting(place, user.user_id, guest=request.guest)
        await require_room(
            self._records, user.user_id, TEAM_MEMBER, by=current_call().user_id
        )
        member = self._new_member(request, user, base)
        return await mutation.commit(
            team_pk(request.team_id),
            [Write(TEAM_MEMBER, member, base)],
            activity=team_activity("team_member.added", place.team.message, _resource(member)),
            answer=lambda records: AddTeamMemberResponse(member=records[0].shown()),
            if_head=head,
            still=lambda: self._authorise_add(request),
        )

    async def _require_fitting(self, place: TeamPlace, user: str, *, guest: bool) -> None:
        """In a team of an account: a member of it, or else a guest."""
        team = place.team.message
        if team.scope_type != IN_ACCOUNT:
            if guest:
                raise invalid_field("guest", "only teams of an account have guests; leave it false")
            return
        own = await self._directory.account_member(team.account_id, user)
        inside = own is not None and own.message.status in _STATUSES
        if inside == guest:
            raise invalid_state(
                f"accounts/{team.account_id}/members/{user}",
                "a member" if inside else "no member",
                "leave guest false" if inside else "add the user to the account, or as a guest",
            )

    def _new_member(
        self, request: AddTeamMemberRequest, user: User, base: Record[TeamMember] | None
    ) -> TeamMember:
        member = base.edit() if base else TeamMember(team_id=request.team_id)
        member.user_id, member.email, member.name = user.user_id, user.email, user.name
        member.role, member.guest, member.invitation_id = request.role, request.guest, ""
        self._with_status(member, MEMBER_ACTIVE)
        if base is None:
            member.created_at.CopyFrom(member.updated_at)
            member.created_by = member.updated_by
        return member

    async def _changed(
        self, place: TeamPlace, base: Record[TeamMember], request: UpdateTeamMemberRequest
    ) -> TeamMember:
        old, resource = base.message, _resource(base.message)
        if old.status not in _STATUSES:
            raise invalid_state(resource, "not in force", "add the member again")
        require_etag(base, request.member.etag, resource)
        changed = base.edit()
        apply_mask(changed, request.member, request.update_mask, server_set=_SERVER_SET)
        if changed.status not in _STATUSES:
            raise invalid_field("member.status", "must be ACTIVE or SUSPENDED")
        if not changed.role:
            raise invalid_field("member.role", "must not be made empty; choose a role")
        caller = current_call().user_id
        reactivated = changed.status == MEMBER_ACTIVE != old.status
        if reactivated and not may_admit_to_team(caller, old.user_id, administers=True):
            raise permission_denied("reactivate_self", resource)
        if changed.guest != old.guest:
            await self._require_guest_change(place, changed)
        refusal = last_root_admin(place, old, changed)
        if refusal:
            raise refusal
        if changed.status != old.status:
            return self._with_status(changed, changed.status)
        self._stamp(changed)
        return changed

    async def _require_guest_change(self, place: TeamPlace, changed: TeamMember) -> None:
        if changed.guest and _INVITE not in held(place.account.member):
            raise permission_denied("invite_members", f"teams/{changed.team_id}")
        await self._require_fitting(place, changed.user_id, guest=changed.guest)

    async def _handed_over(self, place: TeamPlace, new_id: str) -> list[Write[Any]]:
        team_id = place.team.message.team_id
        new = await team_place(self._directory, team_id, new_id)
        member = new.member if new else None
        if (
            new is None
            or member is None
            or not new.is_member
            or not await self._directory.active_user(new_id)
        ):
            raise invalid_state(
                f"teams/{team_id}/members/{new_id}",
                "not an active member",
                "choose an active member of the team",
            )
        team = place.team.edit()
        team.root_admin_user_id = new_id
        team.updated_at.CopyFrom(timestamp(self._kernel.now()))
        team.updated_by = current_call().user_id
        writes: list[Write[Any]] = [Write(TEAM, team, place.team)]
        if member.message.role != TeamRole.TEAM_ROLE_ADMIN:
            changed = member.edit()
            changed.role = TeamRole.TEAM_ROLE_ADMIN
            self._stamp(changed)
            writes.append(Write(TEAM_MEMBER, changed, member))
        return writes

    async def _member(self, team_id: str, user_id: str) -> Record[TeamMember]:
        found = await self._directory.team_member(team_id, user_id)
        if found is None:
            raise not_found(f"teams/{team_id}/members/{user_id}")
        return found

    def _with_status(self, member: TeamMember, status: MemberStatus.ValueType) -> TeamMember:
        self._stamp(member)
        member.status = status
        member.status_changed_at.CopyFrom(member.updated_at)
        member.status_changed_by = member.updated_by
        return member

    def _stamp(self, member: TeamMember) -> None:
        member.updated_at.CopyFrom(timestamp(self._kernel.now()))
        member.updated_by = current_call().user_id


def _fits(member: TeamMember, status: int) -> bool:
    return member.status == status if status else member.status != REMOVED


def _resource(member: TeamMember) -> str:
    return f"teams/{member.team_id}/members/{member.user_id}"
