"""How often one caller may do something: a token bucket per key, in this process.

For what must not be done without end (guessed tokens, looked-up addresses, calls at all).
A deployment of several processes allows as many times more.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from itertools import islice

from services.model.errors import Reason, WorkspaceError

__all__ = ["RateLimiter"]

_MOST_KEYS = 10_000
_LOOKED_AT = 16
"""Of the buckets used longest ago, when one has to go."""


@dataclass(slots=True)
class _Bucket:
    """What is left, as of a time in seconds."""

    left: float
    at: float


class RateLimiter:
    """At most `maximum` events of a key at once, and `maximum` in each `period`
    seconds after that. `limit` names the limit in errors; `now` is in seconds.

    Of more than 10,000 keys one of those used longest ago is forgotten, of these the one
    with the most left: who has used up his own does not get it back by coming under
    thousands of other names."""

    def __init__(
        self, limit: str, *, maximum: int, period: float, now: Callable[[], float]
    ) -> None:
        self._limit = limit
        self._maximum = maximum
        self._full = float(maximum)
        self._rate = maximum / period
        self._period = period
        self._now = now
        self._all_full_at = 0.0
        self._buckets: OrderedDict[str, _Bucket] = OrderedDict()

    def is_idle(self) -> bool:
        """Whether every key has everything left: nothing was counted for a whole period."""
        if self._buckets and self._now() >= self._all_full_at:
            self._buckets.clear()
        return not self._buckets

    def require(self, key: str) -> None:
        """Raises LIMIT_EXCEEDED when nothing is left. Counts nothing."""
        bucket = self._buckets.get(key)
        if bucket is not None:
            self._refill(key, bucket)
            self._check(bucket)

    def count(self, key: str) -> None:
        """One event more. Raises nothing: the event has happened."""
        bucket = self._bucket(key)
        bucket.left = max(bucket.left - 1, 0.0)

    def take(self, key: str) -> None:
        """`require`, then `count`."""
        bucket = self._bucket(key)
        if bucket.left < 1:
            self._check(bucket)
        bucket.left -= 1

    def _check(self, bucket: _Bucket) -> None:
        if bucket.left < 1:
            raise WorkspaceError(
                Reason.ERROR_REASON_LIMIT_EXCEEDED,
                f"too often: at most {self._maximum} {self._limit}; wait and repeat",
                metadata={"limit": self._limit, "maximum": str(self._maximum)},
                retry_after=(1 - bucket.left) / self._rate,
            )

    def _bucket(self, key: str) -> _Bucket:
        bucket = self._buckets.get(key)
        if bucket is not None:
            self._refill(key, bucket)
            return bucket
        if len(self._buckets) >= _MOST_KEYS:
            self._forget()
        now = self._now()
        self._all_full_at = now + self._period
        made = self._buckets[key] = _Bucket(self._full, now)
        return made

    def _refill(self, key: str, bucket: _Bucket) -> None:
        now = self._now()
        self._all_full_at = now + self._period
        bucket.left = self._left(bucket, now)
        bucket.at = now
        self._buckets.move_to_end(key)

    def _left(self, bucket: _Bucket, now: float) -> float:
        passed = now - bucket.at
        return min(bucket.left + passed * self._rate, self._full) if passed > 0 else bucket.left

    def _forget(self) -> None:
        now = self._now()
        oldest = islice(self._buckets.items(), _LOOKED_AT)
        key, _ = max(oldest, key=lambda each: self._left(each[1], now))
        del self._buckets[key]
