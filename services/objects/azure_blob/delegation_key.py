"""The user delegation key, which signs URLs: fetched once in twelve hours.

Asking for one at every URL ends in refusals of the service (apache/arrow-rs-object-store
issue 800: 100,000 calls in two hours, a third of them 503). One task of the driver fetches
it, so that there is never more than one call under way; signing takes the key of memory
and wakes that task when a new one is due. What the service answers counts, not what was
asked. Source: Microsoft Learn, "Get User Delegation Key".
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Awaitable, Callable
from contextlib import suppress
from contextvars import Context
from dataclasses import dataclass
from datetime import datetime

from azure.storage.blob import UserDelegationKey

from services.objects.azure_blob.clock import ServiceClock
from services.objects.azure_blob.errors import Refused
from services.objects.port import StoreUnavailable

__all__ = ["BACKDATED_SECONDS", "MARGIN_SECONDS", "DelegationKeys", "HeldKey"]

BACKDATED_SECONDS = 15 * 60
"""Clocks of the service's own machines differ: keys and URLs begin in the past."""
MARGIN_SECONDS = 60
"""What a URL ends before its key does."""
_ASKED_SECONDS = 25 * 3600
_RENEWED_SECONDS = 12 * 3600
_PAUSE_SECONDS = 60.0
_LONGEST_PAUSE = 60.0
_LOG = logging.getLogger("workspace.objects.azure_blob")

Fetch = Callable[[float, float], Awaitable[UserDelegationKey]]
"""From begin and end in unix seconds to the key. Raises Refused."""


@dataclass(frozen=True, slots=True, repr=False)
class HeldKey:
    """A key, with its begin and end, and when a new one is due: in unix seconds of the
    service."""

    key: UserDelegationKey
    start: float
    end: float
    due: float


class DelegationKeys:
    """See the module. `clock` is that of the service. `start` comes first, and may be
    repeated; `current` may be called by any thread."""

    def __init__(self, fetch: Fetch, clock: ServiceClock) -> None:
        self._fetch = fetch
        self._clock = clock
        self._held: HeldKey | None = None
        self._reason = "no key to sign with was fetched"
        self._loop: asyncio.AbstractEventLoop | None = None
        self._task: asyncio.Task[None] | None = None
        self._wake = asyncio.Event()
        self._starting = asyncio.Lock()
        self._closed = False

    async def start(self) -> None:
        """Fetch the first key, once. Raises Refused, StoreUnavailable."""
        async with self._starting:
            if self._task is not None:
                return
            held = await self._fetched()
            if self._closed:
                raise StoreUnavailable("the object store is closed")
            self._held = held
            self._loop = asyncio.get_running_loop()
            # Not in the context of a call: the task lives as long as the driver.
            self._task = self._loop.create_task(self._keep(), context=Context())

    def current(self) -> HeldKey:
        """The key to sign with. Raises StoreUnavailable where none can be used: a URL that
        dies before its time helps nobody."""
        held, now = self._held, self._clock()
        if held is None or now >= held.due:
            self._renew_soon()
        if held is None or now >= held.end - MARGIN_SECONDS:
            raise StoreUnavailable(f"URLs cannot be signed: {self._reason}")
        return held

    async def close(self) -> None:
        """End the task. The key is forgotten."""
        self._closed, self._held = True, None
        task, self._task = self._task, None
        if task is not None:
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task

    def _renew_soon(self) -> None:
        if self._loop is not None and not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._wake.set)

    async def _keep(self) -> None:
        """Look every minute: a process that signs nothing, or slept, has a key too."""
        failures = 0
        while True:
            with suppress(TimeoutError):
                # Not `wait_for`, which drops a cancellation that comes with the wake (3.11).
                async with asyncio.timeout(_PAUSE_SECONDS):
                    await self._wake.wait()
            self._wake.clear()
            if self._held is None or self._clock() < self._held.due:
                continue
            failures = 0 if await self._renewed() else failures + 1
            if failures:
                limit = min(_LONGEST_PAUSE, 2.0**failures)
                await asyncio.sleep(random.uniform(1, limit))  # noqa: S311 - no secret

    async def _renewed(self) -> bool:
        try:
            self._held = await self._fetched()
        except (Refused, StoreUnavailable) as error:
            self._reason = f"the key to sign with was not renewed: {error}"
            _LOG.warning("%s", self._reason)
            return False
        except Exception as error:  # the task must not end before the driver does
            self._reason = f"the key to sign with was not renewed: {type(error).__name__}"
            _LOG.error("%s", self._reason)  # its text may say too much
            return False
        return True

    async def _fetched(self) -> HeldKey:
        now = self._clock()
        key = await self._fetch(now - BACKDATED_SECONDS, now + _ASKED_SECONDS)
        try:
            start, end = _seconds(key.signed_start), _seconds(key.signed_expiry)
            good = bool(key.value and key.signed_oid and key.signed_tid)
        except (TypeError, ValueError) as error:
            raise StoreUnavailable("the service gave a key that is none") from error
        now = self._clock()
        if not good or end <= now + MARGIN_SECONDS or start > now:
            raise StoreUnavailable("the service gave a key that cannot be used")
        due = now + min(_RENEWED_SECONDS, (end - now) / 2)
        return HeldKey(key, start, end, due)


def _seconds(text: str | None) -> float:
    return datetime.fromisoformat(text or "").timestamp()
