"""Who of an account gets its administrative notifications: a row per topic that
was ever written, the default where none is stored."""

from __future__ import annotations

from collections.abc import Sequence

from workspace.identity.v1.account_pb2 import AccountCapability, AccountRole, NotificationRouting
from workspace.identity.v1.account_service_pb2 import (
    GetNotificationRoutingRequest,
    GetNotificationRoutingResponse,
    UpdateNotificationRoutingRequest,
    UpdateNotificationRoutingResponse,
)

from identity_svc.accounts.rules import REMOVED, require_capability, require_open
from identity_svc.directory import ACCOUNT_MEMBER, AccountPlace, Directory, account_pk, timestamp
from identity_svc.settling import settle
from identity_svc.topics import ACCOUNT_TOPICS
from services.kernel import Kernel
from services.model.errors import invalid_field
from services.model.families import FAMILIES
from services.records.mutation import require_etag
from services.records.port import Key
from services.records.record import Activity, Record, Write
from services.rpc.context import current_call
from services.rpc.field_masks import apply_mask

__all__ = ["Routing", "default_routing", "routing_key"]

_FAMILY = FAMILIES["notification_routing"]
_MANAGE = AccountCapability.ACCOUNT_CAPABILITY_MANAGE_ACCOUNT
_SETTABLE = frozenset({"disabled", "user_ids", "roles"})
_SERVER_SET = frozenset(NotificationRouting.DESCRIPTOR.fields_by_name) - _SETTABLE
_DEFAULT_ROLES = (AccountRole.ACCOUNT_ROLE_OWNER, AccountRole.ACCOUNT_ROLE_ACCOUNT_ADMIN)


class Routing:
    """See the module."""

    def __init__(self, kernel: Kernel, directory: Directory) -> None:
        self._kernel = kernel
        self._records = kernel.records
        self._directory = directory

    async def get(self, request: GetNotificationRoutingRequest) -> GetNotificationRoutingResponse:
        account_id = request.account_id
        require_capability(await self._place(account_id), _MANAGE, f"accounts/{account_id}")
        keys = [routing_key(account_id, topic) for topic in ACCOUNT_TOPICS]
        rows = await self._records.batch_get(_FAMILY, keys)
        return GetNotificationRoutingResponse(
            notification_routing=[
                row.shown() if row else default_routing(account_id, topic)
                for topic, row in zip(ACCOUNT_TOPICS, rows, strict=True)
            ]
        )

    async def update(
        self, request: UpdateNotificationRoutingRequest
    ) -> UpdateNotificationRoutingResponse:
        sent = request.notification_routing
        account_id, pk = sent.account_id, account_pk(sent.account_id)
        resource = f"accounts/{account_id}"
        require_capability(await self._place(account_id), _MANAGE, resource)
        if sent.topic not in ACCOUNT_TOPICS:
            raise invalid_field(
                "notification_routing.topic", f"unknown; choose of {', '.join(ACCOUNT_TOPICS)}"
            )
        mutation = self._kernel.mutations.begin(request)

        async def attempt() -> UpdateNotificationRoutingResponse:
            head = await self._records.head(pk)
            place = await self._place(account_id)
            account, _ = require_capability(place, _MANAGE, resource)
            require_open(account)
            base = await self._records.get(_FAMILY, routing_key(account_id, sent.topic))
            changed = self._changed(base, request)
            await self._require_members(account_id, changed.user_ids)
            return await mutation.commit(
                pk,
                [Write(_FAMILY, changed, base)],
                activity=Activity(
                    "notification_routing.updated",
                    f"{resource}/notificationRouting/{sent.topic}",
                    account_id=account_id,
                ),
                answer=lambda records: UpdateNotificationRoutingResponse(
                    notification_routing=records[0].shown()
                ),
                if_head=head,
            )

        return await settle(mutation, pk, UpdateNotificationRoutingResponse, attempt)

    async def _place(self, account_id: str) -> AccountPlace:
        return await self._directory.account_place(account_id, current_call().user_id)

    def _changed(
        self,
        base: Record[NotificationRouting] | None,
        request: UpdateNotificationRoutingRequest,
    ) -> NotificationRouting:
        sent = request.notification_routing
        now, actor = timestamp(self._kernel.now()), current_call().user_id
        if base is None:
            changed = default_routing(sent.account_id, sent.topic)
            changed.created_at.CopyFrom(now)
            changed.created_by = actor
        else:
            resource = f"accounts/{sent.account_id}/notificationRouting/{sent.topic}"
            require_etag(base, sent.etag, resource)
            changed = base.edit()
        apply_mask(changed, sent, request.update_mask, server_set=_SERVER_SET)
        changed.updated_at.CopyFrom(now)
        changed.updated_by = actor
        return changed

    async def _require_members(self, account_id: str, users: Sequence[str]) -> None:
        """Suspended and invited members too: they get nothing while they are."""
        keys = [Key(account_pk(account_id), f"MEMBER#{user}") for user in users]
        rows = await self._records.batch_get(ACCOUNT_MEMBER, keys) if keys else []
        for user, row in zip(users, rows, strict=True):
            if row is None or row.message.status == REMOVED:
                raise invalid_field(
                    "notification_routing.user_ids", f"{user} is not a member of the account"
                )


def routing_key(account_id: str, topic: str) -> Key:
    return Key(account_pk(account_id), f"ROUTING#{topic}")


def default_routing(account_id: str, topic: str) -> NotificationRouting:
    return NotificationRouting(account_id=account_id, topic=topic, roles=_DEFAULT_ROLES)
