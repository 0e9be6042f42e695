"""Transfer epochs: how the URLs of one project, or of all, are revoked at our data plane.

A URL is signed in the epoch of its project and of the deployment, and works in no other.
The row `TRANSFERS#{project_id}` counts, that of `DEPLOYMENT` for all projects; where URLs
were never revoked there is none. The deployment's reaches processes that do not share the
folder of the signing keys (`WM_KEYS_SECRET`), and those that are started later.
"""

from __future__ import annotations

import json

from services.records.port import ABSENT, ConditionFailed, Item, Key, Match, Put
from services.records.store import RecordStore

__all__ = ["DEPLOYMENT", "Epochs"]

DEPLOYMENT = "*"
"""Stands for every project."""
_ATTEMPTS = 20


class Epochs:
    """Reads are strong: a revocation counts at once, in every process."""

    def __init__(self, records: RecordStore) -> None:
        self._records = records

    async def of(self, project_id: str) -> str:
        """The epoch of a project's URLs, for comparison only; '' before the first
        revocation of its own or of the deployment's."""
        own, common = await self._records.get_rows([_key(project_id), _key(DEPLOYMENT)])
        return ".".join([_count(own), _count(common)]).rstrip(".")

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


def _count(item: Item | None) -> str:
    return str(json.loads(item.body)["epoch"]) if item is not None else ""


def _key(project_id: str) -> Key:
    return Key(f"TRANSFERS#{project_id}", "EPOCH")
