"""Through which all calls of one surface go: counts, rates, repetitions."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import TypeVar

from services.objects.port import StoreUnavailable
from services.records.port import DriverUnavailable
from sync_svc.surfaces.backoff import Backoff, Sleep
from sync_svc.surfaces.rates import Bucket, Rates

__all__ = ["Traffic", "Valve"]

T = TypeVar("T")


@dataclass(slots=True)
class Traffic:
    """What went through so far. Bytes are those of bodies, stamps and objects."""

    record_requests: int = 0
    object_requests: int = 0
    bytes_read: int = 0
    bytes_written: int = 0


@dataclass(frozen=True, slots=True)
class Valve:
    """See the module."""

    requests: Bucket
    reads: Bucket
    writes: Bucket
    backoff: Backoff
    traffic: Traffic = field(default_factory=Traffic)

    @classmethod
    def of(
        cls, rates: Rates, backoff: Backoff, *, monotonic: Callable[[], float], sleep: Sleep
    ) -> Valve:
        """With full buckets."""

        def bucket(rate: float) -> Bucket:
            return Bucket(rate, monotonic=monotonic, sleep=sleep)

        return cls(bucket(rates.requests), bucket(rates.bytes), bucket(rates.bytes), backoff)

    async def records(self, call: Callable[[], Awaitable[T]], *, reads: bool = True) -> T:
        """A call of the record driver. One that writes is repeated only when it is
        sure that it had no effect."""
        attempt = 0
        while True:
            await self.requests.take(1)
            self.traffic.record_requests += 1
            try:
                return await call()
            except DriverUnavailable as error:
                if (error.ambiguous and not reads) or not await self.backoff.wait(attempt):
                    raise
            attempt += 1

    async def objects(self, call: Callable[[], Awaitable[T]], *, again: bool = True) -> T:
        """A call of the object driver; with `again` it may be repeated."""
        attempt = 0
        while True:
            await self.requests.take(1)
            self.traffic.object_requests += 1
            try:
                return await call()
            except StoreUnavailable:
                if not again or not await self.backoff.wait(attempt):
                    raise
            attempt += 1

    async def read(self, count: int) -> None:
        """So many bytes came."""
        self.traffic.bytes_read += count
        await self.reads.take(count)

    async def write(self, count: int) -> None:
        """So many bytes are about to go."""
        self.traffic.bytes_written += count
        await self.writes.take(count)
