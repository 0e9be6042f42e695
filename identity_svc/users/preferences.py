"""Notification preferences of a user: a row per topic that was ever written."""

from __future__ import annotations

from typing import Any

from workspace.identity.v1.preference_pb2 import NotificationDelivery, NotificationPreference
from workspace.identity.v1.preference_service_pb2 import (
    GetNotificationPreferencesRequest,
    GetNotificationPreferencesResponse,
    UpdateNotificationPreferencesRequest,
    UpdateNotificationPreferencesResponse,
)

from identity_svc.directory import timestamp, user_pk
from identity_svc.settling import settle
from identity_svc.topics import USER_TOPICS
from services.kernel import Kernel
from services.model.errors import invalid_field, permission_denied
from services.model.families import FAMILIES
from services.records.mutation import require_etag
from services.records.port import Key
from services.records.record import Activity, Record, Write
from services.rpc.context import current_call
from services.rpc.field_masks import apply_mask

__all__ = ["Preferences"]

_FAMILY = FAMILIES["notification_preference"]
_SERVER_SET = frozenset(
    {"user_id", "topic", "created_at", "created_by", "updated_at", "updated_by"}
)
_DEFAULT = NotificationDelivery.NOTIFICATION_DELIVERY_EMAIL
_Rows = dict[str, Record[NotificationPreference] | None]


class Preferences:
    """Own preferences only."""

    def __init__(self, kernel: Kernel) -> None:
        self._kernel = kernel
        self._records = kernel.records

    async def get(
        self, request: GetNotificationPreferencesRequest
    ) -> GetNotificationPreferencesResponse:
        _require_self(request.user_id)
        return GetNotificationPreferencesResponse(preferences=await self.all_of(request.user_id))

    async def all_of(self, user: str) -> list[NotificationPreference]:
        """One per known topic; the default where no row is stored."""
        rows = await self._rows(user)
        return [_shown(user, topic, rows[topic]) for topic in USER_TOPICS]

    async def update(
        self, request: UpdateNotificationPreferencesRequest
    ) -> UpdateNotificationPreferencesResponse:
        _require_self(request.user_id)
        for preference in request.preferences:
            if preference.topic not in USER_TOPICS:
                raise invalid_field(
                    "preferences.topic", f"unknown; choose of {', '.join(USER_TOPICS)}"
                )
        mutation = self._kernel.mutations.begin(request)
        pk = user_pk(request.user_id)

        async def attempt() -> UpdateNotificationPreferencesResponse:
            head = await self._records.head(pk)
            rows = await self._rows(request.user_id)
            writes = [self._write(request, sent, rows[sent.topic]) for sent in request.preferences]
            return await mutation.commit(
                pk,
                writes,
                activity=Activity("preferences.updated", f"users/{request.user_id}"),
                answer=lambda records: _answer(request.user_id, rows, records),
                if_head=head,
            )

        return await settle(mutation, pk, UpdateNotificationPreferencesResponse, attempt)

    async def _rows(self, user: str) -> _Rows:
        keys = [Key(user_pk(user), f"PREFERENCE#{topic}") for topic in USER_TOPICS]
        rows = await self._records.batch_get(_FAMILY, keys)
        return dict(zip(USER_TOPICS, rows, strict=True))

    def _write(
        self,
        request: UpdateNotificationPreferencesRequest,
        sent: NotificationPreference,
        base: Record[NotificationPreference] | None,
    ) -> Write[NotificationPreference]:
        resource = f"users/{request.user_id}/notificationPreferences/{sent.topic}"
        now, actor = timestamp(self._kernel.now()), current_call().user_id
        if base is None:
            changed = _shown(request.user_id, sent.topic, None)
            changed.created_at.CopyFrom(now)
            changed.created_by = actor
        else:
            require_etag(base, sent.etag, resource)
            changed = base.edit()
        apply_mask(changed, sent, request.update_mask, server_set=_SERVER_SET)
        changed.delivery = changed.delivery or _DEFAULT
        changed.updated_at.CopyFrom(now)
        changed.updated_by = actor
        return Write(_FAMILY, changed, base)


def _require_self(user: str) -> None:
    if user != current_call().user_id:
        raise permission_denied("notification_preferences", f"users/{user}")


def _shown(
    user: str, topic: str, row: Record[NotificationPreference] | None
) -> NotificationPreference:
    if row is not None:
        return row.shown()
    return NotificationPreference(user_id=user, topic=topic, delivery=_DEFAULT)


def _answer(
    user: str, rows: _Rows, written: Any
) -> UpdateNotificationPreferencesResponse:
    now = rows | {record.message.topic: record for record in written}
    return UpdateNotificationPreferencesResponse(
        preferences=[_shown(user, topic, now[topic]) for topic in USER_TOPICS]
    )
