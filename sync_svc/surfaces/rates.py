"""How much may be asked of a surface: token buckets, one for calls and one for the
bytes of each direction."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from workspace.sync.v1.connection_pb2 import Connection
from workspace.sync.v1.run_pb2 import SyncOptions

from sync_svc.surfaces.backoff import Sleep

__all__ = ["Bucket", "Rates", "rates_of"]


@dataclass(frozen=True, slots=True)
class Rates:
    """Most calls and most bytes (in each direction) per second; 0: no limit."""

    requests: float = 0.0
    bytes: float = 0.0


def rates_of(connection: Connection, options: SyncOptions) -> Rates:
    """A run's own limits, or those of its connection, whichever is lower."""
    return Rates(
        _lower(options.max_requests_per_second, connection.max_requests_per_second),
        _lower(options.max_bytes_per_second, connection.max_bytes_per_second),
    )


class Bucket:
    """A token bucket of `rate` per second that holds at most one second's worth.

    Who takes more than there is waits until it would be there, so one large amount
    passes, too, and the average holds. `monotonic` is in seconds.
    """

    def __init__(self, rate: float, *, monotonic: Callable[[], float], sleep: Sleep) -> None:
        self._rate = rate
        self._monotonic = monotonic
        self._sleep = sleep
        self._tokens = rate
        self._at = monotonic()

    async def take(self, amount: float) -> None:
        """Wait until `amount` may pass."""
        if not self._rate or amount <= 0:
            return
        now = self._monotonic()
        self._tokens = min(self._rate, self._tokens + (now - self._at) * self._rate)
        self._at = now
        self._tokens -= amount
        if self._tokens < 0:
            await self._sleep(-self._tokens / self._rate)


def _lower(one: int, other: int) -> float:
    limits = [each for each in (one, other) if each > 0]
    return float(min(limits)) if limits else 0.0
