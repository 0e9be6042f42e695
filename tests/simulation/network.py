"""Where every call of a port waits until the simulator lets it happen."""

from __future__ import annotations

import asyncio
import hashlib
import random
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import Enum

__all__ = ["Fault", "Life", "Network", "Rates"]


class Fault(Enum):
    """What becomes of one call."""

    NONE = "ok"
    UNAVAILABLE = "unavailable"
    """No effect, and the caller knows."""
    LOST_BEFORE = "lost before"
    """No effect, and the caller cannot know."""
    LOST_AFTER = "lost after"
    """It had its effect, and the caller cannot know."""
    INCOMPLETE = "incomplete"
    """A listing leaves something out and does not say so."""


@dataclass(eq=False)
class Life:
    """One run of a node, from its start to its crash."""

    name: str
    alive: bool = True


@dataclass(frozen=True)
class Rates:
    """Probability of each fault per call."""

    unavailable: float = 0.02
    lost: float = 0.06
    incomplete: float = 0.15


@dataclass(eq=False)
class _Parked:
    life: Life
    label: str
    kind: str
    arrived: asyncio.Future[Fault]


@dataclass
class Network:
    """See the module. `calm`: in order and without faults."""

    rng: random.Random
    rates: Rates = field(default_factory=Rates)
    calm: bool = False
    ended: bool = False
    calls: int = 0
    counted: Counter[str] = field(default_factory=Counter)
    _parked: list[_Parked] = field(default_factory=list)
    _trace: hashlib._Hash = field(default_factory=hashlib.sha256)
    log: list[str] | None = None

    async def call(self, life: Life, label: str, kind: str) -> Fault:
        """Wait for the turn of this call; what is to become of it. `kind` is read,
        list or write. A dead node's calls never go on."""
        if self.ended:
            raise asyncio.CancelledError
        future: asyncio.Future[Fault] = asyncio.get_running_loop().create_future()
        if life.alive:
            self._parked.append(_Parked(life, label, kind, future))
        return await future

    @property
    def waiting(self) -> int:
        """Calls that wait for their turn; not those that were cancelled."""
        self._parked = [each for each in self._parked if not each.arrived.done()]
        return len(self._parked)

    def release(self) -> bool:
        """Let one call happen; False when none waits."""
        while self._parked:
            at = 0 if self.calm else self.rng.randrange(len(self._parked))
            parked = self._parked.pop(at)
            if not parked.arrived.done():
                fault = Fault.NONE if self.calm else self._fault(parked.kind)
                self.calls += 1
                self.counted[fault.value] += 1
                self.note(f"{parked.life.name} {parked.label} {fault.value}")
                parked.arrived.set_result(fault)
                return True
        return False

    def crash(self, life: Life) -> list[str]:
        """Its calls are dropped: those under way never answer."""
        life.alive = False
        mine = [each for each in self._parked if each.life is life]
        self._parked = [each for each in self._parked if each.life is not life]
        return [each.label for each in mine]

    def note(self, text: str) -> None:
        """Into the trace, by which two runs are compared."""
        self._trace.update(text.encode() + b"\n")
        if self.log is not None:
            self.log.append(text)

    @property
    def trace(self) -> str:
        """Digest of everything that happened, in order."""
        return self._trace.copy().hexdigest()

    def pick(self, options: Sequence[str]) -> str:
        """One of the options."""
        return options[self.rng.randrange(len(options))]

    def _fault(self, kind: str) -> Fault:
        draw = self.rng.random()
        if draw < self.rates.unavailable:
            return Fault.UNAVAILABLE
        draw -= self.rates.unavailable
        if kind == "write" and draw < self.rates.lost:
            return Fault.LOST_AFTER if self.rng.random() < 0.5 else Fault.LOST_BEFORE
        if kind == "list" and draw < self.rates.incomplete:
            return Fault.INCOMPLETE
        return Fault.NONE
