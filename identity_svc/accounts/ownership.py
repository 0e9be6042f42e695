"""TransferAccountOwnership: a new owner in charge, in one commit."""

from __future__ import annotations

from typing import Any

from workspace.identity.v1.account_pb2 import Account, AccountMember
from workspace.identity.v1.account_service_pb2 import (
    TransferAccountOwnershipRequest,
    TransferAccountOwnershipResponse,
)

from identity_svc.accounts.members import require_open_shared
from identity_svc.accounts.rules import MEMBER_ACTIVE, OWNER, is_active
from identity_svc.directory import (
    ACCOUNT,
    ACCOUNT_MEMBER,
    Directory,
    account_pk,
    invalid_state,
    timestamp,
)
from identity_svc.settling import settle
from services.kernel import Kernel
from services.model.errors import permission_denied
from services.records.mutation import require_etag
from services.records.record import Activity, Record, Write
from services.rpc.context import current_call

__all__ = ["Ownership"]


class Ownership:
    """See the module."""

    def __init__(self, kernel: Kernel, directory: Directory) -> None:
        self._kernel = kernel
        self._records = kernel.records
        self._directory = directory

    async def transfer(
        self, request: TransferAccountOwnershipRequest
    ) -> TransferAccountOwnershipResponse:
        account_id, pk = request.account_id, account_pk(request.account_id)
        await self._authorise(account_id)
        mutation = self._kernel.mutations.begin(request)

        async def attempt() -> TransferAccountOwnershipResponse:
            head = await self._records.head(pk)
            account = await self._authorise(account_id)
            require_open_shared(account)
            require_etag(account, request.etag, f"accounts/{account_id}")
            writes = [self._handed_over(account, request), *await self._members(account, request)]
            return await mutation.commit(
                pk,
                writes,
                activity=Activity(
                    "account.ownership_transferred", f"accounts/{account_id}", account_id=account_id
                ),
                answer=lambda records: TransferAccountOwnershipResponse(
                    account=records[0].shown()
                ),
                if_head=head,
            )

        return await settle(mutation, pk, TransferAccountOwnershipResponse, attempt)

    async def _authorise(self, account_id: str) -> Record[Account]:
        place = await self._directory.account_place(account_id, current_call().user_id)
        member = place.member
        if (
            place.account is None
            or member is None
            or not is_active(member)
            or member.message.role != OWNER
        ):
            raise permission_denied("owner", f"accounts/{account_id}")
        return place.account

    def _handed_over(
        self, account: Record[Account], request: TransferAccountOwnershipRequest
    ) -> Write[Account]:
        changed = account.edit()
        changed.owner_user_id = request.new_owner_user_id
        self._stamp(changed)
        return Write(ACCOUNT, changed, account)

    async def _members(
        self, account: Record[Account], request: TransferAccountOwnershipRequest
    ) -> list[Write[Any]]:
        """The new owner's role, and the former one's. The new owner is active,
        so the account always has one."""
        new_id, former_id = request.new_owner_user_id, account.message.owner_user_id
        new = await self._directory.account_member(request.account_id, new_id)
        if new is None or not is_active(new) or not await self._directory.active_user(new_id):
            raise invalid_state(
                f"accounts/{request.account_id}/members/{new_id}",
                "not an active member",
                "choose an active member of the account",
            )
        writes = [self._with_role(new, OWNER)] if new.message.role != OWNER else []
        former = await self._directory.account_member(request.account_id, former_id)
        role = request.former_owner_role or OWNER
        if former is None or former_id == new_id or former.message.status != MEMBER_ACTIVE:
            return writes
        if former.message.role != role:
            writes.append(self._with_role(former, role))
        return writes

    def _with_role(self, base: Record[AccountMember], role: Any) -> Write[AccountMember]:
        changed = base.edit()
        changed.role = role
        self._stamp(changed)
        return Write(ACCOUNT_MEMBER, changed, base)

    def _stamp(self, message: Account | AccountMember) -> None:
        message.updated_at.CopyFrom(timestamp(self._kernel.now()))
        message.updated_by = current_call().user_id
