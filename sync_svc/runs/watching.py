"""The streams of Push, Pull and WatchRun: the state of a run, as it changes.

A stream tells states, not steps: whoever resumes gets the present one. A resume
token names the run and the state that was sent last, sealed for its caller and
arguments; it is too old when the run is not kept any more.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import AsyncGenerator
from dataclasses import dataclass

from workspace.sync.v1.run_pb2 import Progress, RunPhase, SyncDirection
from workspace.sync.v1.sync_service_pb2 import (
    PullRequest,
    PullResponse,
    PushRequest,
    PushResponse,
    WatchRunRequest,
    WatchRunResponse,
)

from services.kernel import Kernel
from services.model.errors import Reason, WorkspaceError
from services.rpc.context import current_call
from services.rpc.resume_tokens import ResumeTokens, cursor_lost
from sync_svc.runs.bells import Bells
from sync_svc.runs.manager import RunManager
from sync_svc.runs.rows import RunRows
from sync_svc.runs.starting import Starting
from sync_svc.runs.states import has_ended, refusal, run_pk

__all__ = ["Watching"]

_POLL_SECONDS = 1.0
_RECHECK_SECONDS = 2.0
"""With a look every second a right that ended is noticed within 3 s."""
_CHECKPOINT_SECONDS = 10.0
_REFUSAL_SECONDS = 2.0
"""How long the first message waits for the guard, so that a refusal comes alone."""


@dataclass(frozen=True, slots=True)
class _Seen:
    """A message to send: `news` False is a checkpoint."""

    progress: Progress
    token: str
    news: bool


class Watching:
    """See the module."""

    def __init__(
        self, *, kernel: Kernel, rows: RunRows, bells: Bells, manager: RunManager,
        starting: Starting,
    ) -> None:
        self._kernel = kernel
        self._rows = rows
        self._bells = bells
        self._manager = manager
        self._starting = starting

    async def push(self, request: PushRequest) -> AsyncGenerator[PushResponse, None]:
        """Messages of a push; the run goes on when the caller leaves."""
        direction = SyncDirection.SYNC_DIRECTION_PUSH
        async for seen, token in self._begun(request, direction):
            yield PushResponse(
                progress=seen.progress, resume_token=seen.token, checkpoint=not seen.news,
                consistency_token=token,
            )

    async def pull(self, request: PullRequest) -> AsyncGenerator[PullResponse, None]:
        """Messages of a pull; the run goes on when the caller leaves."""
        direction = SyncDirection.SYNC_DIRECTION_PULL
        async for seen, token in self._begun(request, direction):
            yield PullResponse(
                progress=seen.progress, resume_token=seen.token, checkpoint=not seen.news,
                consistency_token=token,
            )

    async def watch(self, request: WatchRunRequest) -> AsyncGenerator[WatchRunResponse, None]:
        """Messages of any run. Raises PERMISSION_DENIED and CURSOR_LOST."""
        tokens = self._tokens(request)
        _, last = _opened(tokens, request.resume_token)
        await self._starting.allowed(request.run_id)
        async for seen in self._follow(tokens, request.run_id, last):
            yield WatchRunResponse(
                progress=seen.progress, resume_token=seen.token, checkpoint=not seen.news
            )

    async def _begun(
        self, request: PushRequest | PullRequest, direction: SyncDirection.ValueType
    ) -> AsyncGenerator[tuple[_Seen, str], None]:
        tokens = self._tokens(request)
        run_id, last = _opened(tokens, request.resume_token)
        if not run_id:
            run_id = (await self._starting.start(request, direction)).run.run_id
        elif await self._rows.get(run_id) is None:
            raise cursor_lost()
        await self._starting.allowed(run_id)
        if not last:
            await self._guarded(run_id)
        async for seen in self._follow(tokens, run_id, last):
            run = seen.progress.run
            if (refused := refusal(run)) is not None:
                raise refused
            yield seen, await self._freshness(run_id) if has_ended(run) else ""

    async def _guarded(self, run_id: str) -> None:
        """Wait a moment until the run is past its guard, or has ended."""
        deadline = time.monotonic() + _REFUSAL_SECONDS
        while (left := deadline - time.monotonic()) > 0:
            bell = self._bells.bell(run_id)
            progress = await self._shown(run_id)
            if has_ended(progress.run) or progress.run.phase > RunPhase.RUN_PHASE_GUARD:
                return
            await self._bells.wait(bell, min(left, _POLL_SECONDS))

    async def _follow(
        self, tokens: ResumeTokens, run_id: str, last: str
    ) -> AsyncGenerator[_Seen, None]:
        """Each state after the one that `last` names, until the run has ended; the
        state in which it ended is always told."""
        checked = sent = time.monotonic()
        while True:
            bell = self._bells.bell(run_id)
            progress = await self._shown(run_id)
            ended, state = has_ended(progress.run), _state(progress)
            news = state != last or ended
            # After it was read: nothing is told that happened after the right had ended.
            if news or time.monotonic() - checked >= _RECHECK_SECONDS:
                await self._starting.allowed(run_id)
                checked = time.monotonic()
            if news or time.monotonic() - sent >= _CHECKPOINT_SECONDS:
                last, sent = state, time.monotonic()
                yield _Seen(progress, tokens.issue(f"{run_id} {state}"), news)
            if ended:
                return
            await self._bells.wait(bell, _POLL_SECONDS)

    async def _shown(self, run_id: str) -> Progress:
        record = await self._rows.get(run_id)
        if record is None:
            raise cursor_lost()
        return await self._manager.shown(record)

    async def _freshness(self, run_id: str) -> str:
        """The token of the commit that ended the run: after everything it joined."""
        head = await self._kernel.records.head(run_pk(run_id))
        now_ms = int(self._kernel.now() * 1000)
        return self._kernel.consistency.issue(head.pk, head.pseq, now_ms)

    def _tokens(self, request: PushRequest | PullRequest | WatchRunRequest) -> ResumeTokens:
        call = current_call()
        return ResumeTokens(
            self._kernel.instance_key, method=call.method, caller=call.user_id, request=request
        )


def _opened(tokens: ResumeTokens, token: str) -> tuple[str, str]:
    """The run and the state that were told last; two empty texts without a token."""
    try:
        opened = tokens.open(token)
    except WorkspaceError as error:
        if error.reason != Reason.ERROR_REASON_INVALID_PAGE_TOKEN:
            raise
        raise cursor_lost() from None
    run_id, _, state = (opened or "").partition(" ")
    return run_id, state


def _state(progress: Progress) -> str:
    """Names a state; what changes all the time by itself is left out."""
    copy = Progress()
    copy.CopyFrom(progress)
    copy.run.ClearField("updated_at")
    copy.run.ClearField("lease_expires_at")
    data = copy.SerializeToString(deterministic=True)
    return hashlib.sha256(data).hexdigest()[:16]
