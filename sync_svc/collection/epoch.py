"""One collector of a surface at a time, and a former one is found out.

The lease saves work. Each holder begins a new epoch by compare-and-swap, and reads
it again before each removal: who was taken for dead and comes back stops there.
"""

from __future__ import annotations

import json

from services.records.lease import Lease
from services.records.port import ABSENT, ConditionFailed, Key, Match, Put
from services.records.store import RecordStore

__all__ = ["Epoch", "LostEpoch"]


class LostEpoch(Exception):
    """Somebody else collects this surface now."""


class Epoch:
    """The epoch in the row `STATE` of partition `pk`, under a lease that is held."""

    def __init__(self, records: RecordStore, pk: str, lease: Lease, *, holder: str) -> None:
        self._records = records
        self._key = Key(pk, "STATE")
        self._lease = lease
        self._holder = holder
        self._number = 0

    async def begin(self) -> None:
        """Start an epoch of one's own. Raises LostEpoch."""
        item = await self._records.get_row(self._key)
        self._number = json.loads(item.body)["epoch"] + 1 if item else 1
        body = json.dumps({"epoch": self._number, "holder": self._holder})
        put = Put(self._key, Match(item.token) if item else ABSENT, "collection", body)
        try:
            await self._records.put_row(put)
        except ConditionFailed:
            raise LostEpoch from None

    async def check(self) -> None:
        """Raises LostEpoch unless this is still the epoch, and the lease is held."""
        item = await self._records.get_row(self._key)
        row = json.loads(item.body) if item else {}
        if not self._lease.held or row != {"epoch": self._number, "holder": self._holder}:
            raise LostEpoch
