"""How long to wait before a provider is asked again: exponential, with full jitter.

Source: AWS Architecture Blog, "Exponential Backoff And Jitter" (2015).
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

__all__ = ["MAX_TRIES", "Backoff", "Sleep"]

MAX_TRIES = 5

Sleep = Callable[[float], Awaitable[None]]
"""Waits for so many seconds."""


@dataclass(frozen=True, slots=True)
class Backoff:
    """`base` and `most` are in seconds; `retried` is called for each repetition."""

    tries: int = MAX_TRIES
    base: float = 0.2
    most: float = 20.0
    sleep: Sleep = asyncio.sleep
    rng: random.Random = field(default_factory=random.SystemRandom)
    retried: Callable[[], None] = lambda: None

    async def wait(self, attempt: int) -> bool:
        """Wait after try number `attempt` (from 0) failed; False when it was the last."""
        if attempt + 1 >= self.tries:
            return False
        self.retried()
        await self.sleep(self.rng.uniform(0.0, min(self.most, self.base * 2.0**attempt)))
        return True
