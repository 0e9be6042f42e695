"""The change feed of Cosmos DB, in its latest version mode.

Every range of hashes has a feed of its own, in the order of commits, with the current
state of each row that changed ("Change feed modes in Azure Cosmos DB"). What was written
again has moved to the end of it. Rows that the service removed do not show; they had
expired a day before. A page never ends inside of a transaction, so it may hold some rows
more than asked for. Where a partition was split its parts go on from its position.
"""

from __future__ import annotations

import base64
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Any

from services.records.cosmos.calls import ContainerCalls
from services.records.cosmos.codec import Document, visible
from services.records.cosmos.failing import NotOfTheService
from services.records.cosmos.feed_cursor import Place, Section, read_cursor
from services.records.port import ChangePage, Item
from services.records.retrying import Deadline, all_of

__all__ = ["Feed", "sdk_continuation", "sections_of"]

_SECONDS, _ENOUGH_SECONDS = 20.0, 8.0
_QUIET_ROUNDS = 3
_BEGINNING, _NOW = "Beginning", "Now"


@dataclass(frozen=True, slots=True)
class _Read:
    """Rows of a section, and what it became: itself further on, or its parts."""

    documents: Sequence[Document]
    sections: Sequence[Section]


class Feed:
    """Changes of one container. `identity` reads that of the store; `now` tells unix
    seconds, whole ones."""

    def __init__(
        self,
        calls: ContainerCalls,
        *,
        identity: Callable[[], Awaitable[str]],
        now: Callable[[], int],
    ) -> None:
        self._calls = calls
        self._identity = identity
        self._now = now

    async def changes(self, cursor: str | None, limit: int) -> ChangePage:
        """See the port; a page may be longer by the rest of a transaction."""
        deadline = Deadline(_SECONDS)
        identity, now = await self._identity(), self._now()
        if cursor is None:
            place = await self._beginning(deadline)
        else:
            place = read_cursor(identity, cursor, now)
        items, place, complete = await self._read(place, limit, deadline)
        return ChangePage(items, place.cursor(identity, now), complete)

    async def tail(self) -> str:
        """See the port."""
        deadline = Deadline(_SECONDS)
        identity, start = await self._identity(), await self._beginning(deadline)
        found = await all_of([self._page(each, 1, deadline, _NOW) for each in start.sections])
        sections = [section for read in found for section in read.sections]
        return Place(sections).cursor(identity, self._now())

    async def _beginning(self, deadline: Deadline) -> Place:
        ranges = await self._calls.ranges(deadline)
        return Place([Section(each.low, each.high, "") for each in ranges])

    async def _read(
        self, place: Place, limit: int, deadline: Deadline
    ) -> tuple[list[Item], Place, bool]:
        """All sections at once, again and again until there are `limit` items, or none has
        more, or it is enough: there may be much that nobody sees any more. What one read too
        much is read again next time, that section first.

        A section has no more when it has no rows and stays where it was. No rows alone do
        not say so: 304 would, but the SDK makes it an empty page like another."""
        enough, quiet = Deadline(_ENOUGH_SECONDS), 0
        waiting = [*place.sections[place.first :], *place.sections[: place.first]]
        drained: list[Section] = []
        items: list[Item] = []
        while waiting and len(items) < limit and quiet < _QUIET_ROUNDS:
            share = max(1, (limit - len(items)) // len(waiting))
            found = await all_of([self._page(each, share, deadline) for each in waiting])
            unread: list[Section] = []
            further: list[Section] = []
            for section, read in zip(waiting, found, strict=True):
                if not read.documents:
                    for part in read.sections:
                        ended = part.position == section.position
                        (drained if ended else further).append(part)
                elif len(items) >= limit:
                    unread.append(section)
                else:
                    items += self._items(read.documents)
                    further += read.sections
            waiting = [*unread, *further]
            quiet = 0 if any(read.documents for read in found) else quiet + 1
            if not enough.left:
                break
        return items, Place([*waiting, *drained]), not waiting

    async def _page(
        self, section: Section, most: int, deadline: Deadline, start: str = _BEGINNING
    ) -> _Read:
        return await self._calls.repeated(lambda: self._asked(section, most, start), deadline)

    async def _asked(self, section: Section, most: int, start: str) -> _Read:
        headers: list[Any] = []
        rid = await self._calls.rid()
        if section.position:
            begin: dict[str, Any] = {"continuation": sdk_continuation(section, rid)}
        else:
            begin = {"feed_range": {"Range": _range(section)}, "start_time": start}
        pages = self._calls.proxy.query_items_change_feed(
            max_item_count=most, response_hook=lambda found, _: headers.append(found), **begin
        ).by_page()
        documents = await _first_page(pages)
        if not headers or not headers[-1].get("etag"):
            raise NotOfTheService
        return _Read(documents, sections_of(headers[-1]["etag"], section))

    def _items(self, documents: Sequence[Document]) -> list[Item]:
        now = self._now()
        return [item for row in documents if (item := visible(row, now))]


async def _first_page(pages: AsyncIterator[Any]) -> list[Document]:
    async for page in pages:
        return [each async for each in page]
    return []


def sdk_continuation(section: Section, rid: str) -> str:
    """The SDK's continuation for a section: much longer than what it says."""
    inner = {
        "v": "v2",
        "rid": rid,
        "continuation": [{"token": section.position, "range": _range(section)}],
        "Range": _range(section),
    }
    whole = {
        "v": "v2",
        "containerRid": rid,
        "mode": "LatestVersion",
        "startFrom": {"Type": _BEGINNING},
        "continuation": inner,
    }
    return base64.b64encode(json.dumps(whole).encode()).decode()


def sections_of(continuation: str, whole: Section) -> list[Section]:
    """The sections of a continuation of the SDK for `whole`; more than one after a split. Of
    a partition that was merged and split elsewhere the SDK names parts that go beyond it.
    Raises ValueError, KeyError or TypeError for another text."""
    parts = json.loads(base64.b64decode(continuation))["continuation"]["continuation"]
    return [
        Section(
            max(part["range"]["min"], whole.low), min(part["range"]["max"], whole.high),
            part["token"] or "",
        )
        for part in parts
    ]  # fmt: skip


def _range(section: Section) -> dict[str, Any]:
    return {
        "min": section.low, "max": section.high, "isMinInclusive": True, "isMaxInclusive": False,
    }  # fmt: skip
