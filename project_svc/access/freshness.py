"""The caches of permission facts, and what keeps them true.

Commits of this process are announced before they are acknowledged. Where other
processes write too, memberships are followed through WatchMemberships and
projects through the change feed; the caches answer only while that goes on.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from typing import TYPE_CHECKING

import grpc
import grpc.aio
from workspace.identity.v1.identity_service_pb2 import (
    WatchMembershipsRequest,
    WatchMembershipsResponse,
)

from project_svc.access.fact_cache import MOST_STALE_SECONDS
from project_svc.access.facts import ProjectViews, project_views
from project_svc.access.membership_cache import MembershipCache
from services.events.feed import Feed
from services.kernel import Kernel
from services.model.errors import Reason, WorkspaceError
from services.records.port import Key

if TYPE_CHECKING:  # the generated class exists for type checkers only
    from workspace.identity.v1.identity_service_pb2_grpc import IdentityServiceAsyncStub

__all__ = ["Freshness", "MembershipFollower", "ViewFollower", "open_freshness"]

_log = logging.getLogger("workspace.freshness")
_PROJECT = "PROJECT#"
_RETRY_SECONDS = 0.5


@dataclass(frozen=True, slots=True)
class Freshness:
    """The caches of one process; `background` keeps them true."""

    memberships: MembershipCache
    views: ProjectViews
    background: Sequence[Callable[[], Awaitable[None]]] = ()


def open_freshness(kernel: Kernel, identity: IdentityServiceAsyncStub) -> Freshness:
    """Caches that hear of every commit; switched off by the settings."""
    serve = kernel.settings.permission_cache
    exact = not kernel.records.driver.capabilities.multi_process
    memberships = MembershipCache(now=kernel.now, exact=exact, serve=serve)
    views = project_views(now=kernel.now, exact=exact, serve=serve)
    if not serve:
        return Freshness(memberships, views)

    def project_committed(pk: str, _: Sequence[Key]) -> None:
        if pk.startswith(_PROJECT):
            views.invalidate(pk)

    kernel.records.on_commit(memberships.committed)
    kernel.records.on_commit(project_committed)
    if exact:
        return Freshness(memberships, views)
    followers = (
        MembershipFollower(cache=memberships, identity=identity).run,
        ViewFollower(views=views, feed=kernel.feed).run,
    )
    return Freshness(memberships, views, followers)


class MembershipFollower:
    """Tells the cache what identity says became stale. `silence`: seconds without a
    message, of which one comes each second, after which a stream is given up."""

    def __init__(
        self,
        *,
        cache: MembershipCache,
        identity: IdentityServiceAsyncStub,
        retry: float = _RETRY_SECONDS,
        silence: float = MOST_STALE_SECONDS,
    ) -> None:
        self._facts = cache.facts
        self._identity = identity
        self._retry = retry
        self._silence = silence
        self._trouble = _Trouble("memberships")
        self._token = ""

    async def run(self) -> None:
        """Until cancelled. A broken stream goes on from its last token."""
        while True:
            try:
                await self._follow()
            except grpc.aio.AioRpcError as error:
                if error.code() is grpc.StatusCode.OUT_OF_RANGE:
                    self._token = ""
                    self._facts.clear()
                elif error.code() is not grpc.StatusCode.DEADLINE_EXCEEDED:
                    self._trouble.begins(error.code().name)
            except TimeoutError:  # the peer hangs: another replica may not
                self._trouble.begins("no message")
            except Exception as error:  # whatever it is, the next stream may do
                self._trouble.begins(type(error).__name__)
            await asyncio.sleep(self._retry)

    async def _follow(self) -> None:
        call = self._identity.WatchMemberships(WatchMembershipsRequest(resume_token=self._token))
        try:
            messages = aiter(call)
            while True:
                async with asyncio.timeout(self._silence):
                    message = await anext(messages, None)
                if message is None:
                    return
                self._take(message)
                self._trouble.ends()
        finally:
            call.cancel()

    def _take(self, message: WatchMembershipsResponse) -> None:
        if not self._token:  # what was read before the stream began is not covered by it
            self._facts.clear()
        for change in message.changes:
            self._facts.invalidate(change.version.partition, change.user_id)
        self._token = message.resume_token
        if message.HasField("watermark"):
            self._facts.delivered(message.watermark.ToNanoseconds() / 1e9)


class ViewFollower:
    """Tells the cache which projects changed."""

    def __init__(self, *, views: ProjectViews, feed: Feed, retry: float = _RETRY_SECONDS) -> None:
        self._views = views
        self._feed = feed
        self._retry = retry
        self._trouble = _Trouble("projects")
        self._cursor: str | None = None

    async def run(self) -> None:
        """Until cancelled."""
        while True:
            try:
                await self._follow()
            except WorkspaceError as error:
                if error.reason == Reason.ERROR_REASON_CURSOR_LOST:
                    self._cursor = None
                else:
                    self._trouble.begins(Reason.Name(error.reason))
            except Exception as error:  # whatever it is, the next read may do
                self._trouble.begins(type(error).__name__)
            await asyncio.sleep(self._retry)

    async def _follow(self) -> None:
        if self._cursor is None:
            self._cursor = await self._feed.tail()
            self._views.clear()
        batches = self._feed.follow(self._cursor)
        assert isinstance(batches, AsyncGenerator)
        async with aclosing(batches):
            async for batch in batches:
                for pk in {item.key.pk for item in batch.items}:
                    if pk.startswith(_PROJECT):
                        self._views.invalidate(pk)
                self._cursor = batch.cursor
                if batch.complete:
                    self._views.delivered(batch.started_at)
                self._trouble.ends()


class _Trouble:
    """Says once that something is not watched, and once that it is again."""

    def __init__(self, what: str) -> None:
        self._what = what
        self._there = False

    def begins(self, why: str) -> None:
        if not self._there:
            _log.warning("%s are not watched now (%s); facts are read each time", self._what, why)
        self._there = True

    def ends(self) -> None:
        if self._there:
            _log.info("%s are watched again", self._what)
        self._there = False
