"""Deadlines and pauses of calls to a database over a network."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Callable, Coroutine, Iterator, Sequence
from typing import Any, TypeVar

__all__ = ["Deadline", "all_of", "pauses"]

T = TypeVar("T")

_FIRST_PAUSE, _LONGEST_PAUSE = 0.02, 1.0


class Deadline:
    """A moment on the monotonic clock, `seconds` from now."""

    def __init__(self, seconds: float, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._end = clock() + seconds

    @property
    def left(self) -> float:
        """Seconds that are left, 0 when it has passed."""
        return max(0.0, self._end - self._clock())


def pauses() -> Iterator[float]:
    """Seconds between attempts for ever: exponential with full jitter, at most one
    second ("Exponential Backoff And Jitter", AWS Architecture Blog)."""
    longest = _FIRST_PAUSE
    while True:
        yield random.uniform(0, longest)  # noqa: S311 - jitter
        longest = min(_LONGEST_PAUSE, 2 * longest)


async def all_of(calls: Sequence[Coroutine[Any, Any, T]]) -> list[T]:
    """The results in order, or the first error once all have ended: none goes on alone."""
    results = await asyncio.gather(*calls, return_exceptions=True)
    found: list[T] = []
    for each in results:
        if isinstance(each, BaseException):
            raise each
        found.append(each)
    return found
