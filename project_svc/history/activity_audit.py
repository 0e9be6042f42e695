"""Reads a partition and judges its audit chain (services/model/activity_chain.py), and its
records by what the events say.

The reads are not of one moment. HEAD is read first, then the records, then the events, then
HEAD again: all events up to the first HEAD are seen, what came between the two is judged the
next time, and what lies beyond the second was put there.
"""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Iterable
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, cast

from workspace.project.v1.history_service_pb2 import (
    ActivityFault,
    ActivityFaultKind,
    VerifyActivityResponse,
)

from project_svc.history.activity_records import RecordChecks, Row
from services.events.outbox import OutboxEvent, instance_of
from services.model.activity_chain import End
from services.model.activity_entries import EVENT, Fault, FaultKind
from services.model.activity_history import History
from services.model.canonical import content_digest
from services.model.clocks import hlc_millis
from services.model.families import FAMILIES
from services.model.seals import Checkpoint, Link, opening
from services.model.stamp import Stamp
from services.model.times import key_time
from services.records.port import Index, Item
from services.records.record import Head
from services.records.store import RecordStore

__all__ = ["checkpoint_of", "events_of", "verify_partition"]

_MOST_FAULTS = 100
_PAGE = 500
_OTHERS = (("!", "EVENT#"), ("EVENT$", "\x7f"))


async def verify_partition(
    records: RecordStore, head: Head, *, kept: Checkpoint | None = None, now: datetime | None = None
) -> VerifyActivityResponse:
    """The answer for the partition of `head`, which was read before. `kept` is a checkpoint
    of this chain; the answer's own one is taken at `now`."""
    instance = instance_of(records.actor)
    others = _items(records, head.pk, _OTHERS)
    rows = {item.key.sk: Row.of(item, instance) async for item in others}
    history = History(head.pk, instance)
    read = _Read(head, RecordChecks(rows, head.pseq), history)
    async for item in events_of(records, head.pk):
        read.add(OutboxEvent(item))
    faults = read.faults(kept, (await records.head(head.pk)).pseq)
    sealed = sum(bool(each.link) for each in history.own)
    answer = VerifyActivityResponse(
        intact=not faults, verified_count=history.count, faults=_shown(faults[:_MOST_FAULTS]),
        sealed_count=sealed, unsealed_count=len(history.own) - sealed,
        erased_count=len(read.erased), joined_count=history.count - len(history.own),
    )  # fmt: skip
    if read.since:
        answer.sealed_since.FromMilliseconds(hlc_millis(read.since))
    if not faults:
        answer.checkpoint = checkpoint_of(head, instance, now).dump()
    return answer


def checkpoint_of(head: Head, instance: str, now: datetime | None) -> Checkpoint:
    """Where the chain of a partition ends (`head`), of the store `instance`."""
    begun = opening(head.pk, head.pseq, head.commit_id)
    link = Link.load(head.link) if head.link else begun
    return Checkpoint(head.pk, instance, head.pseq, link, key_time(now) if now else "-")


def events_of(records: RecordStore, pk: str, after: str = "") -> AsyncIterator[Item]:
    """The event rows of a partition, oldest first; behind the sort key `after`."""
    return _items(records, pk, ((after + " " if after else "EVENT#", "EVENT$"),))


async def _items(
    records: RecordStore, pk: str, ranges: Iterable[tuple[str, str]]
) -> AsyncIterator[Item]:
    """Rows of known families, tombstones included."""
    for lower, upper in ranges:
        after: str | None = None
        while True:
            page = await records.run(
                Index.BASE, pk, lower=lower, upper=upper, limit=_PAGE, after=after
            )
            for item in page.items:
                if item.family in FAMILIES:
                    yield item
            after = page.next
            if after is None:
                break


@dataclass(slots=True)
class _Read:
    """What was read of a partition. `since`: reading of the first sealed event."""

    head: Head
    checks: RecordChecks
    history: History
    since: str = ""
    erased: set[str] = field(default_factory=set)
    found: list[Fault] = field(default_factory=list)

    def add(self, event: OutboxEvent) -> None:
        """Check one event by itself, and remember it for its chain and its records."""
        try:
            stamp, members = Stamp.load(event.item.stamp), json.loads(event.item.body)
            joined, sk = bool(stamp.origin), event.item.key.sk
            entry = self.history.add(sk, event.item.body, joined=joined)
            own = not joined and instance_of(event.actor) == self.history.instance
            self.checks.add(entry, event.hlc, members, own=own)
        except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
            text = "The event is not readable."
            self.found.append(Fault(FaultKind.EDITED, event.event_id, 0, text))
            return
        if text := _problem(event, stamp, members):
            self.found.append(Fault(FaultKind.EDITED, event.event_id, entry.sequence, text))
        if stamp.erased or entry.erased:
            self.erased.add(entry.event_id)
        if own and entry.link:
            self.since = self.since or event.hlc

    def faults(self, kept: Checkpoint | None, latest: int) -> list[Fault]:
        """Every break, by sequence number; `latest`: what HEAD says by now."""
        end = End(self.head.pseq, self.head.commit_id, self.head.link)
        rows = self.checks.rows.values()
        gaps = self.history.is_joined or any(row.elsewhere or row.purged for row in rows)
        found = self.history.faults(end, gaps=gaps, latest=latest, kept=kept)
        found = [*self.found, *found, *self.checks.faults()]
        return sorted(found, key=lambda fault: (fault.sequence, fault.event_id))


def _problem(event: OutboxEvent, stamp: Stamp, members: dict[str, Any]) -> str:
    if content_digest(EVENT, event.item.deleted, members) != stamp.digest:
        return "The event is not what its digest says."
    if (stamp.dot[0], stamp.hlc) != (event.actor, event.hlc):
        return "The stamp is not of the time and the writer that the key names."
    return ""


def _shown(faults: Iterable[Fault]) -> list[ActivityFault]:
    return [
        ActivityFault(
            event_id=each.event_id, partition_sequence=min(each.sequence, 2**63 - 1),
            text=each.text,
            kind=cast("ActivityFaultKind.ValueType", int(each.kind)),
        )
        for each in faults
    ]
