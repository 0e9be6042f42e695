"""A surface whose every call is counted, held to its rates, and repeated when the
provider did not answer.

Repeated with full jitter, five tries at most: calls that failed without effect, and
calls whose repetition is harmless. Not repeated here: a commit that may have happened
(the record store settles it by reading back), and `write` of an object, whose bytes
are used up (the mover of objects begins again).
"""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Callable
from dataclasses import replace

from services.objects.store import ObjectStore
from sync_svc.engine.task import Tally
from sync_svc.surfaces.backoff import Backoff, Sleep
from sync_svc.surfaces.limited_objects import LimitedObjects
from sync_svc.surfaces.limited_records import LimitedRecords
from sync_svc.surfaces.rates import Rates
from sync_svc.surfaces.surface import Surface
from sync_svc.surfaces.valve import Valve

__all__ = ["limited"]


def limited(
    surface: Surface,
    *,
    tally: Tally,
    rates: Rates | None = None,
    monotonic: Callable[[], float] = time.monotonic,
    sleep: Sleep = asyncio.sleep,
    rng: random.Random | None = None,
) -> Surface:
    """The surface for the length of a run. Calls that are repeated count in
    `tally.counts.retries`. `monotonic` is in seconds, `rng` jitters. Closing it
    closes the surface itself."""

    def retried() -> None:
        tally.counts.retries += 1

    valve = Valve.of(
        rates or Rates(),
        Backoff(sleep=sleep, rng=rng or random.SystemRandom(), retried=retried),
        monotonic=monotonic,
        sleep=sleep,
    )
    return replace(
        surface,
        records=surface.records.through(LimitedRecords(surface.records.driver, valve)),
        objects=ObjectStore(LimitedObjects(surface.objects.driver, valve)),
    )
