"""How long ago something was, by two clocks: whichever says more counts.

The clock of the wall may be set back; the monotonic one may stand still while the
machine sleeps. By both, nothing that is kept gets younger than it is.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

__all__ = ["Elapsed", "Moment"]


@dataclass(frozen=True, slots=True)
class Moment:
    """`wall` in unix seconds, `monotonic` in seconds of this machine."""

    wall: float
    monotonic: float


class Elapsed:
    """`now` is unix seconds."""

    def __init__(
        self,
        now: Callable[[], float] = time.time,
        *,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._now = now
        self._monotonic = monotonic

    def moment(self) -> Moment:
        """This one."""
        return Moment(self._now(), self._monotonic())

    def since(self, moment: Moment) -> float:
        """Seconds; never less than have passed by either clock."""
        return max(self._now() - moment.wall, self._monotonic() - moment.monotonic)
