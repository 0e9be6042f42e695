"""One in-process call in flight: what both of its ends share, and how it ends."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

import grpc

from services.rpc.local.pipe import Pipe
from services.rpc.propagation import Metadatum

__all__ = ["Exchange"]

LOCALLY_CANCELLED = "Locally cancelled by application!"


class Exchange:
    """Serialised messages, metadata and the final status. It finishes once.

    `deadline` is in loop time (None: none). `request`/`response` carry unary
    messages, `requests`/`responses` streams. `code` is None until the end.
    """

    __slots__ = (
        "__weakref__",
        "cancelled",
        "code",
        "deadline",
        "details",
        "initial",
        "loop",
        "metadata",
        "method",
        "on_done",
        "request",
        "requests",
        "response",
        "responses",
        "service",
        "task",
        "timer",
        "trailing",
        "waiters",
    )

    def __init__(
        self,
        *,
        method: str,
        service: str,
        metadata: tuple[Metadatum, ...],
        timeout: float | None,
        request: bytes | None,
        response_streaming: bool,
    ) -> None:
        self.loop = asyncio.get_running_loop()
        self.method = method
        self.service = service
        self.metadata = metadata
        self.request = request
        self.requests = Pipe() if request is None else None
        self.response: bytes | None = None
        self.responses = Pipe() if response_streaming else None
        self.initial: tuple[Metadatum, ...] | None = None
        self.trailing: tuple[Metadatum, ...] = ()
        self.code: grpc.StatusCode | None = None
        self.details = ""
        self.cancelled = False
        self.task: asyncio.Task[None] | None = None
        self.waiters: list[asyncio.Future[None]] = []
        self.on_done: list[Callable[[], None]] = []
        self.deadline: float | None = None
        self.timer: asyncio.TimerHandle | None = None
        if timeout is not None:
            self.deadline = self.loop.time() + timeout
            self.timer = self.loop.call_later(max(timeout, 0.0), self.expire)

    def finish(
        self,
        code: grpc.StatusCode,
        details: str = "",
        trailing: tuple[Metadatum, ...] = (),
        *,
        discard: bool = False,
    ) -> bool:
        """Set the final status; False when there is one already."""
        if self.code is not None:
            return False
        self.code, self.details, self.trailing = code, details, trailing
        if self.timer is not None:
            self.timer.cancel()
        if self.requests is not None:
            self.requests.close(discard=True)
        if self.responses is not None:
            self.responses.close(discard=discard)
        self.wake()
        callbacks, self.on_done = self.on_done, []
        for callback in callbacks:
            self.loop.call_soon(callback)
        return True

    def expire(self) -> None:
        """The deadline passed: the client knows at once, the handler is cancelled."""
        self._break_off(grpc.StatusCode.DEADLINE_EXCEEDED, "Deadline Exceeded")

    def cancel(self) -> bool:
        """The client gave up. False when the call was over already."""
        if self.code is not None:
            return False
        self.cancelled = True
        return self._break_off(grpc.StatusCode.CANCELLED, LOCALLY_CANCELLED)

    def stop(self, details: str) -> None:
        """The server goes away under the call."""
        self._break_off(grpc.StatusCode.UNAVAILABLE, details)

    def _break_off(self, code: grpc.StatusCode, details: str) -> bool:
        ended = self.finish(code, details, discard=True)
        if ended and self.task is not None:
            self.task.cancel()
        return ended

    def send_initial(self, metadata: tuple[Metadatum, ...]) -> None:
        self.initial = metadata
        self.wake()

    async def wait(self) -> None:
        """Return when the call is over."""
        while self.code is None:
            await self._changed()

    async def wait_initial(self) -> tuple[Metadatum, ...]:
        """Initial metadata, as soon as it is there or the call is over."""
        while self.initial is None and self.code is None:
            await self._changed()
        return self.initial or ()

    def attend(self, work: Coroutine[Any, Any, None]) -> None:
        """Run `work` beside the call, at the longest until the call is over."""
        task = self.loop.create_task(work)
        if self.code is not None:
            task.cancel()
        self.on_done.append(_canceller(task))

    def remaining(self) -> float | None:
        """Seconds left, never negative; None without a deadline."""
        return None if self.deadline is None else max(self.deadline - self.loop.time(), 0.0)

    async def _changed(self) -> None:
        waiter = self.loop.create_future()
        self.waiters.append(waiter)
        await waiter

    def wake(self) -> None:
        waiters, self.waiters = self.waiters, []
        for waiter in waiters:
            if not waiter.done():
                waiter.set_result(None)


def _canceller(task: asyncio.Task[None]) -> Callable[[], None]:
    def cancel() -> None:
        task.cancel()

    return cancel
