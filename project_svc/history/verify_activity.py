"""VerifyActivity: whether the audit chain of a partition is unbroken.

Checked is, for the events of this instance: their sequence numbers are 1 to n
without gap or repeat and HEAD names the last; each event's digest, key and
content agree; each record is what the last event about it says, with a digest
that is right. Events of other instances (sync) are checked one by one. Who can
write to the database and makes everything anew consistently is not found out:
that takes a checkpoint of the head that is kept elsewhere.

The reads are not of one moment. HEAD is read first, then the records, then the
events: all events up to that HEAD are seen, and a record that a later event
names was changed meanwhile and is passed over.
"""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from itertools import islice
from typing import Any

from workspace.identity.v1.account_pb2 import AccountCapability
from workspace.project.v1.history_service_pb2 import (
    ActivityFault,
    VerifyActivityRequest,
    VerifyActivityResponse,
)

from project_svc.access.facts import project_pk
from project_svc.documents.changes import DocumentChanges
from project_svc.documents.rows import document_pk
from project_svc.projects.homes import home_of
from services.events.outbox import OutboxEvent, instance_of
from services.model.canonical import content_digest
from services.model.errors import Reason, WorkspaceError
from services.model.families import FAMILIES
from services.model.permissions import MANAGE_ACCESS
from services.model.stamp import Stamp
from services.records.codec import content_of
from services.records.events import VALUE_LIMIT
from services.records.port import Index, Item
from services.records.record import Head
from services.records.store import RecordStore
from services.rpc.context import current_call

__all__ = ["ActivityCheck", "verify_partition"]

_EVENT = FAMILIES["activity_event"]
_MANAGE = AccountCapability.ACCOUNT_CAPABILITY_MANAGE_ACCOUNT
_MOST_FAULTS = 100
_PAGE = 500
_EVENTS = (("EVENT#", "EVENT$"),)
_OTHERS = (("!", "EVENT#"), ("EVENT$", "\x7f"))
_EXPIRING = frozenset({"upload"})
"""Families whose rows go by themselves."""
Faults = list[ActivityFault]


class ActivityCheck:
    """The use case of VerifyActivity."""

    def __init__(self, *, changes: DocumentChanges) -> None:
        self._changes = changes

    async def verify(self, request: VerifyActivityRequest) -> VerifyActivityResponse:
        """Raises PERMISSION_DENIED, and NOT_FOUND if nothing was ever written."""
        pk = await self._partition(request)
        head = await self._changes.records.head(pk)
        if head.token is None:
            raise WorkspaceError(
                Reason.ERROR_REASON_NOT_FOUND,
                "it has no activity; check the id",
                metadata={"resource": pk},
            )
        return await verify_partition(self._changes.records, head)

    async def _partition(self, request: VerifyActivityRequest) -> str:
        if request.document_id:
            await self._changes.require(request.document_id, MANAGE_ACCESS)
            return document_pk(request.document_id)
        if request.project_id:
            await self._changes.access.require(request.project_id, MANAGE_ACCESS)
            return project_pk(request.project_id)
        account_id = request.account_id
        user = await self._changes.access.facts.user(
            current_call().user_id, accounts=[account_id]
        )
        home_of(account_id, user.raw[account_id], personal=False).require(_MANAGE)
        return f"ACCOUNT#{account_id}"


async def verify_partition(records: RecordStore, head: Head) -> VerifyActivityResponse:
    """The answer for the partition of `head`, which was read before."""
    rows = {item.key.sk: _Row.of(item) async for item in _items(records, head.pk, events=False)}
    chain = _Chain(head, instance_of(records.actor), rows)
    async for item in _items(records, head.pk, events=True):
        chain.add(OutboxEvent(item))
    faults = chain.faults()
    return VerifyActivityResponse(
        intact=not faults, verified_count=chain.count, faults=faults[:_MOST_FAULTS]
    )


async def _items(records: RecordStore, pk: str, *, events: bool) -> AsyncIterator[Item]:
    """The event rows of a partition, or its records, tombstones included."""
    for lower, upper in _EVENTS if events else _OTHERS:
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
class _Row:
    """A record as stored; `digest` is that of its content, made anew."""

    family: str
    deleted: bool
    digest: str
    stamped: str
    size: int

    @classmethod
    def of(cls, item: Item) -> _Row:
        try:
            content = content_of(FAMILIES[item.family], json.loads(item.body or "{}"))
            digest = content_digest(item.family, item.deleted, content)
            stamp = Stamp.load(item.stamp)
        except (ValueError, TypeError):
            return cls(item.family, item.deleted, "", "unreadable", 0)
        size = len(json.dumps(content, ensure_ascii=False).encode())
        return cls(item.family, item.deleted, digest, stamp.digest, size)


@dataclass(frozen=True, slots=True)
class _Told:
    """What an event says of one record; `after` is the digest of its content, ''
    where the event does not have it."""

    sequence: int
    event_id: str
    family: str
    after: str


@dataclass(slots=True)
class _Chain:
    """The events of a partition, gathered to be judged together."""

    head: Head
    instance: str
    rows: dict[str, _Row]
    count: int = 0
    sequences: dict[int, str] = field(default_factory=dict)
    last: dict[str, _Told] = field(default_factory=dict)
    found: Faults = field(default_factory=list)

    def add(self, event: OutboxEvent) -> None:
        """Check one event by itself, and remember what it says of others."""
        self.count += 1
        try:
            members = json.loads(event.item.body)
            sequence = int(members.get("partition_sequence", 0))
            problem = _problem(event, members)
            changes = [_told(event, sequence, change) for change in members.get("changes", ())]
        except (ValueError, TypeError, KeyError, AttributeError):
            self._fault(event.event_id, 0, "The event is not readable.")
            return
        if problem:
            self._fault(event.event_id, sequence, problem)
        if instance_of(event.actor) != self.instance:
            return
        if sequence in self.sequences:
            self._fault(event.event_id, sequence, "Another event has the same sequence number.")
        self.sequences[sequence] = event.event_id
        for sk, told in changes:
            known = self.last.get(sk)
            if known is None or known.sequence < sequence:
                self.last[sk] = told

    def faults(self) -> Faults:
        """Every break, by sequence number."""
        self._check_sequence()
        for sk, told in self.last.items():
            self._check_record(sk, told)
        for sk, row in self.rows.items():
            if sk not in self.last:
                self._fault("", 0, f"No event tells of the {row.family} record {sk}.")
        return sorted(self.found, key=lambda fault: (fault.partition_sequence, fault.event_id))

    def _check_sequence(self) -> None:
        missing = (n for n in range(1, self.head.pseq + 1) if n not in self.sequences)
        for number in islice(missing, _MOST_FAULTS):  # HEAD may say anything
            self._fault("", number, "The event is missing.")
        if self.sequences.get(self.head.pseq, self.head.commit_id) != self.head.commit_id:
            self._fault(
                self.sequences[self.head.pseq], self.head.pseq, "HEAD names another last event."
            )
        if min(self.sequences, default=1) < 1:
            self._fault(self.sequences[min(self.sequences)], 0, "The sequence starts below 1.")

    def _check_record(self, sk: str, told: _Told) -> None:
        row = self.rows.get(sk)
        if told.sequence > self.head.pseq:
            return  # changed while this was read
        text = ""
        if row is None:
            if told.after and told.family not in _EXPIRING:
                text = f"The {told.family} record {sk} is missing."
        elif row.digest != row.stamped:
            text = f"The content of the {row.family} record {sk} is not what its digest says."
        elif told.after and told.after != row.digest:
            text = f"The {row.family} record {sk} is not what its last event says."
        elif not (told.after or row.deleted or _is_silent(row)):
            text = f"The {row.family} record {sk} is there, its last event deleted it."
        if text:
            self._fault(told.event_id, told.sequence, text)

    def _fault(self, event_id: str, sequence: int, text: str) -> None:
        self.found.append(
            ActivityFault(event_id=event_id, partition_sequence=sequence, text=text)
        )


def _is_silent(row: _Row) -> bool:
    """Its events do not have its values: it never changes, or it is large."""
    return FAMILIES[row.family].policy == "append_only" or row.size > VALUE_LIMIT


def _problem(event: OutboxEvent, members: dict[str, Any]) -> str:
    stamp = Stamp.load(event.item.stamp)
    if content_digest(_EVENT.name, event.item.deleted, members) != stamp.digest:
        return "The event is not what its digest says."
    if members.get("event_id") != event.event_id:
        return "The event is stored under the key of another."
    if (stamp.dot[0], stamp.hlc) != (event.actor, event.hlc):
        return "The stamp is not of the time and the writer that the key names."
    return ""


def _told(event: OutboxEvent, sequence: int, change: dict[str, Any]) -> tuple[str, _Told]:
    family, after = str(change["family"]), change.get("after")
    digest = "" if after is None else content_digest(family, False, after)
    return str(change["sk"]), _Told(sequence, event.event_id, family, digest)
