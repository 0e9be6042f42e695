"""Pages of an order of the port as ranges of one text property, and their queries."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from services.records.cosmos.codec import index_text, key_text
from services.records.cosmos.schema import KEY_PROPERTY, index_property
from services.records.port import Index, Key
from services.records.port_texts import position_texts

__all__ = ["Bounds", "bounds_of", "scan_bounds"]

_NEXT = "\x02"
_LAST = "\x7f"  # behind every key, which is printable ASCII


@dataclass(frozen=True, slots=True)
class Bounds:
    """The rows whose `name` lies between `low` (left out itself when `beyond`) and `high`,
    which is left out."""

    name: str
    low: str
    beyond: bool
    high: str
    descending: bool = False

    @property
    def empty(self) -> bool:
        return self.low >= self.high

    def query(self) -> dict[str, Any]:
        """The query and its parameters, as the SDK sends them."""
        name, order = self.name, "DESC" if self.descending else "ASC"
        return {
            "query": (
                f"SELECT * FROM c WHERE c.{name} {'>' if self.beyond else '>='} @low "  # noqa: S608
                f"AND c.{name} < @high ORDER BY c.{name} {order}"
            ),
            "parameters": [
                {"name": "@low", "value": self.low}, {"name": "@high", "value": self.high},
            ],
        }  # fmt: skip


def bounds_of(
    index: Index,
    partition: str,
    lower: str,
    upper: str | None,
    after: str | None,
    *,
    descending: bool,
) -> Bounds:
    """lower <= sort < upper, and beyond the position `after` of an earlier page. Raises
    ValueError when that is not one."""
    start = f"{partition}\x01"
    low, beyond = start + lower, False
    high = partition + _NEXT if upper is None else start + upper
    if after is not None:
        here = _place(index, partition, after)
        if descending:
            high = min(high, here)
        elif here >= low:
            low, beyond = here, True
    return Bounds(index_property(index), low, beyond, high, descending)


def scan_bounds(after: Key | None) -> Bounds:
    """All rows of items behind a key."""
    return Bounds(KEY_PROPERTY, "" if after is None else key_text(after), True, _LAST)


def _place(index: Index, partition: str, after: str) -> str:
    sort, pk, sk = position_texts(after)
    if index is Index.BASE:
        return key_text(Key(partition, sk))
    return index_text(partition, sort, Key(pk, sk))
