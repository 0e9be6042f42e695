"""The collection mark of a store: a point of its history that nodes say they passed.

    COLLECT#tombstones STATE   {number, cursor, made_ms, ...}

Marks are counted, not timed. A node reads the number before it pulls and writes it
into its node row afterwards: then it has everything that was in the store when the
mark was made. No clock takes part.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields

from services.model.errors import Reason, WorkspaceError
from services.records.port import ABSENT, Condition, Item, Key, Match, Put

__all__ = ["MARK_KEY", "Mark", "Relayed", "mark_of", "mark_put"]

MARK_KEY = Key("COLLECT#tombstones", "STATE")
_MOST = 2**53


@dataclass(frozen=True, slots=True)
class Relayed:
    """How far one connection is with the mark `number` of the local store. A push
    began after the mark was made, when the one before had ended at `began` (unix
    milliseconds). Once a push has ended since, what the mark covers is in the surface,
    and `needed` is the first mark there that is later. `passed`: every node of the
    surface has passed that one."""

    number: int = 0
    began: int = 0
    needed: int = 0
    passed: bool = False


@dataclass(frozen=True, slots=True)
class Mark:
    """`cursor` is the tail of the store's feed when the mark was made, at `made_ms`.
    `relayed` is used in a store of one's own, by connection."""

    number: int = 0
    cursor: str = ""
    made_ms: int = 0
    relayed: Mapping[str, Relayed] = field(default_factory=dict)


def mark_of(item: Item | None) -> Mark:
    """What the row says; a store without one has mark 0. Raises INVALID_STATE when it
    is damaged: that of a surface may be anything."""
    if item is None:
        return Mark()
    names = {each.name for each in fields(Mark)}
    try:
        raw = {name: value for name, value in json.loads(item.body).items() if name in names}
        relayed = {c: Relayed(**each) for c, each in raw.get("relayed", {}).items()}
        mark = Mark(**raw | {"relayed": relayed})
    except (ValueError, TypeError, AttributeError, RecursionError) as error:
        raise _damaged() from error
    if not _is_sound(mark):
        raise _damaged()
    return mark


def _is_sound(mark: Mark) -> bool:
    numbers = [mark.number, mark.made_ms]
    for each in mark.relayed.values():
        numbers += [each.number, each.began, each.needed]
    return isinstance(mark.cursor, str) and all(
        type(each) is int and 0 <= each < _MOST for each in numbers
    )


def _damaged() -> WorkspaceError:
    return WorkspaceError(
        Reason.ERROR_REASON_INVALID_STATE,
        "the collection mark of the store is damaged; remove its row, and collection begins anew",
    )


def mark_put(mark: Mark, there: Item | None) -> Put:
    """Replace what was read."""
    condition: Condition = Match(there.token) if there else ABSENT
    return Put(MARK_KEY, condition, "collection", json.dumps(asdict(mark), sort_keys=True))
