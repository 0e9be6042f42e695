"""Versions of one record as merging sees them, and who of them saw what of whom."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from services.model.canonical import canonical_json
from services.model.families import Family
from services.model.merging.content import content_of
from services.model.stamp import Dot
from services.model.versions import Version

__all__ = ["Side", "agree", "leading", "share_past", "sides_of"]

_ABSENT = ""


@dataclass(frozen=True, slots=True)
class Side:
    """A live version, read: `members` is its body, `texts` has the canonical text of
    each content field, to compare by (1, 1.0 and true are equal in Python)."""

    version: Version
    members: Mapping[str, Any]
    content: Mapping[str, Any]
    texts: Mapping[str, str]

    def dot_of(self, name: str) -> Dot | None:
        """The last writer of a content field; None if nobody ever set it."""
        dot = self.version.fields.get(name)
        return self.version.dot if dot is None and name in self.content else dot

    def saw(self, name: str, other: Side) -> bool:
        """Whether the author of this version saw the other's value of a field. That
        nobody ever set it was seen by who shares any past with the other."""
        dot = other.dot_of(name)
        return share_past(self, other) if dot is None else self.version.saw(dot)

    def text_of(self, names: Iterable[str]) -> tuple[str, ...]:
        """The values of some fields, to compare."""
        return tuple(self.texts.get(name, _ABSENT) for name in names)


def sides_of(family: Family, versions: Iterable[Version]) -> list[Side]:
    """Live versions, the winner first."""
    live = [each for each in versions if not each.deleted]
    return [_side(family, v) for v in sorted(live, key=lambda v: (v.hlc, v.dot), reverse=True)]


def _side(family: Family, version: Version) -> Side:
    members = json.loads(version.body)
    content = content_of(family, members)
    texts = {name: canonical_json(value) for name, value in content.items()}
    return Side(version, members, content, texts)


def share_past(one: Side, other: Side) -> bool:
    """Whether the two have a write of this record in common that both saw."""
    return not one.version.vv.keys().isdisjoint(other.version.vv)


def leading(sides: Sequence[Side], names: Sequence[str]) -> list[Side]:
    """The sides whose values of these fields nobody else overwrote, having seen them.

    Field f of a wins over that of b if a saw b's and b did not see a's. Where
    decisions went in a circle all are left.
    """
    left = [
        side
        for side in sides
        if not any(_overwrote(other, side, names) for other in sides if other is not side)
    ]
    return left or list(sides)


def _overwrote(one: Side, other: Side, names: Sequence[str]) -> bool:
    return all(one.saw(name, other) for name in names) and not all(
        other.saw(name, one) for name in names
    )


def agree(sides: Sequence[Side], names: Sequence[str]) -> bool:
    """Whether all have the same values of these fields."""
    first = sides[0].text_of(names)
    return all(side.text_of(names) == first for side in sides[1:])
