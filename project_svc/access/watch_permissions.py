"""The stream of permission changes: whose may have changed, so that they read again.

A person is told of himself; of everybody on a project only while he holds
`manage_access` there. Services are told everything. The right is looked at
with every change and every second; the stream ends when it does.
"""

from __future__ import annotations

import time
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from contextlib import aclosing

from workspace.project.v1.permission_service_pb2 import (
    WatchPermissionsRequest,
    WatchPermissionsResponse,
)

from project_svc.access.gate import Access
from project_svc.access.permission_changes import PermissionChange, change_of
from project_svc.access.watch_audiences import Audience, Everything, NamedProjects, OwnChanges, Told
from project_svc.policy import ASKING_SERVICES
from services.events.feed import HEARTBEAT_SECONDS
from services.kernel import Kernel
from services.model.errors import WorkspaceError
from services.model.times import to_micros, to_timestamp
from services.records.port import Item
from services.rpc.authentication import Admission
from services.rpc.consistency import AS_OF_NOW, MINIMIZE_LATENCY, Demand
from services.rpc.context import Call, current_call
from services.rpc.headers import unauthenticated
from services.rpc.resume_tokens import ResumeTokens

__all__ = ["PermissionWatch"]


class PermissionWatch:
    """Use case of WatchPermissions."""

    def __init__(self, *, kernel: Kernel, access: Access, admission: Admission) -> None:
        self._kernel = kernel
        self._access = access
        self._admission = admission

    async def watch(
        self, request: WatchPermissionsRequest
    ) -> AsyncIterator[WatchPermissionsResponse]:
        """Messages until the caller leaves or loses the right; the first one, a
        checkpoint, at once. Raises PERMISSION_DENIED, CURSOR_LOST, and
        INVALID_PAGE_TOKEN for a token of another caller or other arguments."""
        call = current_call()
        tokens = ResumeTokens(
            self._kernel.instance_key,
            method=call.method,
            caller=f"{call.service}/{call.user_id}",
            request=request,
        )
        cursor = tokens.open(request.resume_token)
        audience = await self._audience(call, request)
        await self._check(call, audience, AS_OF_NOW)
        if cursor is None:
            cursor = await self._kernel.feed.tail()
        async with aclosing(self._messages(call, audience, tokens, cursor)) as messages:
            async for message in messages:
                yield message

    async def _audience(self, call: Call, request: WatchPermissionsRequest) -> Audience:
        names = list(dict.fromkeys(request.project_ids))
        if call.service in ASKING_SERVICES and not call.user_id:
            if not names:
                return Everything()
            return NamedProjects(self._access, "", frozenset(names), frozenset())
        if not names:
            return OwnChanges(self._access, call.user_id)
        return await NamedProjects.of(self._access, call.user_id, names)

    async def _messages(
        self, call: Call, audience: Audience, tokens: ResumeTokens, cursor: str
    ) -> AsyncGenerator[WatchPermissionsResponse, None]:
        sent = -HEARTBEAT_SECONDS
        batches = self._kernel.feed.follow(cursor)
        assert isinstance(batches, AsyncGenerator)
        async with aclosing(batches):
            async for batch in batches:
                changes = _changes(batch.items)
                idle = time.monotonic() - sent >= HEARTBEAT_SECONDS * 0.9
                if not changes and not idle:
                    cursor = batch.cursor
                    continue
                ended = await self._ended(call, audience, AS_OF_NOW if changes else None)
                told = [each for change in changes for each in await audience.told(change)]
                if ended is not None:  # of others there is nothing more to tell
                    told = [each for each in told if each.user_id == call.user_id]
                for number, each in enumerate(told, 1):
                    # Resuming in the middle of a batch delivers it again.
                    at = batch.cursor if number == len(told) else cursor
                    yield self._message(each, tokens.issue(at))
                if ended is not None:
                    raise ended
                cursor = batch.cursor
                if told or idle:
                    sent = time.monotonic()
                if not told and idle:
                    token = tokens.issue(cursor)
                    yield WatchPermissionsResponse(resume_token=token, checkpoint=True)

    async def _ended(
        self, call: Call, audience: Audience, demand: Demand | None
    ) -> WorkspaceError | None:
        try:
            await self._check(call, audience, demand or MINIMIZE_LATENCY)
        except WorkspaceError as error:
            return error
        return None

    async def _check(self, call: Call, audience: Audience, demand: Demand) -> None:
        """Raises when the caller may not, or not any more, be told."""
        if call.caller is not None:
            if 0 < call.caller.expires_at <= self._kernel.now():
                raise unauthenticated()
            await self._admission.admit(call.caller)
        await audience.check(demand)

    def _message(self, told: Told, token: str) -> WatchPermissionsResponse:
        change = told.change
        pk, sequence = (change.pk, change.sequence) if told.by_name else (_NOWHERE, 0)
        return WatchPermissionsResponse(
            resume_token=token,
            project_id=told.project_id,
            user_id=told.user_id,
            occurred_at=to_timestamp(change.at),
            consistency_token=self._kernel.consistency.issue(
                pk, sequence, to_micros(change.at) // 1000
            ),
        )


_NOWHERE = "-"
"""The partition of a token that carries the time alone."""


def _changes(items: Sequence[Item]) -> list[PermissionChange]:
    found = (change_of(item) for item in items)
    return [change for change in found if change is not None]
