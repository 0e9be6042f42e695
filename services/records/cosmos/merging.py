"""Rows of all physical partitions in one order, and no more of them than needed.

Each partition is asked at once for as many rows as are wanted, which is one request where
there is one partition; the merge takes the next row of any until there are enough.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from services.records.cosmos.bounds import Bounds
from services.records.cosmos.calls import ContainerCalls, KeyRange
from services.records.cosmos.codec import Document
from services.records.port import Item
from services.records.retrying import Deadline, all_of

__all__ = ["merged"]


@dataclass(slots=True)
class _Stream:
    """The rows of one physical partition that were read and not taken yet."""

    range_id: str
    rows: deque[Document] = field(default_factory=deque)
    continuation: str | None = None
    started: bool = False

    @property
    def needs_more(self) -> bool:
        """Whether its next row is not known."""
        return not self.rows and (not self.started or self.continuation is not None)


async def merged(
    calls: ContainerCalls,
    bounds: Bounds,
    wanted: int,
    visible: Callable[[Document], Item | None],
    deadline: Deadline,
) -> list[Item]:
    """The first `wanted` visible items in order. When a partition is split meanwhile, all
    of it is read again: parts of an old partition have no order together."""
    return await calls.over_ranges(
        lambda ranges: _merge(calls, ranges, bounds, wanted, visible, deadline), deadline
    )


async def _merge(
    calls: ContainerCalls,
    ranges: Sequence[KeyRange],
    bounds: Bounds,
    wanted: int,
    visible: Callable[[Document], Item | None],
    deadline: Deadline,
) -> list[Item]:
    streams = [_Stream(each.id) for each in ranges]
    items: list[Item] = []
    query, pick = bounds.query(), max if bounds.descending else min
    while len(items) < wanted:
        await _fill(calls, query, streams, wanted - len(items), deadline)
        heads = [stream for stream in streams if stream.rows]
        if not heads:
            break
        first = pick(heads, key=lambda stream: str(stream.rows[0][bounds.name]))
        if item := visible(first.rows.popleft()):
            items.append(item)
    return items


async def _fill(
    calls: ContainerCalls,
    query: dict[str, Any],
    streams: Sequence[_Stream],
    most: int,
    deadline: Deadline,
) -> None:
    """Until the next row of each partition is known."""
    while short := [stream for stream in streams if stream.needs_more]:
        await all_of([_more(calls, query, stream, most, deadline) for stream in short])


async def _more(
    calls: ContainerCalls, query: dict[str, Any], stream: _Stream, most: int, deadline: Deadline
) -> None:
    page = await calls.repeated(
        lambda: calls.page(query, most, stream.continuation, range_id=stream.range_id),
        deadline,
        of_range=True,
    )
    stream.started, stream.continuation = True, page.continuation
    stream.rows.extend(page.documents)
