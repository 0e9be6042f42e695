"""A lease: at most one holder works, and a holder that died is replaced.

A row that says who holds it and until when, by server time. It is taken and
renewed by conditional writes. Clocks of replicas may differ: what the holder
writes must be conditional too, so that a former holder's late write fails.
"""

from __future__ import annotations

import asyncio
import json
import logging
import time
from collections.abc import Awaitable, Callable

from services.model.errors import WorkspaceError
from services.records.port import ABSENT, Condition, ConditionFailed, Item, Key, Match, Put
from services.records.store import RecordStore

__all__ = ["LEASE_SECONDS", "Lease"]

LEASE_SECONDS = 30.0
_MARGIN = 0.2
_log = logging.getLogger("workspace.lease")


class Lease:
    """The lease in row `key`, for `holder` (unique to a process). `now` is unix
    seconds, `seconds` how long a holder that stays silent is waited for.

    On a store that one process owns alone (`multi_process` False) any other
    holder is a former process that is dead: its lease is taken at once.
    """

    def __init__(
        self,
        records: RecordStore,
        key: Key,
        *,
        holder: str,
        now: Callable[[], float],
        seconds: float = LEASE_SECONDS,
    ) -> None:
        self._records = records
        self._key = key
        self._holder = holder
        self._now = now
        self._seconds = seconds
        self._token: str | None = None
        self._deadline = 0.0

    @property
    def held(self) -> bool:
        """Taken or renewed less than `seconds` ago, by this process's own clock."""
        return self._token is not None and time.monotonic() < self._deadline

    async def acquire(self) -> bool:
        """Take the lease if it is free, expired or one's own. Raises
        BACKEND_UNAVAILABLE."""
        item = await self._records.get_row(self._key)
        if item is not None and not self._may_take(item):
            return False
        return await self._write(Match(item.token) if item else ABSENT)

    async def renew(self) -> bool:
        """False when somebody else took it."""
        return self._token is not None and await self._write(Match(self._token))

    async def is_taken(self) -> bool:
        """Whether somebody else took it, as its row says now. Raises
        BACKEND_UNAVAILABLE."""
        item = await self._records.get_row(self._key)
        return item is not None and json.loads(item.body)["holder"] != self._holder

    async def release(self) -> None:
        """Let others have it now. Never raises: it would expire anyway."""
        token, self._token = self._token, None
        if token is None:
            return
        try:
            await self._records.put_row(self._row(Match(token), until=0.0))
        except (ConditionFailed, WorkspaceError):
            return

    async def hold(self, work: Callable[[], Awaitable[None]]) -> bool:
        """Run `work` under the lease, which is renewed meanwhile; cancel it when
        the lease is lost. False when somebody else holds it, else True when the
        work ended. Raises what the work raises."""
        if not await self.acquire():
            return False
        working = asyncio.ensure_future(work())
        keeping = asyncio.ensure_future(self._keep())
        try:
            await asyncio.wait([working, keeping], return_when=asyncio.FIRST_COMPLETED)
        finally:
            keeping.cancel()
            lost = not working.done()
            working.cancel()
            await asyncio.gather(working, keeping, return_exceptions=True)
            await self.release()
        if lost:
            _log.warning("the lease %s was lost", self._key.pk)
        elif not working.cancelled():
            working.result()
        return not lost

    async def _keep(self) -> None:
        """Renew until the lease is lost: taken, or not renewable in time."""
        while self.held:
            await asyncio.sleep(self._seconds / 3)
            try:
                if not await self.renew():
                    return
            except WorkspaceError:
                _log.warning("the lease %s cannot be renewed now", self._key.pk)

    def _may_take(self, item: Item) -> bool:
        row = json.loads(item.body)
        if row["holder"] == self._holder or row["until"] <= self._now():
            return True
        return not self._records.driver.capabilities.multi_process

    async def _write(self, condition: Condition) -> bool:
        # Counted from before the write: others count from its content.
        deadline = time.monotonic() + self._seconds * (1 - _MARGIN)
        row = self._row(condition, until=self._now() + self._seconds)
        try:
            self._token = await self._records.put_row(row)
        except ConditionFailed:
            self._token = None
            return False
        self._deadline = deadline
        return True

    def _row(self, condition: Condition, *, until: float) -> Put:
        body = json.dumps({"holder": self._holder, "until": until})
        return Put(self._key, condition, "lease", body)
