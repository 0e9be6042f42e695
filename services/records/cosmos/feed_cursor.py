"""The change cursor: the store, a time, and a position in every range of hashes.

    [identity, time, which range comes first, [position, end of range, ...]]

The ranges lie side by side from the lowest hash to the highest; a position is the number
that the service gives, '' before the first. That is about 45 bytes for each physical
partition.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from services.records.port import CursorLost

__all__ = ["Place", "Section", "read_cursor"]

_SKEW_SECONDS = 24 * 3600
_FIRST, _END = "", "FF"


@dataclass(frozen=True, slots=True)
class Section:
    """Hashes from `low` up to but not including `high`, read up to `position` (an etag of
    the service; '': nothing)."""

    low: str
    high: str
    position: str


@dataclass(frozen=True, slots=True)
class Place:
    """Where a reader is. `first` is the number of the section to begin with."""

    sections: Sequence[Section]
    first: int = 0

    def cursor(self, identity: str, now: int) -> str:
        ordered = sorted(self.sections, key=lambda each: each.low)
        texts = [text for each in ordered for text in (_short(each.position), each.high)]
        first = ordered.index(self.sections[self.first]) if self.sections else 0
        return json.dumps([identity, now, first, texts], separators=(",", ":"))


def read_cursor(identity: str, cursor: str, now: float) -> Place:
    """Raises CursorLost when it is malformed, of another store, or from the future (the
    clocks of the hosts are a day apart, or it was made up)."""
    try:
        owner, time, first, texts = json.loads(cursor)
    except (ValueError, TypeError):
        raise CursorLost("the change cursor is malformed") from None
    if owner != identity:
        raise CursorLost("the change cursor is of another store")
    if not _is_sound(time, first, texts):
        raise CursorLost("the change cursor is malformed")
    if time > now + _SKEW_SECONDS:
        raise CursorLost("the change cursor is newer than the store")
    ends = [_FIRST, *texts[1::2]]
    return Place(
        [
            Section(low, high, _long(position))
            for low, high, position in zip(ends, ends[1:], texts[::2], strict=False)
        ],
        first,
    )


def _is_sound(time: Any, first: Any, texts: Any) -> bool:
    if not (type(time) is int and type(first) is int and isinstance(texts, list) and texts):
        return False
    if len(texts) % 2 or not all(isinstance(text, str) for text in texts):
        return False
    ends = [_FIRST, *texts[1::2]]
    ordered = all(low < high for low, high in pairwise(ends))
    return ordered and ends[-1] == _END and 0 <= first < len(texts) // 2


def _short(position: str) -> str:
    """Etags are numbers in quotes, which would need an escape each."""
    inside = position[1:-1]
    return inside if inside.isdecimal() and position == f'"{inside}"' else position


def _long(text: str) -> str:
    return f'"{text}"' if text.isdecimal() else text
