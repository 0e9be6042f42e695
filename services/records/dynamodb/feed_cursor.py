"""The change cursor: the store, a time, and a position in every lane.

    [identity, time, {lane: next slot}, [lane, changes already delivered], scan key]

It has a text of about 30 bytes for each lane, that is for each process that was there
at once with others (see lanes.py). Whatever it has not delivered was written at `time`
(unix seconds) or later: older than what lanes keep, it is lost.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Any

from services.records.dynamodb.feed_rows import RETENTION_SECONDS
from services.records.port import CursorLost, Key

__all__ = ["Place", "read_cursor"]

_DAY = 24 * 3600
_OLDEST_SECONDS = RETENTION_SECONDS - 5 * _DAY
_SKEW_SECONDS = _DAY


@dataclass(slots=True)
class Place:
    """Where a reader is. `scan`: the table is walked first, behind this key ('' pair:
    from its beginning); None: the walk is over. Of the row in slot `next[inside]` the
    first `done` changes were delivered."""

    time: int
    next: dict[str, int] = field(default_factory=dict)
    inside: str = ""
    done: int = 0
    scan: Key | None = None

    def cursor(self, identity: str) -> str:
        walk = [self.scan.pk, self.scan.sk] if self.scan is not None else None
        parts = [identity, self.time, self.next, [self.inside, self.done], walk]
        return json.dumps(parts, separators=(",", ":"))

    def where(self) -> tuple[Any, ...]:
        """All of it but the time."""
        return dict(self.next), self.inside, self.done, self.scan


def read_cursor(identity: str, cursor: str, now: float) -> Place:
    """Raises CursorLost when it is malformed, of another store, too old, or from the
    future (the clocks of the hosts are a day apart, or it was made up)."""
    try:
        owner, time, lanes, (inside, done), walk = json.loads(cursor)
        scan = Key(*walk) if walk is not None else None
    except (ValueError, TypeError):
        raise CursorLost("the change cursor is malformed") from None
    if owner != identity:
        raise CursorLost("the change cursor is of another store")
    if not _is_sound(time, lanes, inside, done, scan):
        raise CursorLost("the change cursor is malformed")
    if time > now + _SKEW_SECONDS:
        raise CursorLost("the change cursor is newer than the store")
    if time < now - _OLDEST_SECONDS:
        raise CursorLost("the change cursor is older than the change feed")
    return Place(time, lanes, inside, done, scan)


def _is_sound(time: Any, lanes: Any, inside: Any, done: Any, scan: Key | None) -> bool:
    return (
        _is_count(time)
        and isinstance(lanes, dict)
        and all(map(_is_count, lanes.values()))
        and isinstance(inside, str)
        and _is_count(done)
        and (scan is None or (isinstance(scan.pk, str) and isinstance(scan.sk, str)))
    )


def _is_count(number: Any) -> bool:
    return type(number) is int and number >= 0
