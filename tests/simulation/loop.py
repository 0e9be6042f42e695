"""An event loop without a clock and without a system below it.

Callbacks run in the order in which they became ready. When none is, `idle` is
asked to let something happen (an answer arrives, a person starts something); when
it has nothing, virtual time jumps to the next timer.
"""

from __future__ import annotations

import asyncio
import heapq
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

__all__ = ["Deadlock", "SimLoop", "run"]

T = TypeVar("T")


class Deadlock(Exception):
    """Nothing is ready, nothing can arrive, and no timer runs."""


class SimLoop(asyncio.BaseEventLoop):
    """See the module. `idle` returns whether it did something."""

    def __init__(self, idle: Callable[[], bool]) -> None:
        super().__init__()
        self._idle = idle
        self._now = 0.0
        self.complaints: list[str] = []
        self.set_exception_handler(self._complain)

    def time(self) -> float:
        return self._now

    def _run_once(self) -> None:
        ready = self._ready  # type: ignore[attr-defined]
        if not ready and not self._stopping:  # type: ignore[attr-defined]
            self._go_on()
        for _ in range(len(ready)):
            handle = ready.popleft()
            if not handle.cancelled():
                handle._run()

    def _go_on(self) -> None:
        if self._idle():
            return
        timers = self._scheduled  # type: ignore[attr-defined]
        while timers:
            timer = heapq.heappop(timers)
            timer._scheduled = False
            if not timer.cancelled():
                self._now = max(self._now, timer.when())
                self._ready.append(timer)  # type: ignore[attr-defined]
                return
        raise Deadlock

    def _process_events(self, event_list: list[Any]) -> None: ...

    def _write_to_self(self) -> None: ...

    def _timer_handle_cancelled(self, handle: asyncio.TimerHandle) -> None: ...

    def run_in_executor(self, executor: Any, func: Any, *args: Any) -> Any:
        raise AssertionError("a thread in a simulation")

    def _complain(self, loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        self.complaints.append(f"{context.get('message')}: {context.get('exception')!r}")


def run(main: Coroutine[Any, Any, T], idle: Callable[[], bool]) -> T:
    """The result of `main` on a loop of its own; what is left is then dropped."""
    loop = SimLoop(idle)
    asyncio.set_event_loop(loop)
    try:
        result = loop.run_until_complete(main)
        assert not loop.complaints, loop.complaints
        return result
    finally:
        _drop_the_rest(loop)
        asyncio.set_event_loop(None)
        loop.close()


def _drop_the_rest(loop: SimLoop) -> None:
    """Tasks of nodes that crashed never go on; here they are cancelled, when
    nothing that they do can have an effect any more."""
    left = asyncio.all_tasks(loop)
    for task in left:
        task.cancel()
    if left:
        loop.run_until_complete(asyncio.wait(left, timeout=None))
