"""Hybrid logical clock: order and display of versions, never a decision.

Source: Kulkarni et al., "Logical Physical Clocks" (2014). A reading is a
fixed-width string, so that keys that embed it sort by it on every provider.
"""

from __future__ import annotations

import threading
from collections.abc import Callable

__all__ = ["HLC_WIDTH", "HybridClock", "hlc_millis"]

_COUNTER_LIMIT = 100_000
HLC_WIDTH = 19
"""13 digits of unix milliseconds, a dot, 5 digits of counter."""


class HybridClock:
    """Strictly increasing readings of one process.

    `wall_ms` is injected: unix time in milliseconds. A wall clock that jumps
    back does not move readings back; only the counter grows.
    """

    def __init__(self, wall_ms: Callable[[], int]) -> None:
        self._wall_ms = wall_ms
        self._lock = threading.Lock()
        self._last = (0, 0)

    def now(self) -> str:
        """The next reading, for example `1763690000123.00000`."""
        with self._lock:
            self._last = self._after(self._last, self._wall_ms())
            return _render(self._last)

    def observe(self, reading: str) -> None:
        """Never read lower than `reading`, which came from elsewhere."""
        with self._lock:
            self._last = max(self._last, _parse(reading))

    @staticmethod
    def _after(last: tuple[int, int], wall: int) -> tuple[int, int]:
        if wall > last[0]:
            return (wall, 0)
        millis, counter = last[0], last[1] + 1
        return (millis, counter) if counter < _COUNTER_LIMIT else (millis + 1, 0)


def hlc_millis(reading: str) -> int:
    """Unix milliseconds of a reading."""
    return _parse(reading)[0]


def _render(value: tuple[int, int]) -> str:
    return f"{value[0]:013d}.{value[1]:05d}"


def _parse(reading: str) -> tuple[int, int]:
    millis, dot, counter = reading.partition(".")
    if len(reading) != HLC_WIDTH or not dot or not (millis + counter).isascii():
        raise ValueError(f"not a clock reading: {reading!r}")
    return (int(millis), int(counter))
