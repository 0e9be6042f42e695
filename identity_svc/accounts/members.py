"""Members of an account. Every decision is made under `if_head`: of two changes
that would together remove the last owner, the second is decided anew."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from workspace.identity.v1.account_pb2 import (
    Account,
    AccountCapability,
    AccountMember,
    MemberStatus,
)
from workspace.identity.v1.account_service_pb2 import (
    AddAccountMemberRequest,
    AddAccountMemberResponse,
    KeptOwnerGrant,
    ListAccountMembersRequest,
    ListAccountMembersResponse,
    RemoveAccountMemberRequest,
    RemoveAccountMemberResponse,
    UpdateAccountMemberRequest,
    UpdateAccountMemberResponse,
)
from workspace.identity.v1.user_pb2 import User

from identity_svc.accounts.grant_cleanup import GrantCleanup
from identity_svc.accounts.rules import (
    MEMBER_ACTIVE,
    OWNER,
    PERSONAL,
    REMOVED,
    is_active,
    owners_left,
    require_capability,
    require_held,
    require_open,
    require_room,
)
from identity_svc.directory import (
    ACCOUNT,
    ACCOUNT_MEMBER,
    AccountPlace,
    Directory,
    account_pk,
    invalid_state,
    not_found,
    timestamp,
)
from identity_svc.listing import Pager
from identity_svc.settling import settle
from identity_svc.teams.cleanup import TeamCleanup
from services.kernel import Kernel
from services.model.errors import Reason, WorkspaceError, invalid_field, permission_denied
from services.model.indexes import Index
from services.records.mutation import Mutation, require_etag
from services.records.record import Activity, Head, Page, Record, Write
from services.rpc.context import current_call
from services.rpc.field_masks import apply_mask

__all__ = ["AccountMembers", "last_owner"]

_MANAGE = AccountCapability.ACCOUNT_CAPABILITY_MANAGE_ACCOUNT
_INVITE = AccountCapability.ACCOUNT_CAPABILITY_INVITE_MEMBERS
_SETTABLE = frozenset({"role", "permissions", "status"})
_SERVER_SET = frozenset(
    field.name for field in AccountMember.DESCRIPTOR.fields if field.name not in _SETTABLE
)
_MOST_KEPT = 100
_STATUSES = (MEMBER_ACTIVE, MemberStatus.MEMBER_STATUS_SUSPENDED)


def last_owner(resource: str) -> WorkspaceError:
    return WorkspaceError(
        Reason.ERROR_REASON_LAST_OWNER,
        f"{resource} would be left without an active owner; name another one first",
        metadata={"resource": resource},
    )


class AccountMembers:
    """See the module."""

    def __init__(
        self, kernel: Kernel, directory: Directory, teams: TeamCleanup, grants: GrantCleanup
    ) -> None:
        self._kernel = kernel
        self._records = kernel.records
        self._directory = directory
        self._teams = teams
        self._grants = grants
        self._pager = Pager(kernel)

    async def add(self, request: AddAccountMemberRequest) -> AddAccountMemberResponse:
        await self._authorise_add(request)
        mutation = self._kernel.mutations.begin(request)

        async def attempt() -> AddAccountMemberResponse:
            head = await self._records.head(account_pk(request.account_id))
            require_open_shared(await self._authorise_add(request))
            user = await self._directory.addressee(request)
            return await self._admit(mutation, head, request, user)

        pk = account_pk(request.account_id)
        return await settle(mutation, pk, AddAccountMemberResponse, attempt)

    async def update(self, request: UpdateAccountMemberRequest) -> UpdateAccountMemberResponse:
        sent = request.member
        await self._authorise_update(sent)
        mutation = self._kernel.mutations.begin(request)
        pk = account_pk(sent.account_id)

        async def attempt() -> UpdateAccountMemberResponse:
            head = await self._records.head(pk)
            account, actor = await self._authorise_update(sent)
            base = await self._member(sent.account_id, sent.user_id)
            require_open(account)
            changed = self._changed(actor.message, base, request)
            writes = await self._with_owner(account, Write(ACCOUNT_MEMBER, changed, base))
            return await mutation.commit(
                pk,
                writes,
                activity=_activity("account_member.updated", changed),
                answer=lambda records: UpdateAccountMemberResponse(member=records[0].shown()),
                if_head=head,
            )

        return await settle(mutation, pk, UpdateAccountMemberResponse, attempt)

    async def remove(self, request: RemoveAccountMemberRequest) -> RemoveAccountMemberResponse:
        """A saga: (1) the membership ends, in one commit; (2) those in the
        account's teams end (team_cleanup); (3) direct grants on its projects are
        revoked (grant_cleanup). Every repeat runs (2) and (3) again."""
        await self._authorise_remove(request)
        mutation = self._kernel.mutations.begin(request)
        pk = account_pk(request.account_id)

        async def attempt() -> RemoveAccountMemberResponse:
            head = await self._records.head(pk)
            account, actor = await self._authorise_remove(request)
            base = await self._member(request.account_id, request.user_id)
            if base.message.status == REMOVED:
                await self._tidy(base.message)
                raise not_found(_resource(base.message))
            if base.message.user_id != actor.message.user_id:
                require_held(actor.message, base.message.role, ())
            require_etag(base, request.etag, _resource(base.message))
            changed = self._with_status(base.edit(), REMOVED)
            writes = await self._with_owner(account, Write(ACCOUNT_MEMBER, changed, base))
            return await mutation.commit(
                pk,
                writes,
                activity=_activity("account_member.removed", changed),
                answer=lambda records: RemoveAccountMemberResponse(member=records[0].shown()),
                if_head=head,
            )

        answer = await settle(mutation, pk, RemoveAccountMemberResponse, attempt)
        member = await self._member(request.account_id, request.user_id)
        if member.message.status == REMOVED:  # a late replay may find him taken back
            kept = await self._tidy(member.message)
            answer.kept_owner_grants.extend(kept[:_MOST_KEPT])
            answer.kept_owner_grant_count = len(kept)
        return answer

    async def list_members(self, request: ListAccountMembersRequest) -> ListAccountMembersResponse:
        place = await self._place(request.account_id)
        if place.account is None or not is_active(place.member):
            raise permission_denied("view", f"accounts/{request.account_id}")

        async def query(limit: int, after: str | None) -> Page[Any]:
            return await self._records.query(
                ACCOUNT_MEMBER, Index.BASE, account_pk(request.account_id),
                prefix="MEMBER#", limit=limit, after=after,
            )

        async def keep(rows: Sequence[Record[Any]]) -> list[AccountMember]:
            return [row.shown() for row in rows if _fits(row.message, request)]

        found = await self._pager.page(request, query, keep)
        return ListAccountMembersResponse(
            members=found.items, next_page_token=found.next_page_token
        )

    async def _place(self, account_id: str) -> AccountPlace:
        return await self._directory.account_place(account_id, current_call().user_id)

    async def _authorise_add(self, request: AddAccountMemberRequest) -> Record[Account]:
        place = await self._place(request.account_id)
        account, actor = require_capability(place, _INVITE, f"accounts/{request.account_id}")
        require_held(actor.message, request.role, request.permissions)
        return account

    async def _authorise_update(
        self, sent: AccountMember
    ) -> tuple[Record[Account], Record[AccountMember]]:
        place = await self._place(sent.account_id)
        return require_capability(place, _MANAGE, f"accounts/{sent.account_id}")

    async def _authorise_remove(
        self, request: RemoveAccountMemberRequest
    ) -> tuple[Record[Account], Record[AccountMember]]:
        """Leaving needs a membership, in whatever state, and nothing more."""
        place = await self._place(request.account_id)
        is_self = request.user_id == current_call().user_id
        if is_self and place.account is not None and place.member is not None:
            return place.account, place.member
        return require_capability(place, _MANAGE, f"accounts/{request.account_id}")

    async def _admit(
        self,
        mutation: Mutation,
        head: Head,
        request: AddAccountMemberRequest,
        user: Record[User],
    ) -> AddAccountMemberResponse:
        user_id = user.message.user_id
        base = await self._directory.account_member(request.account_id, user_id)
        if base is not None and base.message.status != REMOVED:
            resource = _resource(base.message)
            raise WorkspaceError(
                Reason.ERROR_REASON_ALREADY_EXISTS,
                f"{resource} is a member already; change it with UpdateAccountMember",
                metadata={"resource": resource},
            )
        await require_room(
            self._records, user_id, ACCOUNT_MEMBER, by=current_call().user_id
        )
        if base is not None:  # finish what a removal may have left undone
            await self._tidy(base.message)
        member = self._new_member(request, user.message, base)
        return await mutation.commit(
            account_pk(request.account_id),
            [Write(ACCOUNT_MEMBER, member, base)],
            activity=_activity("account_member.added", member),
            answer=lambda records: AddAccountMemberResponse(member=records[0].shown()),
            if_head=head,
        )

    def _new_member(
        self, request: AddAccountMemberRequest, user: User, base: Record[AccountMember] | None
    ) -> AccountMember:
        member = base.edit() if base else AccountMember(account_id=request.account_id)
        member.user_id, member.email, member.name = user.user_id, user.email, user.name
        member.role = request.role
        member.permissions[:] = request.permissions
        member.invitation_id = ""
        self._with_status(member, MEMBER_ACTIVE)
        if base is None:
            member.created_at.CopyFrom(member.updated_at)
            member.created_by = member.updated_by
        return member

    def _changed(
        self,
        actor: AccountMember,
        base: Record[AccountMember],
        request: UpdateAccountMemberRequest,
    ) -> AccountMember:
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
        for role, permissions in ((old.role, old.permissions), (changed.role, changed.permissions)):
            require_held(actor, role, permissions)
        if changed.status != old.status:
            return self._with_status(changed, changed.status)
        changed.updated_at.CopyFrom(timestamp(self._kernel.now()))
        changed.updated_by = current_call().user_id
        return changed

    def _with_status(self, member: AccountMember, status: MemberStatus.ValueType) -> AccountMember:
        now, actor = timestamp(self._kernel.now()), current_call().user_id
        member.status = status
        member.status_changed_at.CopyFrom(now)
        member.updated_at.CopyFrom(now)
        member.status_changed_by = member.updated_by = actor
        return member

    async def _with_owner(
        self, account: Record[Account], write: Write[AccountMember]
    ) -> list[Write[Any]]:
        """The writes of a member's change, with the account's new owner in
        charge if that was the member. Raises LAST_OWNER."""
        base = write.base
        assert base is not None
        if not _is_owner(base.message) or _is_owner(write.message):
            return [write]
        account_id = account.message.account_id
        left = await owners_left(self._directory, account_id, without=base.message.user_id)
        if not left:
            raise last_owner(f"accounts/{account_id}")
        if account.message.owner_user_id != base.message.user_id:
            return [write]
        changed = account.edit()
        changed.owner_user_id = left[0].message.user_id
        changed.updated_at.CopyFrom(write.message.updated_at)
        changed.updated_by = write.message.updated_by
        return [write, Write(ACCOUNT, changed, account)]

    async def _member(self, account_id: str, user_id: str) -> Record[AccountMember]:
        found = await self._directory.account_member(account_id, user_id)
        if found is None:
            raise not_found(f"accounts/{account_id}/members/{user_id}")
        return found

    async def _tidy(self, removed: AccountMember) -> list[KeptOwnerGrant]:
        """What follows a removal; changes nothing when it is done already. Answers
        the owner grants that the removed member keeps."""
        await self._teams.end_memberships(removed.account_id, removed.user_id)
        return await self._grants.end_grants(removed)


def require_open_shared(account: Record[Account]) -> None:
    """Raises INVALID_STATE for a personal account and one that is not active."""
    if account.message.type == PERSONAL:
        raise invalid_state(
            f"accounts/{account.message.account_id}",
            "personal",
            "a personal workspace has exactly one member; create an account, or share a project",
        )
    require_open(account)


def _is_owner(member: AccountMember) -> bool:
    return member.role == OWNER and member.status == MEMBER_ACTIVE


def _fits(member: AccountMember, request: ListAccountMembersRequest) -> bool:
    if request.role and member.role != request.role:
        return False
    return member.status == request.status if request.status else member.status != REMOVED


def _resource(member: AccountMember) -> str:
    return f"accounts/{member.account_id}/members/{member.user_id}"


def _activity(kind: str, member: AccountMember) -> Activity:
    return Activity(kind, _resource(member), account_id=member.account_id)
