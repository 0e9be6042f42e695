"""From batches of rows to those that a run looks at: synced, in scope, each once,
with the ancestors that are not there yet."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass

from services.model.families import FAMILIES
from services.records.port import Item
from services.records.siblings import Rows
from sync_svc.engine.batches import Batch
from sync_svc.engine.parents import Ancestors
from sync_svc.engine.reading import is_foreign, is_synced
from sync_svc.engine.scope import Scope

__all__ = ["Filter", "selected"]


@dataclass(frozen=True, slots=True)
class Filter:
    """`foreign`: rows of families that this software does not know are looked at,
    too (and end in quarantine). `origin`: rows that are exactly what that instance
    has are passed over ('' for none)."""

    scope: Scope
    foreign: bool = False
    origin: str = ""

    def wants(self, item: Item) -> bool:
        """Whether a row may be of interest, before its place is looked up."""
        if item.family not in FAMILIES:
            return self.foreign and is_foreign(item)
        if not is_synced(item):
            return False
        return not (self.origin and f'"o":"{self.origin}"' in item.stamp)


async def selected(
    batches: AsyncIterator[Batch], which: Filter, ancestors: Ancestors
) -> AsyncIterator[Batch]:
    """The same batches with only what is to be looked at."""
    async for batch in batches:
        wanted = [each for each in batch.rows if each.item and which.wants(each.item)]
        rows = await _in_scope(which.scope, ancestors.unseen(wanted))
        above = await ancestors.of(rows) if rows else []
        above = [each for each in above if each.item and which.wants(each.item)]
        if above:
            rows = [*await _in_scope(which.scope, above), *rows]
        yield Batch(rows, batch.cursor, batch.last)


async def _in_scope(scope: Scope, rows: Sequence[Rows]) -> list[Rows]:
    if scope.is_everything:
        return list(rows)
    chosen = await scope.select([each.item for each in rows if each.item])
    keys = {item.key for item in chosen}
    return [each for each in rows if each.key in keys]
