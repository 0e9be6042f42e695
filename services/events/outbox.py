"""Activity events as they come out of the change feed: the outbox.

Event rows are written once and never change (but for erasure), so each is in the feed
once, in commit order per partition.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import AsyncGenerator, Iterable, Iterator, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from workspace.common.v1.activity_pb2 import ActivityEvent

from services.events.feed import Feed
from services.model.clocks import HLC_WIDTH
from services.model.families import FAMILIES
from services.model.stamp import Stamp
from services.records.codec import decode
from services.records.port import Item

__all__ = [
    "BEGINNING", "EventBatch", "OutboxEvent", "Position", "follow_events", "instance_of",
    "outbox_events",
]  # fmt: skip

_FAMILY = FAMILIES["activity_event"]


@dataclass(frozen=True)
class OutboxEvent:
    """One event row. Its key says who wrote it and when
    (`EVENT#{hlc}#{actor}#{event_id}`)."""

    item: Item

    @property
    def pk(self) -> str:
        """The partition that changed; events of one are in order."""
        return self.item.key.pk

    @property
    def hlc(self) -> str:
        """Hybrid clock reading of the commit; sorts as text."""
        return self.item.key.sk[6 : 6 + HLC_WIDTH]

    @property
    def actor(self) -> str:
        """Instance and incarnation that made the commit."""
        return self.item.key.sk[7 + HLC_WIDTH :].rpartition("#")[0]

    @property
    def event_id(self) -> str:
        """Unique, for who wants to drop repeats."""
        return self.item.key.sk.rpartition("#")[2]

    @property
    def is_erased(self) -> bool:
        """Personal data was taken out of the row after it was written."""
        return Stamp.load(self.item.stamp).erased

    @property
    def type(self) -> str:
        """The event's type, and the project and the account that it is about ('' for
        none), without the cost of decoding all of it."""
        return str(self._members.get("type", ""))

    @property
    def project_id(self) -> str:
        """See `type`."""
        return str(self._members.get("project_id", ""))

    @property
    def account_id(self) -> str:
        """See `type`."""
        return str(self._members.get("account_id", ""))

    @cached_property
    def _members(self) -> Mapping[str, Any]:
        found: Mapping[str, Any] = json.loads(self.item.body)
        return found

    @cached_property
    def event(self) -> ActivityEvent:
        """The decoded event; shared, never change it."""
        return decode(ActivityEvent, self.item.body)


@dataclass(frozen=True, slots=True)
class Position:
    """Where a follower is: behind `cursor` ('': behind the beginning of the feed), and
    there after the events whose ids together have the digest `after` ('': after none of
    them). `hlc` is the newest clock reading of what was delivered."""

    cursor: str
    after: str = ""
    hlc: str = ""

    def dump(self) -> str:
        return json.dumps([self.cursor, self.after, self.hlc], separators=(",", ":"))

    @classmethod
    def load(cls, text: str) -> Position:
        """Inverse of `dump`."""
        cursor, after, hlc = json.loads(text)
        return cls(cursor, after, hlc)


BEGINNING = Position("")


@dataclass(frozen=True, slots=True)
class EventBatch:
    """Events in order, each with the position after it; none in a heartbeat.
    `position` is after the whole batch. `started_at`, `complete`: see `feed.Batch`."""

    events: Sequence[tuple[OutboxEvent, Position]]
    position: Position
    started_at: float
    complete: bool


async def follow_events(feed: Feed, position: Position) -> AsyncGenerator[EventBatch, None]:
    """Events after `position`, for ever, with heartbeats; errors as `Feed.follow`.

    What is read is what the consumer has room for: the next page is fetched
    when this one was handled. Whoever resumes inside of a page reads it anew. Where a feed
    is made of several (the lanes of DynamoDB, the physical partitions of Cosmos DB), or a
    row was erased, it may have other events now before that place: then all of its
    events are delivered again, for what is new among them has never been.
    """
    cursor, after, hlc = position.cursor, position.after, position.hlc
    async with aclosing(feed.follow(cursor or None)) as batches:
        async for batch in batches:
            if not batch.items:
                here = Position(cursor, after, hlc)
                yield EventBatch((), here, batch.started_at, batch.complete)
                continue
            events = outbox_events(batch.items)
            digests = list(_digests(events))
            begin = digests.index(after) + 1 if after in digests else 0
            placed = []
            for event, digest in zip(events[begin:], digests[begin:], strict=True):
                # Erasing personal data writes an old event anew: it is not news.
                if event.hlc > hlc or not event.is_erased:
                    hlc = max(hlc, event.hlc)
                    placed.append((event, Position(cursor, digest, hlc)))
            cursor, after = batch.cursor, ""
            yield EventBatch(
                placed, Position(cursor, after, hlc), batch.started_at, batch.complete
            )


def _digests(events: Iterable[OutboxEvent]) -> Iterator[str]:
    """For each event, of its id and those before it: 12 bytes."""
    running = hashlib.blake2b(digest_size=12)
    for event in events:
        running.update(event.event_id.encode() + b"\n")
        yield running.hexdigest()


def outbox_events(items: Iterable[Item]) -> list[OutboxEvent]:
    """The event rows among changed rows."""
    return [OutboxEvent(i) for i in items if i.family == _FAMILY.name and not i.deleted]


def instance_of(actor: str) -> str:
    """The instance of an actor (`{instance}.{incarnation}`)."""
    return actor.partition(".")[0]
