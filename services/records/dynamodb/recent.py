"""Index entries that DynamoDB may not show yet.

Its indexes follow the table with a delay that nothing bounds. What this process wrote,
or learnt from the change feed, in the last seconds is kept here, and a query takes it
as entries beside those of the index (reading.py verifies both alike by strong reads).
So a process reads its own writes in every index, and those of the others as soon as
the feed delivered them.
"""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable, Iterable

from services.records.dynamodb.codec import Attributes, index_entry, key_attributes, key_of
from services.records.dynamodb.ranges import KeyRange
from services.records.dynamodb.schema import gsi_keys
from services.records.port import Index, Item, Key, Put

__all__ = ["KEPT_SECONDS", "RecentEntries", "entry_place"]

KEPT_SECONDS = 60.0
"""An index that is not throttled follows within a second."""
_MOST = 50_000

_Place = tuple[Index, str]
_Entry = tuple[str, Key]


class RecentEntries:
    """At most `most` entries of the last `seconds`; `clock` is monotonic."""

    def __init__(
        self,
        *,
        seconds: float = KEPT_SECONDS,
        most: int = _MOST,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._seconds = seconds
        self._most = most
        self._clock = clock
        self._until: OrderedDict[tuple[_Place, _Entry], float] = OrderedDict()
        self._places: dict[_Place, set[_Entry]] = {}

    def __len__(self) -> int:
        return len(self._until)

    def note(self, rows: Iterable[Put | Item]) -> None:
        """These rows are written, or may be."""
        until = self._clock() + self._seconds
        for row in rows:
            for index, (partition, sort) in row.indexes.items():
                place, entry = (index, partition), (index_entry(sort, row.key), row.key)
                self._until[(place, entry)] = until
                self._until.move_to_end((place, entry))
                self._places.setdefault(place, set()).add(entry)
        self._forget()

    def within(self, found: KeyRange) -> list[Attributes]:
        """Entries inside of a range, in its order, as the index would show them."""
        self._forget()
        entries = [
            entry
            for entry in self._places.get((found.index, found.partition), ())
            if _is_inside(entry[0], found)
        ]
        entries.sort(reverse=found.descending)
        names = gsi_keys(found.index)
        return [
            {
                **key_attributes(key),
                names[0]: {"S": found.partition},
                names[1]: {"S": text},
            }
            for text, key in entries
        ]

    def _forget(self) -> None:
        now = self._clock()
        while self._until:
            (place, entry), until = next(iter(self._until.items()))
            if until > now and len(self._until) <= self._most:
                return
            del self._until[(place, entry)]
            left = self._places[place]
            left.discard(entry)
            if not left:
                del self._places[place]


def entry_place(found: KeyRange, entry: Attributes) -> tuple[str, Key]:
    """Where an entry comes in the order of its index."""
    return entry[found.sort_attribute]["S"], key_of(entry)


def _is_inside(text: str, found: KeyRange) -> bool:
    """All keys are ASCII: texts compare as bytes do."""
    if found.high is not None and text >= found.high:
        return False
    return text > found.low if found.beyond else text >= found.low
