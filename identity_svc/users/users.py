"""Users: reading, the own name, disabling, sessions."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from workspace.identity.v1.account_pb2 import AccountMember, MemberStatus
from workspace.identity.v1.identity_service_pb2 import (
    DisableUserRequest,
    DisableUserResponse,
    EnableUserRequest,
    EnableUserResponse,
    GetUserRequest,
    GetUserResponse,
    ListUsersRequest,
    ListUsersResponse,
    ResolveUserRequest,
    ResolveUserResponse,
    UpdateUserRequest,
    UpdateUserResponse,
)
from workspace.identity.v1.user_pb2 import User, UserStatus

from identity_svc.accounts.rules import is_active
from identity_svc.directory import (
    ACCOUNT_MEMBER,
    TEAM_MEMBER,
    USER,
    Directory,
    account_pk,
    cut_off,
    in_scope,
    invalid_state,
    not_found,
    timestamp,
    user_pk,
)
from identity_svc.listing import Pager, every
from identity_svc.settling import settle
from identity_svc.users.copies import MAX_MEMBERSHIPS, MemberCopies
from identity_svc.users.orphans import Orphans
from identity_svc.users.token_revocation import TokenRevocation
from services.kernel import Kernel
from services.model.errors import permission_denied
from services.model.families import Family
from services.model.indexes import Index
from services.model.names import validate_name
from services.records.mutation import require_etag
from services.records.port import Key
from services.records.record import Activity, Page, Record, Write
from services.rpc.context import current_call
from services.rpc.field_masks import apply_mask

__all__ = ["Users", "require_self_or_admin"]

_ACTIVE = UserStatus.USER_STATUS_ACTIVE
_DISABLED = UserStatus.USER_STATUS_DISABLED
_ERASED = UserStatus.USER_STATUS_ERASED
_REMOVED = MemberStatus.MEMBER_STATUS_REMOVED
_SERVER_SET = frozenset(field.name for field in User.DESCRIPTOR.fields if field.name != "name")


async def require_self_or_admin(directory: Directory, user: str, permission: str) -> None:
    """Raises PERMISSION_DENIED unless the user is the caller or the caller is
    a platform admin."""
    caller = current_call().user_id
    if user != caller and not await directory.is_platform_admin(caller):
        raise permission_denied(permission, f"users/{user}")


class Users:
    """See the module."""

    def __init__(
        self, kernel: Kernel, directory: Directory, copies: MemberCopies, orphans: Orphans
    ) -> None:
        self._kernel = kernel
        self._records = kernel.records
        self._directory = directory
        self._copies = copies
        self._orphans = orphans
        self._tokens = TokenRevocation(kernel)
        self._pager = Pager(kernel)

    async def get(self, request: GetUserRequest) -> GetUserResponse:
        caller, user = current_call().user_id, request.user_id
        found = await self._directory.user(user)
        # An absent user takes the same reads as one whom the caller does not know.
        whole = user == caller or await self._directory.is_platform_admin(caller)
        if (not whole and not await self._know_each_other(caller, user)) or found is None:
            raise permission_denied("view", f"users/{user}")
        return GetUserResponse(user=found.shown() if whole else public_view(found.message))

    async def resolve(self, request: ResolveUserRequest) -> ResolveUserResponse:
        """The active user with a verified address; empty if nobody has it."""
        found = await self._directory.active_user_with(request.email)
        return ResolveUserResponse(user_id=found.message.user_id if found else "")

    async def update(self, request: UpdateUserRequest) -> UpdateUserResponse:
        user = request.user.user_id
        if user != current_call().user_id:
            raise permission_denied("update", f"users/{user}")
        mutation, pk = self._kernel.mutations.begin(request), user_pk(user)

        async def attempt() -> UpdateUserResponse:
            head = await self._records.head(pk)
            base = await self._existing(user)
            _require_not_erased(base.message)
            require_etag(base, request.user.etag, f"users/{user}")
            changed = base.edit()
            apply_mask(changed, request.user, request.update_mask, server_set=_SERVER_SET)
            changed.name = validate_name(
                "user.name", changed.name, before=base.message.name
            )
            self._stamp(changed)
            return await mutation.commit(
                pk,
                [Write(USER, changed, base)],
                activity=Activity("user.updated", f"users/{user}"),
                answer=lambda records: UpdateUserResponse(user=records[0].shown()),
                if_head=head,
            )

        answer = await settle(mutation, pk, UpdateUserResponse, attempt)
        await self._copies.follow(user)  # again on a replay: it may have been interrupted
        return answer

    async def list_of_account(self, request: ListUsersRequest) -> ListUsersResponse:
        caller = current_call().user_id
        place = await self._directory.account_place(request.account_id, caller)
        if place.account is None or not is_active(place.member):
            raise permission_denied("view", f"accounts/{request.account_id}")

        async def query(limit: int, after: str | None) -> Page[Any]:
            return await self._records.query(
                ACCOUNT_MEMBER, Index.BASE, account_pk(request.account_id),
                prefix="MEMBER#", limit=limit, after=after,
            )

        async def keep(rows: Sequence[Record[AccountMember]]) -> list[User]:
            members = [row.message.user_id for row in rows if row.message.status != _REMOVED]
            users = await self._directory.users(members)
            return [public_view(u.message) for u in users if u and _fits(u.message, request)]

        found = await self._pager.page(request, query, keep)
        return ListUsersResponse(users=found.items, next_page_token=found.next_page_token)

    async def disable(self, request: DisableUserRequest) -> DisableUserResponse:
        """Always succeeds, also when something is left without an owner. Machine
        tokens end with it: enabling the user brings none of them back."""
        await self._require_platform_admin(request.user_id)
        mutation, pk = self._kernel.mutations.begin(request), user_pk(request.user_id)
        activity = Activity("user.disabled", f"users/{request.user_id}")

        async def attempt() -> DisableUserResponse:
            head = await self._records.head(pk)
            base = await self._existing(request.user_id)
            require_etag(base, request.etag, f"users/{request.user_id}")
            _require_not_erased(base.message)
            changed = base.edit()
            now = timestamp(self._kernel.now())
            changed.status = _DISABLED
            changed.disabled_reason = request.reason
            changed.disabled_at.CopyFrom(now)
            changed.tokens_not_before.CopyFrom(cut_off(base.message, self._kernel.now()))
            self._stamp(changed)
            head, tokens, _ = await self._tokens.begin(request.user_id, head, activity)
            return await mutation.commit(
                pk,
                [Write(USER, changed, base), *tokens],
                activity=activity,
                answer=lambda records: DisableUserResponse(user=records[0].shown()),
                if_head=head,
            )

        answer = await settle(mutation, pk, DisableUserResponse, attempt)
        # After the commit, on a replay again: see Orphans.
        left = await self._orphans.left_by(request.user_id)
        answer.orphans.extend(left.listed)
        answer.orphan_count = len(left.scopes)
        answer.orphans_incomplete = left.incomplete
        return answer

    async def enable(self, request: EnableUserRequest) -> EnableUserResponse:
        """`tokens_not_before` stays: old tokens stay refused."""
        await self._require_platform_admin(request.user_id)
        mutation, pk = self._kernel.mutations.begin(request), user_pk(request.user_id)

        async def attempt() -> EnableUserResponse:
            head = await self._records.head(pk)
            base = await self._existing(request.user_id)
            require_etag(base, request.etag, f"users/{request.user_id}")
            _require_not_erased(base.message)
            if base.message.linked_to_user_id:
                raise invalid_state(
                    f"users/{request.user_id}", "linked", "the person unlinks the identity"
                )
            changed = base.edit()
            changed.status = _ACTIVE
            changed.disabled_reason = ""
            changed.ClearField("disabled_at")
            self._stamp(changed)
            return await mutation.commit(
                pk,
                [Write(USER, changed, base)],
                activity=Activity("user.enabled", f"users/{request.user_id}"),
                answer=lambda records: EnableUserResponse(user=records[0].shown()),
                if_head=head,
            )

        return await settle(mutation, pk, EnableUserResponse, attempt)

    async def _require_platform_admin(self, user: str) -> None:
        if not await self._directory.is_platform_admin(current_call().user_id):
            raise permission_denied("platform_admin", f"users/{user}")

    async def _existing(self, user: str) -> Record[User]:
        found = await self._directory.user(user)
        if found is None:
            raise not_found(f"users/{user}")
        return found

    async def _know_each_other(self, caller: str, user: str) -> bool:
        """Whether both are active in one account or team. The index finds the
        caller's memberships, point reads decide."""
        for family, prefix in ((ACCOUNT_MEMBER, "MEMBER#ACCOUNT#"), (TEAM_MEMBER, "MEMBER#TEAM#")):
            own = [
                row.key.pk
                for row in await self._own(family, prefix, caller)
                # A team's account is not known here: beyond every list of accounts.
                if is_active(row) and in_scope(caller, getattr(row.message, "account_id", ""))
            ]
            for start in range(0, len(own), 500):
                keys = [Key(pk, f"MEMBER#{user}") for pk in own[start : start + 500]]
                if any(map(is_active, await self._records.batch_get(family, keys))):
                    return True
        return False

    async def _own(self, family: Family, prefix: str, caller: str) -> list[Record[Any]]:
        async def query(limit: int, after: str | None) -> Page[Any]:
            return await self._records.query(
                family, Index.USER, user_pk(caller), prefix=prefix, limit=limit, after=after
            )

        return await every(query, at_most=10 * MAX_MEMBERSHIPS)

    def _stamp(self, user: User) -> None:
        user.updated_at.CopyFrom(timestamp(self._kernel.now()))
        user.updated_by = current_call().user_id


def public_view(user: User) -> User:
    """What others see: id, name, e-mail and status."""
    return User(user_id=user.user_id, name=user.name, email=user.email, status=user.status)


def _require_not_erased(user: User) -> None:
    if user.status == _ERASED:
        raise invalid_state(f"users/{user.user_id}", "erased", "erasure is final")


def _fits(user: User, request: ListUsersRequest) -> bool:
    if request.status and user.status != request.status:
        return False
    return user.name.startswith(request.name_prefix)
