"""How many uploads of a home may be under way: who announces and never sends costs no more.

Each has a row and, where it goes in parts, an upload at the store, until it ends or a day
has passed. They are counted now and then, not at each announcement: of what was free, a
process gives half away before it counts again. So several processes come close to the
limit, and somewhat over it when all begin at once.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import ClassVar

from services.model.errors import Reason, WorkspaceError
from services.records.port import Index
from services.records.progress import Progress
from services.records.store import RecordStore

__all__ = ["MOST_OPEN", "OpenUploads"]

MOST_OPEN = 10_000
_HOMES = 10_000
_PAGE = 1000


class OpenUploads:
    """The count of a process. At most `most` uploads of one home are under way."""

    most: ClassVar[int] = MOST_OPEN

    def __init__(self, records: RecordStore) -> None:
        self._records = records
        self._free: OrderedDict[str, int] = OrderedDict()

    async def require(self, usage_pk: str) -> None:
        """One more upload of the home with this partition (see `usage`). Raises
        LIMIT_EXCEEDED when there are too many that have not ended."""
        free = self._free.pop(usage_pk, 0)
        if free < 1:
            free = self.most - await self._open(usage_pk)
            if free < 1:
                raise _too_many(self.most)
            free = (free + 1) // 2
        self._free[usage_pk] = free - 1
        if len(self._free) > _HOMES:
            self._free.popitem(last=False)

    async def _open(self, usage_pk: str) -> int:
        """Rows of uploads that have not ended, counted up to the limit."""
        found, after, progress = 0, None, Progress("uploads")
        while found < self.most:
            page = await self._records.run(
                Index.BASE, usage_pk, lower="RESERVED#", upper="RESERVED$", limit=_PAGE,
                after=after,
            )
            found += sum(not item.deleted for item in page.items)
            after = page.next
            if after is None:
                break
            progress.reached(after)
        return found


def _too_many(most: int) -> WorkspaceError:
    return WorkspaceError(
        Reason.ERROR_REASON_LIMIT_EXCEEDED,
        f"{most} uploads are under way in this workspace or account, the most there may be; "
        "complete or abort some, others end a day after they were announced",
        metadata={"limit": "uploads_under_way", "maximum": str(most)},
    )
