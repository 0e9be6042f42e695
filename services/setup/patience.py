"""How often a call of a setup is repeated, and how long a change is waited for."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Awaitable, Callable
from typing import TypeVar

from services.model.errors import Reason, WorkspaceError

__all__ = ["Patience", "refused"]

T = TypeVar("T")

_SECONDS = 60.0
_FIRST_SECONDS = 12.0
"""How long the first answer is waited for: who mistyped an endpoint, or is offline, sees
nothing meanwhile."""
_LONGEST_PAUSE = 4.0


class Patience:
    """`command` is what people run again, as `wm setup aws`."""

    def __init__(
        self,
        command: str,
        *,
        seconds: float = _SECONDS,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        self._command = command
        self._seconds = seconds
        self._sleep = sleep
        self._now = now
        self._answered = False

    async def repeated(
        self,
        call: Callable[[], Awaitable[T]],
        *,
        again: Callable[[Exception], bool],
        answers: bool = True,
    ) -> T:
        """The answer of `call`, repeated while `again` says that this may help. Raises
        what it raised last. Without `answers` it is no answer of the service itself."""
        begun, pause = self._now(), 0.2
        while True:
            try:
                answer = await call()
            except WorkspaceError:
                raise
            except Exception as error:
                patience = self._seconds if self._answered else _FIRST_SECONDS
                end = begun + min(patience, self._seconds)
                if not again(error) or self._now() + pause > end:
                    raise
            else:
                self._answered = self._answered or answers
                return answer
            await self._sleep(random.uniform(0, pause))  # noqa: S311 - jitter
            pause = min(pause * 2, _LONGEST_PAUSE)

    async def until(
        self, reached: Callable[[], Awaitable[bool]], what: str, seconds: float
    ) -> None:
        """Wait until `reached`. Raises BACKEND_UNAVAILABLE after `seconds`."""
        end, pause = self._now() + seconds, 0.05
        while not await reached():
            if self._now() > end:
                raise refused(
                    f"{what} is not ready after {seconds:.0f} s; it may still become so: run "
                    f"`{self._command}` again to go on",
                    reason=Reason.ERROR_REASON_BACKEND_UNAVAILABLE,
                )
            await self._sleep(pause)
            pause = min(pause * 2, _LONGEST_PAUSE)


def refused(
    message: str, *, reason: Reason.ValueType = Reason.ERROR_REASON_INVALID_STATE, field: str = ""
) -> WorkspaceError:
    """The setup does not go on, and says why."""
    return WorkspaceError(reason, message, metadata={"field": field} if field else {})
