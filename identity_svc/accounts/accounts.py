"""Accounts: creation, reading, lists, fields, life cycle."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from workspace.common.v1.classification_pb2 import Classification
from workspace.common.v1.visibility_pb2 import Visibility
from workspace.identity.v1.account_pb2 import (
    Account,
    AccountCapability,
    AccountMember,
    AccountRole,
    AccountStatus,
    MemberStatus,
)
from workspace.identity.v1.account_service_pb2 import (
    CreateAccountRequest,
    CreateAccountResponse,
    GetAccountRequest,
    GetAccountResponse,
    ListAccountsRequest,
    ListAccountsResponse,
    ListAllAccountsRequest,
    ListAllAccountsResponse,
    SetAccountStatusRequest,
    SetAccountStatusResponse,
    UpdateAccountRequest,
    UpdateAccountResponse,
)
from workspace.identity.v1.user_pb2 import User

from identity_svc.accounts.rules import (
    ACTIVE,
    OWNER,
    PERSONAL,
    account_name,
    is_active,
    require_capability,
    require_open,
    require_room,
)
from identity_svc.directory import (
    ACCOUNT,
    ACCOUNT_MEMBER,
    Directory,
    account_pk,
    invalid_state,
    not_found,
    timestamp,
    user_pk,
)
from identity_svc.listing import Pager
from identity_svc.settling import settle
from services.kernel import Kernel
from services.model.errors import invalid_field, permission_denied
from services.model.indexes import Index
from services.model.names import validate_name
from services.records.mutation import require_etag
from services.records.record import Activity, Page, Record, Write
from services.rpc.context import current_call
from services.rpc.field_masks import apply_mask

__all__ = ["Accounts", "new_account"]

_MANAGE = AccountCapability.ACCOUNT_CAPABILITY_MANAGE_ACCOUNT
_SUSPENDED = AccountStatus.ACCOUNT_STATUS_SUSPENDED
_QUOTAS = frozenset({"quota_bytes", "quota_documents"})
_SERVER_SET = frozenset(
    {
        "account_id",
        "status",
        "owner_user_id",
        "status_reason",
        "status_changed_at",
        "suspended_by_platform",
        "purge_at",
        "purged_at",
        "exported_at",
        "created_at",
        "created_by",
        "updated_at",
        "updated_by",
    }
)


def new_account(account: Account, owner: User, *, actor: str, now: float) -> AccountMember:
    """Complete an account's server-set fields; answers its owner member."""
    at = timestamp(now)
    account.status = ACTIVE
    account.owner_user_id = owner.user_id
    account.data_classification = (
        account.data_classification or Classification.CLASSIFICATION_INTERNAL
    )
    account.default_project_visibility = (
        account.default_project_visibility or Visibility.VISIBILITY_PRIVATE
    )
    member = AccountMember(
        account_id=account.account_id,
        user_id=owner.user_id,
        email=owner.email,
        name=owner.name,
        role=AccountRole.ACCOUNT_ROLE_OWNER,
        status=MemberStatus.MEMBER_STATUS_ACTIVE,
        status_changed_by=actor,
    )
    for message in (account, member):
        message.created_by = message.updated_by = actor
        for stamp in (message.created_at, message.updated_at, message.status_changed_at):
            stamp.CopyFrom(at)
    return member



class Accounts:
    """See the module."""

    def __init__(self, kernel: Kernel, directory: Directory) -> None:
        self._kernel = kernel
        self._records = kernel.records
        self._directory = directory
        self._pager = Pager(kernel)

    async def create(self, request: CreateAccountRequest) -> CreateAccountResponse:
        actor = current_call().user_id
        owner_id = request.owner_user_id or actor
        if owner_id != actor and not await self._directory.is_platform_admin(actor):
            raise permission_denied("create_account", f"users/{owner_id}")
        if request.type == PERSONAL:
            raise invalid_field("type", "personal accounts are made at first sign-in only")
        name = account_name(request.name)
        mutation = self._kernel.mutations.begin(request)
        account_id = mutation.new_id("a")
        pk = account_pk(account_id)

        async def attempt() -> CreateAccountResponse:
            owner = await self._directory.active_user(owner_id)
            if owner is None:
                raise not_found(f"users/{owner_id}")
            await require_room(self._records, owner_id, ACCOUNT_MEMBER, by=owner_id)
            account = Account(
                account_id=account_id,
                name=name,
                type=request.type,
                data_classification=request.data_classification,
                default_project_visibility=request.default_project_visibility,
                billing_plan=request.billing_plan,
                description=request.description,
            )
            member = new_account(account, owner.message, actor=actor, now=self._kernel.now())
            return await mutation.commit(
                pk,
                [Write(ACCOUNT, account), Write(ACCOUNT_MEMBER, member)],
                activity=_activity("account.created", account_id),
                answer=lambda records: CreateAccountResponse(
                    account=records[0].shown(), owner=records[1].shown()
                ),
            )

        return await settle(mutation, pk, CreateAccountResponse, attempt)

    async def get(self, request: GetAccountRequest) -> GetAccountResponse:
        account = await self._visible(request.account_id)
        return GetAccountResponse(account=account.shown())

    async def list_own(self, request: ListAccountsRequest) -> ListAccountsResponse:
        """Accounts in which the caller has a membership in force, by account id."""
        caller = current_call().user_id

        async def query(limit: int, after: str | None) -> Page[Any]:
            return await self._records.query(
                ACCOUNT_MEMBER, Index.USER, user_pk(caller),
                prefix="MEMBER#ACCOUNT#", limit=limit, after=after,
            )

        async def keep(rows: Sequence[Record[Any]]) -> list[Account]:
            ids = [row.message.account_id for row in rows]
            places = [await self._directory.account_place(each, caller) for each in ids]
            return [
                place.account.shown()
                for place in places
                if place.account and is_active(place.member) and _fits(place.account, request)
            ]

        found = await self._pager.page(request, query, keep)
        return ListAccountsResponse(accounts=found.items, next_page_token=found.next_page_token)

    async def list_all(self, request: ListAllAccountsRequest) -> ListAllAccountsResponse:
        if not await self._directory.is_platform_admin(current_call().user_id):
            raise permission_denied("platform_admin", "accounts")

        async def query(limit: int, after: str | None) -> Page[Any]:
            return await self._records.query(
                ACCOUNT, Index.ACCOUNT, "PLATFORM#accounts",
                prefix="ACCOUNT#", limit=limit, after=after,
            )

        async def keep(rows: Sequence[Record[Any]]) -> list[Account]:
            return [row.shown() for row in rows if _fits(row, request)]

        found = await self._pager.page(request, query, keep)
        return ListAllAccountsResponse(
            accounts=found.items, next_page_token=found.next_page_token
        )

    async def update(self, request: UpdateAccountRequest) -> UpdateAccountResponse:
        account_id = request.account.account_id
        quotas = _QUOTAS.intersection(request.update_mask.paths)
        await self._authorise_update(account_id, request, quotas)
        mutation = self._kernel.mutations.begin(request)
        pk = account_pk(account_id)

        async def attempt() -> UpdateAccountResponse:
            head = await self._records.head(pk)
            await self._authorise_update(account_id, request, quotas)
            base = await self._visible(account_id)
            require_open(base)
            require_etag(base, request.account.etag, f"accounts/{account_id}")
            changed = self._changed(base, request)
            if changed.successor_user_id != base.message.successor_user_id:
                await self._require_successor(changed)
            return await mutation.commit(
                pk,
                [Write(ACCOUNT, changed, base)],
                activity=_activity("account.updated", account_id),
                answer=lambda records: UpdateAccountResponse(account=records[0].shown()),
                if_head=head,
            )

        return await settle(mutation, pk, UpdateAccountResponse, attempt)

    async def set_status(self, request: SetAccountStatusRequest) -> SetAccountStatusResponse:
        account_id = request.account_id
        await self._authorise_status(account_id)
        mutation = self._kernel.mutations.begin(request)
        pk = account_pk(account_id)

        async def attempt() -> SetAccountStatusResponse:
            head = await self._records.head(pk)
            is_platform = await self._authorise_status(account_id)
            base = await self._directory.account(account_id)
            if base is None:
                # Told to a platform admin alone, who may read every account.
                raise not_found(f"accounts/{account_id}")
            require_etag(base, request.etag, f"accounts/{account_id}")
            if base.message.suspended_by_platform and not is_platform:
                raise permission_denied("platform_admin", f"accounts/{account_id}")
            if base.message.HasField("purged_at"):
                raise invalid_state(f"accounts/{account_id}", "purged", "nothing is left of it")
            return await mutation.commit(
                pk,
                [Write(ACCOUNT, self._with_status(base, request, is_platform), base)],
                activity=_activity("account.status_changed", account_id),
                answer=lambda records: SetAccountStatusResponse(account=records[0].shown()),
                if_head=head,
            )

        return await settle(mutation, pk, SetAccountStatusResponse, attempt)

    async def _visible(self, account_id: str) -> Record[Account]:
        """For active members and platform admins."""
        caller = current_call().user_id
        place = await self._directory.account_place(account_id, caller)
        if place.account is not None and (
            is_active(place.member) or await self._directory.is_platform_admin(caller)
        ):
            return place.account
        raise permission_denied("view", f"accounts/{account_id}")

    async def _authorise_update(
        self, account_id: str, request: UpdateAccountRequest, quotas: frozenset[str]
    ) -> None:
        caller = current_call().user_id
        if quotas and not await self._directory.is_platform_admin(caller):
            raise permission_denied("platform_admin", f"accounts/{account_id}")
        if not quotas.issuperset(request.update_mask.paths):
            place = await self._directory.account_place(account_id, caller)
            _, member = require_capability(place, _MANAGE, f"accounts/{account_id}")
            is_owner = member.message.role == OWNER
            if "successor_user_id" in request.update_mask.paths and not is_owner:
                raise permission_denied("owner", f"accounts/{account_id}")

    async def _require_successor(self, account: Account) -> None:
        """Nobody, or an active user who is no owner of the account himself."""
        successor, caller = account.successor_user_id, current_call().user_id
        own = await self._directory.account_member(account.account_id, caller)
        if own is None or own.message.role != OWNER:
            raise permission_denied("owner", f"accounts/{account.account_id}")
        if not successor:
            return
        member = await self._directory.account_member(account.account_id, successor)
        is_owner = member is not None and is_active(member) and member.message.role == OWNER
        if is_owner or await self._directory.active_user(successor) is None:
            raise invalid_field(
                "account.successor_user_id", "must be an active user who is not an owner"
            )

    async def _authorise_status(self, account_id: str) -> bool:
        """Whether the caller acts as platform admin."""
        caller = current_call().user_id
        if await self._directory.is_platform_admin(caller):
            return True
        place = await self._directory.account_place(account_id, caller)
        require_capability(place, _MANAGE, f"accounts/{account_id}")
        return False

    def _changed(self, base: Record[Account], request: UpdateAccountRequest) -> Account:
        changed = base.edit()
        # A mask that names them comes from a platform admin; `*` leaves them.
        apply_mask(
            changed,
            request.account,
            request.update_mask,
            server_set=_SERVER_SET | _QUOTAS.difference(request.update_mask.paths),
        )
        was_personal = base.message.type == PERSONAL
        if was_personal != (changed.type == PERSONAL):
            raise invalid_state(
                f"accounts/{changed.account_id}",
                "personal" if was_personal else "shared",
                "an account never becomes or ceases to be personal; leave the type",
            )
        if not changed.type:
            raise invalid_field("account.type", "must not be made empty; for example client_org")
        changed.name = validate_name(
            "account.name", changed.name, before=base.message.name
        )
        changed.data_classification = (
            changed.data_classification or Classification.CLASSIFICATION_INTERNAL
        )
        changed.default_project_visibility = (
            changed.default_project_visibility or Visibility.VISIBILITY_PRIVATE
        )
        changed.updated_at.CopyFrom(timestamp(self._kernel.now()))
        changed.updated_by = current_call().user_id
        return changed

    def _with_status(
        self, base: Record[Account], request: SetAccountStatusRequest, is_platform: bool
    ) -> Account:
        changed = base.edit()
        now = timestamp(self._kernel.now())
        changed.status = request.status
        changed.status_reason = request.reason
        changed.status_changed_at.CopyFrom(now)
        changed.suspended_by_platform = is_platform and request.status == _SUSPENDED
        if request.status == ACTIVE:
            changed.ClearField("purge_at")
        changed.updated_at.CopyFrom(now)
        changed.updated_by = current_call().user_id
        return changed


def _fits(row: Record[Account], request: ListAccountsRequest | ListAllAccountsRequest) -> bool:
    account = row.message
    return (not request.status or account.status == request.status) and (
        not request.type or account.type == request.type
    )


def _activity(kind: str, account_id: str) -> Activity:
    return Activity(kind, f"accounts/{account_id}", account_id=account_id)
