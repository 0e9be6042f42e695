"""What is more restrictive: ranks of values, greater ranks first in a merge.

Values are those of stored bodies (JSON): names of enums, absent for the default. A
value that this version does not know ranks above all others: fail closed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any

from workspace.common.v1.permission_pb2 import Permission

from services.model.permissions import ALL, OWNER, VIEW

__all__ = [
    "Content",
    "Rank",
    "common_items",
    "common_permissions",
    "earlier",
    "later",
    "listed",
    "lower_limit",
    "when",
    "when_not",
]

Content = Mapping[str, Any]
Rank = Callable[[Content], Any]
"""Of the content of one version; answers of one rank compare with each other."""


def listed(field: str, *values: str, prefix: str = "") -> Rank:
    """By the order of `values`, the least restrictive first; '' is the default."""
    order = {f"{prefix}{value}" if value else "": at for at, value in enumerate(values)}
    return lambda content: order.get(content.get(field, ""), len(order))


def when(field: str) -> Rank:
    """Set is more restrictive than not set."""
    return lambda content: bool(content.get(field))


def when_not(field: str) -> Rank:
    """Not set is more restrictive than set."""
    return lambda content: not content.get(field)


def earlier(field: str) -> Rank:
    """The earlier time is more restrictive; no time is never."""
    return lambda content: (field in content, [-part for part in _time(content.get(field))])


def later(field: str) -> Rank:
    """The later time is more restrictive; no time is the beginning."""
    return lambda content: _time(content.get(field))


def lower_limit(field: str) -> Rank:
    """The smaller number is more restrictive; 0 is no limit."""

    def rank(content: Content) -> tuple[bool, int]:
        limit = int(content.get(field, 0))
        return (limit > 0, -limit)

    return rank


def common_permissions(values: Sequence[Any]) -> list[str]:
    """What every one of several sets of project permissions gives, as stored:
    `owner` alone says everything, any other implies `view`."""
    sets = [_expanded(value or ()) for value in values]
    common = frozenset.intersection(*sets)
    return [Permission.Name(p) for p in ([OWNER] if OWNER in common else sorted(common))]  # type: ignore[arg-type]


def common_items(values: Sequence[Any]) -> list[Any]:
    """What is in every one of several lists, in the order of the first."""
    return [item for item in values[0] or () if all(item in (each or ()) for each in values)]


def _expanded(names: Iterable[Any]) -> frozenset[int]:
    known = {Permission.Value(name) for name in names if name in Permission.keys()}  # noqa: SIM118
    if OWNER in known:
        return ALL
    return frozenset(known | {VIEW}) if known else frozenset()


def _time(text: Any) -> list[int]:
    """Seconds and nanoseconds of a JSON timestamp (RFC 3339, UTC)."""
    if not isinstance(text, str):
        return [0, 0]
    seconds, _, fraction = text.removesuffix("Z").partition(".")
    whole = datetime.fromisoformat(seconds + "+00:00")
    return [int(whole.timestamp()), int((fraction or "0").ljust(9, "0"))]
