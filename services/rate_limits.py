"""How often one caller may do something: a token bucket per key, in this process.

For what must not be tried without end (guessed tokens, looked-up addresses). A
deployment of several processes allows as many times more.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass

from services.model.errors import Reason, WorkspaceError

__all__ = ["RateLimiter"]

_MOST_KEYS = 10_000


@dataclass(slots=True)
class _Bucket:
    """What is left, as of a time in seconds."""

    left: float
    at: float


class RateLimiter:
    """At most `maximum` events of a key at once, and `maximum` in each `period`
    seconds after that. `limit` names the limit in errors; `now` is in seconds.
    Of more than 10,000 keys the ones used longest ago are forgotten."""

    def __init__(
        self, limit: str, *, maximum: int, period: float, now: Callable[[], float]
    ) -> None:
        self._limit = limit
        self._maximum = maximum
        self._rate = maximum / period
        self._now = now
        self._buckets: OrderedDict[str, _Bucket] = OrderedDict()

    def require(self, key: str) -> None:
        """Raises LIMIT_EXCEEDED when nothing is left. Counts nothing."""
        left = self._bucket(key).left
        if left < 1:
            raise WorkspaceError(
                Reason.ERROR_REASON_LIMIT_EXCEEDED,
                f"too often: at most {self._maximum} {self._limit}; wait and repeat",
                metadata={"limit": self._limit, "maximum": str(self._maximum)},
                retry_after=(1 - left) / self._rate,
            )

    def count(self, key: str) -> None:
        """One event more. Raises nothing: the event has happened."""
        bucket = self._bucket(key)
        bucket.left = max(bucket.left - 1, 0.0)

    def take(self, key: str) -> None:
        """`require`, then `count`."""
        self.require(key)
        self.count(key)

    def _bucket(self, key: str) -> _Bucket:
        now = self._now()
        bucket = self._buckets.setdefault(key, _Bucket(float(self._maximum), now))
        passed = max(now - bucket.at, 0.0)
        bucket.left = min(bucket.left + passed * self._rate, float(self._maximum))
        bucket.at = now
        self._buckets.move_to_end(key)
        if len(self._buckets) > _MOST_KEYS:
            self._buckets.popitem(last=False)
        return bucket
