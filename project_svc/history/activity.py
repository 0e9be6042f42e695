"""Lists of activity: what happened to a document, project or account.

An event is shown to who may view its project. Changes of grants in it are left
out for who has no `manage_access` there; an event of nothing else is not shown.
Of projects that an administrator of the account may not view, the list says
what happened and who did it, not what was written.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta

from workspace.common.v1.activity_pb2 import ActivityEvent
from workspace.identity.v1.account_pb2 import AccountCapability
from workspace.project.v1.history_service_pb2 import ListActivityRequest, ListActivityResponse

from project_svc.access.facts import project_pk
from project_svc.documents.changes import DocumentChanges
from project_svc.documents.rows import document_pk
from project_svc.projects.homes import home_of
from project_svc.scans import Weight, scan
from services.model.families import FAMILIES
from services.model.indexes import Index
from services.model.permissions import ALL, MANAGE_ACCESS, VIEW
from services.model.seals import take_off
from services.model.times import from_timestamp
from services.records.record import Record
from services.rpc.context import current_call
from services.rpc.page_tokens import page_size

__all__ = ["ActivityLists", "shown_event"]

_EVENT = FAMILIES["activity_event"]
_ACCESS_FAMILIES = frozenset({"project_grant", "access_request", "invitation", "webhook"})
_MANAGE = AccountCapability.ACCOUNT_CAPABILITY_MANAGE_ACCOUNT
# Events are in the order of hybrid clocks, which differ by this much at most
# between processes; beyond it the rest is older for certain.
_CLOCK_SKEW = timedelta(minutes=5)


class ActivityLists:
    """The use case of ListActivity."""

    def __init__(self, *, changes: DocumentChanges) -> None:
        self._changes = changes
        self._tokens = changes.kernel.page_tokens

    async def list(self, request: ListActivityRequest) -> ListActivityResponse:
        """Events, newest first. Raises PERMISSION_DENIED without `view`, for an
        account without `manage_account`."""
        call = current_call()
        index, partition, held = await self._readable(request)
        found = await scan(
            self._changes.records,
            _EVENT,
            index,
            partition,
            prefix="EVENT#",
            limit=page_size(request),
            position=self._tokens.open(call.method, call.user_id, request, request.page_token),
            weight=_weight(request, held),
            enough=_older(request),
            descending=True,
        )
        answer = ListActivityResponse()
        for record in found.records:
            permissions = held
            if request.account_id:
                permissions = await self._held(record.message.project_id)
            event = shown_event(record.message, permissions)
            if event is not None:
                answer.events.append(event)
        if found.next:
            answer.next_page_token = self._tokens.issue(
                call.method, call.user_id, request, found.next
            )
        return answer

    async def _readable(self, request: ListActivityRequest) -> tuple[Index, str, frozenset[int]]:
        """Where to read, and what the caller holds on the project."""
        if request.document_id:
            seen = await self._changes.require(request.document_id, VIEW)
            return Index.BASE, document_pk(request.document_id), seen.access.permissions
        if request.project_id:
            found = await self._changes.access.require(request.project_id, VIEW)
            return Index.PROJECT, project_pk(request.project_id), found.permissions
        account_id = request.account_id
        user = await self._changes.access.facts.user(
            current_call().user_id, accounts=[account_id]
        )
        home_of(account_id, user.raw[account_id], personal=False).require(_MANAGE)
        return Index.ACCOUNT, f"ACCOUNT#{account_id}", ALL

    async def _held(self, project_id: str) -> frozenset[int]:
        if not project_id:
            return ALL
        found = await self._changes.access.of(current_call().user_id, project_id)
        return found.permissions if found else frozenset()


def _weight(request: ListActivityRequest, held: frozenset[int]) -> Weight:
    since, until = _bounds(request)

    def weigh(record: Record[ActivityEvent]) -> int:
        event = record.message
        at = from_timestamp(event.occurred_at)
        return int(
            event.type.startswith(request.type_prefix)
            and (since is None or at >= since)
            and (until is None or at < until)
            and (MANAGE_ACCESS in held or not _only_access(event))
        )

    return weigh


def _older(request: ListActivityRequest) -> Callable[[Record[ActivityEvent]], bool]:
    since, _ = _bounds(request)

    def older(record: Record[ActivityEvent]) -> bool:
        return since is not None and (
            from_timestamp(record.message.occurred_at) < since - _CLOCK_SKEW
        )

    return older


def _bounds(request: ListActivityRequest) -> tuple[datetime | None, datetime | None]:
    since = from_timestamp(request.since) if request.HasField("since") else None
    until = from_timestamp(request.until) if request.HasField("until") else None
    return since, until


def _only_access(event: ActivityEvent) -> bool:
    return bool(event.changes) and all(c.family in _ACCESS_FAMILIES for c in event.changes)


def shown_event(event: ActivityEvent, held: frozenset[int]) -> ActivityEvent | None:
    """What a holder of these permissions on its project sees of an event."""
    if MANAGE_ACCESS in held:
        return event
    if _only_access(event):
        return None
    copy = ActivityEvent()
    copy.CopyFrom(event)
    take_off(copy)
    del copy.changes[:]
    if VIEW in held:
        copy.changes.extend(c for c in event.changes if c.family not in _ACCESS_FAMILIES)
    return copy
