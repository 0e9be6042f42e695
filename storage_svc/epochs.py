"""Transfer epochs: how the URLs of one project are revoked at our data plane.

A URL is signed in the epoch of its project and works in no other. The row
`TRANSFERS#{project_id}` counts; a project whose URLs were never revoked has none.
"""

from __future__ import annotations

import json

from services.records.port import ABSENT, ConditionFailed, Key, Match, Put
from services.records.store import RecordStore

__all__ = ["DEPLOYMENT", "Epochs"]

DEPLOYMENT = "*"
"""Stands for every project in the row that says who revoked all URLs, and why."""
_ATTEMPTS = 20


class Epochs:
    """Reads are strong: a revocation counts at once, in every process."""

    def __init__(self, records: RecordStore) -> None:
        self._records = records

    async def of(self, project_id: str) -> str:
        """The epoch of a project; '' before the first revocation."""
        item = await self._records.get_row(_key(project_id))
        return str(json.loads(item.body)["epoch"]) if item is not None else ""

    async def advance(self, project_id: str, *, by: str, note: str) -> None:
        """Begin a new epoch; `by` and `note` are kept with it. Of two at once
        both begin one."""
        for attempt in range(_ATTEMPTS):
            item = await self._records.get_row(_key(project_id))
            epoch = json.loads(item.body)["epoch"] + 1 if item is not None else 1
            body = json.dumps({"epoch": epoch, "by": by, "note": note})
            condition = ABSENT if item is None else Match(item.token)
            try:
                await self._records.put_row(
                    Put(_key(project_id), condition, "transfer_epoch", body)
                )
            except ConditionFailed:
                if attempt + 1 == _ATTEMPTS:
                    raise
            else:
                return


def _key(project_id: str) -> Key:
    return Key(f"TRANSFERS#{project_id}", "EPOCH")
