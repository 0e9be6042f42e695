"""WatchEvents: the activity feed for one caller, as the caller's rights are now.

Rights are decided after the events were read, for each page anew and every two
seconds, so that nothing is sent that happened after a right had ended. What is
named by the request must stay visible, or the stream ends; what is not named is
left out. The next page is read when the reader took this one: a slow reader
holds one page, and resumes from the feed.
"""

from __future__ import annotations

import math
import time
from collections.abc import AsyncGenerator, Collection, Sequence
from contextlib import aclosing
from dataclasses import dataclass

from workspace.common.v1.activity_pb2 import ActivityEvent
from workspace.identity.v1.account_pb2 import AccountCapability
from workspace.identity.v1.user_pb2 import UserStatus
from workspace.project.v1.history_service_pb2 import WatchEventsRequest, WatchEventsResponse

from project_svc.access.gate import Access, ProjectAccess
from project_svc.history.activity import shown_event
from project_svc.history.event_types import check_event_types, is_wanted
from project_svc.projects.homes import home_of
from services.events.outbox import OutboxEvent, Position, follow_events
from services.kernel import Kernel
from services.model.errors import permission_denied
from services.model.permissions import VIEW
from services.rpc.context import current_call
from services.rpc.resume_tokens import ResumeTokens

__all__ = ["CHECKPOINT_SECONDS", "RECHECK_SECONDS", "WatchedEvents"]

RECHECK_SECONDS = 2.0
"""With heartbeats every second a right that ended is noticed within 3 s."""
CHECKPOINT_SECONDS = 5.0
_MANAGE = AccountCapability.ACCOUNT_CAPABILITY_MANAGE_ACCOUNT


@dataclass(slots=True)
class _Rights:
    """What the caller holds, by project and by account, decided at `at`
    (monotonic seconds)."""

    at: float
    projects: dict[str, frozenset[int]]
    managed: frozenset[str]


class WatchedEvents:
    """The use case of WatchEvents."""

    def __init__(self, *, kernel: Kernel, access: Access) -> None:
        self._kernel = kernel
        self._access = access

    async def watch(
        self, request: WatchEventsRequest
    ) -> AsyncGenerator[WatchEventsResponse, None]:
        """The stream. The first message is a checkpoint when nothing waits.

        Raises INVALID_PAGE_TOKEN, CURSOR_LOST, and PERMISSION_DENIED at once or
        when a right to what the request names ends.
        """
        check_event_types(request.event_types)
        call = current_call()
        tokens = ResumeTokens(
            self._kernel.instance_key, method=call.method, caller=call.user_id, request=request
        )
        rights = await self._decide(request, ())
        position = await self._start(tokens, request.resume_token)
        sent_at = -math.inf
        async with aclosing(follow_events(self._kernel.feed, position)) as batches:
            async for batch in batches:
                if time.monotonic() - rights.at >= RECHECK_SECONDS or batch.events:
                    rights = await self._decide(request, batch.events)
                for each, place in batch.events:
                    if time.monotonic() - rights.at >= RECHECK_SECONDS:
                        rights = await self._decide(request, batch.events)
                    event = _visible(each, request, rights)
                    if event is not None:
                        token = tokens.issue(place.dump())
                        yield WatchEventsResponse(resume_token=token, event=event)
                        sent_at = time.monotonic()
                # Events that others alone may see do not keep it from being idle.
                if time.monotonic() - sent_at >= CHECKPOINT_SECONDS:
                    token = tokens.issue(batch.position.dump())
                    yield WatchEventsResponse(resume_token=token, checkpoint=True)
                    sent_at = time.monotonic()

    async def _start(self, tokens: ResumeTokens, resume_token: str) -> Position:
        opened = tokens.open(resume_token)
        if opened is not None:
            return Position.load(opened)
        now = f"{int(self._kernel.now() * 1000):013d}"
        return Position(await self._kernel.feed.tail(), hlc=now)

    async def _decide(
        self,
        request: WatchEventsRequest,
        events: Sequence[tuple[OutboxEvent, Position]],
    ) -> _Rights:
        """Rights on everything that the events are about and the request names."""
        at = time.monotonic()
        user_id, named = current_call().user_id, frozenset(request.project_ids)
        wanted = [e.event for e, _ in events if _is_asked(e.event, request)]
        accounts = {e.account_id for e in wanted if not e.project_id} | {request.account_id}
        accounts -= {""}
        user = await self._access.facts.user(user_id, accounts=accounts)
        if user.status != UserStatus.USER_STATUS_ACTIVE:
            raise permission_denied("view", f"users/{user_id}")
        managed = frozenset(
            each for each in accounts
            if _MANAGE in home_of(each, user.raw[each], personal=False).capabilities
        )  # fmt: skip
        if request.account_id and request.account_id not in managed:
            raise permission_denied("manage_account", f"accounts/{request.account_id}")
        projects = await self._projects(user_id, named | {e.project_id for e in wanted} - {""})
        for project_id in sorted(named):
            if VIEW not in projects.get(project_id, frozenset()):
                raise permission_denied("view", f"projects/{project_id}")
        return _Rights(at, projects, managed)

    async def _projects(
        self, user_id: str, project_ids: Collection[str]
    ) -> dict[str, frozenset[int]]:
        if not project_ids:
            return {}
        held: dict[str, frozenset[int]] = {}
        for project_id, found in (await self._access.of_each(user_id, project_ids)).items():
            if not isinstance(found, ProjectAccess):
                raise found
            held[project_id] = found.permissions
        return held


def _is_asked(event: ActivityEvent, request: WatchEventsRequest) -> bool:
    """Whether the request asks for it, visible or not."""
    return (
        is_wanted(event.type, request.event_types)
        and (not request.project_ids or event.project_id in request.project_ids)
        and request.account_id in ("", event.account_id)
    )


def _visible(
    each: OutboxEvent, request: WatchEventsRequest, rights: _Rights
) -> ActivityEvent | None:
    """The event as ListActivity shows it to the caller, or None."""
    event = each.event
    if not _is_asked(event, request):
        return None
    if not event.project_id:
        return event if event.account_id in rights.managed else None
    held = rights.projects.get(event.project_id, frozenset())
    if VIEW not in held and event.account_id not in (rights.managed & {request.account_id}):
        return None
    return shown_event(event, held)
