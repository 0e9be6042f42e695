"""The stream of what became stale of the facts that `BatchGetMemberships` gives.

It follows the change feed, which tells keys and not commits: several changes of
a row may arrive as one, with the newest version.
"""

from __future__ import annotations

import time
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from contextlib import aclosing

from workspace.identity.v1.identity_service_pb2 import (
    WatchMembershipsRequest,
    WatchMembershipsResponse,
)
from workspace.identity.v1.membership_pb2 import MembershipChange, PartitionVersion, ScopeRef

from identity_svc.directory import timestamp
from services.events.feed import HEARTBEAT_SECONDS
from services.kernel import Kernel
from services.model.clocks import hlc_millis
from services.model.errors import Reason, WorkspaceError
from services.model.membership_rows import ACCOUNT, TEAM, affected_user
from services.model.stamp import Stamp
from services.records.port import Item
from services.rpc.context import current_call
from services.rpc.resume_tokens import ResumeTokens, cursor_lost

__all__ = ["MembershipWatch"]


class MembershipWatch:
    """Use case of WatchMemberships."""

    def __init__(self, kernel: Kernel) -> None:
        self._kernel = kernel

    async def watch(
        self, request: WatchMembershipsRequest
    ) -> AsyncIterator[WatchMembershipsResponse]:
        """Messages until the caller leaves; the first one at once. Raises
        CURSOR_LOST for a token that is not of this store, or too old."""
        call = current_call()
        tokens = ResumeTokens(
            self._kernel.instance_key, method=call.method, caller=call.service, request=request
        )
        cursor = _opened(tokens, request.resume_token)
        sent, watermark = -HEARTBEAT_SECONDS, 0.0
        if cursor is None:
            cursor = await self._kernel.feed.tail()
        batches = self._kernel.feed.follow(cursor)
        assert isinstance(batches, AsyncGenerator)
        async with aclosing(batches):
            async for batch in batches:
                if batch.complete:
                    watermark = max(watermark, batch.started_at)
                changes = await self._changes(batch.items)
                # Commits of others wake the feed: that is no reason to write.
                idle = time.monotonic() - sent
                if changes or idle >= HEARTBEAT_SECONDS * 0.9:
                    sent = time.monotonic()
                    yield _message(tokens.issue(batch.cursor), watermark, changes)

    async def _changes(self, items: Sequence[Item]) -> list[MembershipChange]:
        stale = [
            (item, user_id)
            for item in items
            if (user_id := affected_user(item.key.pk, item.key.sk)) is not None
        ]
        if not stale:
            return []
        partitions = list(dict.fromkeys(item.key.pk for item, _ in stale))
        heads = {head.pk: head.pseq for head in await self._kernel.records.heads(partitions)}
        return [_change(item, user_id, heads[item.key.pk]) for item, user_id in stale]


def _opened(tokens: ResumeTokens, token: str) -> str | None:
    try:
        return tokens.open(token)
    except WorkspaceError as error:
        if error.reason != Reason.ERROR_REASON_INVALID_PAGE_TOKEN:
            raise
        raise cursor_lost() from None


def _message(
    token: str, watermark: float, changes: Sequence[MembershipChange]
) -> WatchMembershipsResponse:
    message = WatchMembershipsResponse(
        resume_token=token, checkpoint=not changes, changes=changes
    )
    if watermark:
        message.watermark.CopyFrom(timestamp(watermark))
    return message


def _change(item: Item, user_id: str, sequence: int) -> MembershipChange:
    """The head was read after the row: its sequence number covers the change."""
    change = MembershipChange(
        user_id=user_id, version=PartitionVersion(partition=item.key.pk, sequence=sequence)
    )
    scope = _scope(item.key.pk)
    if scope is not None:
        change.scope.CopyFrom(scope)
    if item.stamp:
        change.occurred_at.CopyFrom(timestamp(hlc_millis(Stamp.load(item.stamp).hlc) / 1000))
    return change


def _scope(pk: str) -> ScopeRef | None:
    if pk.startswith(ACCOUNT):
        return ScopeRef(account_id=pk.removeprefix(ACCOUNT))
    return ScopeRef(team_id=pk.removeprefix(TEAM)) if pk.startswith(TEAM) else None
