"""Objects that nothing named when a collector looked, and since when: rows on the
surface itself, so that every node that collects there goes on with the same."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace

from services.objects.port import ObjectInfo
from services.records.port import ABSENT, ConditionFailed, Index, Item, Match, Put
from services.records.progress import Progress
from services.records.store import RecordStore
from sync_svc.engine.objects.intents import CANDIDATES, candidate_key

__all__ = ["AGE_SECONDS", "CYCLES", "Candidate", "Candidates"]

AGE_SECONDS = 24 * 3600.0
CYCLES = 2
_FAMILY = "collection"
_PAGE = 500
_ROWS_A_COMMIT = 40
_GONE_SECONDS = 3600


@dataclass(frozen=True, slots=True)
class Candidate:
    """`since` and `modified_at` are unix seconds by the store's clock, `cycles` counts
    the collections that found it so, `removing`: it is about to be deleted."""

    key: str
    size: int
    modified_at: float
    since: float
    cycles: int = 1
    removing: bool = False

    def is_ripe(self, now: float) -> bool:
        """Unnamed for two cycles and a day, and not written within a day."""
        return self.cycles >= CYCLES and max(self.since, self.modified_at) + AGE_SECONDS <= now

    def seen_again(self, info: ObjectInfo, now: float) -> Candidate:
        """Found unnamed by another cycle. Counting starts anew when the object was
        written since, or the store's clock was set back."""
        if info.modified_at != self.modified_at or self.since > now:
            return Candidate(info.key, info.size, info.modified_at, now)
        return replace(self, cycles=self.cycles + 1, removing=False)


class Candidates:
    """The rows of one surface. `now` is unix seconds by the store's clock."""

    def __init__(self, records: RecordStore, *, now: float) -> None:
        self._records = records
        self._now = now
        self._items: dict[str, Item] = {}

    async def load(self) -> dict[str, Candidate]:
        """All of them, by storage key."""
        found: dict[str, Candidate] = {}
        after: str | None = None
        progress = Progress("rows")
        while True:
            page = await self._records.run(
                Index.BASE, CANDIDATES, lower="", upper="\x7f", limit=_PAGE, after=after
            )
            for item in page.items:
                row = json.loads(item.body)
                if not item.deleted and "since" in row:
                    self._items[row["key"]] = item
                    found[row["key"]] = Candidate(**row)
            after = page.next
            if after is None:
                return found
            progress.reached(after, page.items)

    async def note(self, suspects: Mapping[str, ObjectInfo]) -> list[Candidate]:
        """Bring the rows in line with what this cycle found; those that are ripe."""
        before = await self.load()
        wanted = [
            before[key].seen_again(info, self._now)
            if key in before
            else Candidate(key, info.size, info.modified_at, self._now)
            for key, info in suspects.items()
        ]
        for at in range(0, len(wanted), _ROWS_A_COMMIT):
            await self._put(wanted[at : at + _ROWS_A_COMMIT])
        await self.drop([key for key in before if key not in suspects])
        return [each for each in wanted if each.is_ripe(self._now) and each.key in self._items]

    async def claim(self, candidate: Candidate) -> bool:
        """Say that it is about to be deleted; False when a run took it back."""
        return await self._put([replace(candidate, removing=True)])

    async def is_claimed(self, key: str) -> bool:
        """Whether the claim still stands. A run that met it takes it back, and the next
        one may name the object already while others of the same cycle are deleted."""
        known, item = self._items.get(key), await self._records.get_row(candidate_key(key))
        return known is not None and item is not None and item.token == known.token

    async def drop(self, keys: Sequence[str]) -> None:
        """It is named, or gone."""
        for key in keys:
            item = self._items.pop(key, None)
            if item is None:
                continue
            gone = Put(
                item.key, Match(item.token), _FAMILY, json.dumps({"key": key}), deleted=True,
                expires_at=int(self._now) + _GONE_SECONDS,
            )
            try:
                await self._records.put_row(gone)
            except ConditionFailed:
                continue  # a run took it back

    async def _put(self, candidates: Sequence[Candidate]) -> bool:
        keys = [candidate_key(each.key) for each in candidates]
        there = [row.item for row in await self._records.rows(keys)]
        puts: list[Put] = []
        for each, item in zip(candidates, there, strict=True):
            known = self._items.get(each.key)
            if known is not None and (item is None or item.token != known.token):
                return False
            condition = Match(item.token) if item else ABSENT
            body = json.dumps(asdict(each), sort_keys=True)
            puts.append(Put(candidate_key(each.key), condition, _FAMILY, body))
        try:
            tokens = await self._records.put_rows(puts)
        except ConditionFailed:
            return False
        for each, put, token in zip(candidates, puts, tokens, strict=True):
            self._items[each.key] = Item(put.key, token, _FAMILY, put.body)
        return True
