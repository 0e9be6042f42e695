"""Whether the records of a partition are what its events say of them."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Self

from services.events.outbox import instance_of
from services.model.activity_entries import EVENT, Entry, Fault, FaultKind
from services.model.canonical import content_digest
from services.model.families import FAMILIES
from services.model.stamp import Stamp
from services.records.codec import content_of
from services.records.events import VALUE_LIMIT
from services.records.port import Item

__all__ = ["RecordChecks", "Row"]

_EXPIRING = frozenset({"upload"})
"""Families whose rows go by themselves."""


@dataclass(slots=True)
class Row:
    """A record as stored; `digest` is that of its content, made anew. `writer` and `hlc`
    name the commit that wrote it; `elsewhere`: another instance took part in it, `several`:
    versions lie side by side, `purged`: of a tombstone little is left, by a commit that has
    no event."""

    family: str
    deleted: bool
    digest: str
    stamped: str
    size: int
    writer: str = ""
    hlc: str = ""
    elsewhere: bool = False
    several: bool = False
    purged: bool = False

    @classmethod
    def of(cls, item: Item, instance: str) -> Self:
        """As the store of `instance` has it."""
        try:
            content = content_of(FAMILIES[item.family], json.loads(item.body or "{}"))
            digest = content_digest(item.family, item.deleted, content)
            stamp = Stamp.load(item.stamp)
        except (ValueError, TypeError, RecursionError):
            return cls(item.family, item.deleted, "", "unreadable", 0)
        others = any(instance_of(actor) != instance for actor in (*stamp.clock, stamp.dot[0]))
        return cls(
            item.family, item.deleted, digest, stamp.digest,
            len(json.dumps(content, ensure_ascii=False).encode()), stamp.dot[0], stamp.hlc,
            others or bool(stamp.origin), bool(stamp.siblings),
            stamp.deleted and not stamp.fields,
        )  # fmt: skip

    @property
    def is_silent(self) -> bool:
        """Its events do not have its values: it never changes, or it is large."""
        return FAMILIES[self.family].policy == "append_only" or self.size > VALUE_LIMIT


@dataclass(frozen=True, slots=True)
class _Told:
    """What an event says of one record; `after` is the digest of its content, ''
    where the event does not have it."""

    sequence: int
    event_id: str
    family: str
    after: str


@dataclass(slots=True)
class RecordChecks:
    """`rows` by sort key, judged when all events up to the HEAD `sequence` were added. A
    record in which another instance took part is compared with the event of the commit that
    wrote it, if that is here: its other events need not be."""

    rows: dict[str, Row]
    sequence: int
    _last: dict[str, _Told] = field(default_factory=dict)
    _by_commit: dict[tuple[str, str, str], _Told] = field(default_factory=dict)
    _own: set[int] = field(default_factory=set)

    def add(self, entry: Entry, hlc: str, members: dict[str, Any], *, own: bool) -> None:
        """`own`: this instance wrote the event. Raises KeyError, TypeError or ValueError for
        one that cannot be read."""
        if own and entry.sequence <= self.sequence:
            self._own.add(entry.sequence)
        for change in members.get("changes", ()):
            family, sk, after = str(change["family"]), str(change["sk"]), change.get("after")
            if family == EVENT:
                continue  # an erasure: the chain has it
            digest = "" if after is None else content_digest(family, False, after)
            told = _Told(entry.sequence, entry.event_id, family, digest)
            self._by_commit[entry.actor, hlc, sk] = told
            known = self._last.get(sk)
            if own and (known is None or known.sequence < entry.sequence):
                self._last[sk] = told

    def faults(self) -> Iterator[Fault]:
        """Every record that is not as told."""
        joined = len(self._own) < self.sequence
        for sk, told in self._last.items():
            seen = sk in self.rows or told.sequence > self.sequence
            if not seen and told.after and told.family not in _EXPIRING:
                yield _fault(told, f"The {told.family} record {sk} is missing.")
        for sk, row in self.rows.items():
            last = self._last.get(sk)
            if last is not None and last.sequence > self.sequence:
                continue  # changed while this was read
            if row.elsewhere and joined:
                last = self._by_commit.get((row.writer, row.hlc, sk))
            elif last is None:
                yield Fault(
                    FaultKind.RECORD, "", 0, f"No event tells of the {row.family} record {sk}."
                )
            if text := _problem(row, sk, last):
                yield _fault(last, text)


def _problem(row: Row, sk: str, told: _Told | None) -> str:
    if row.digest != row.stamped:
        return f"The content of the {row.family} record {sk} is not what its digest says."
    if told is None or row.several:
        return ""
    if told.after and told.after != row.digest:
        return f"The {row.family} record {sk} is not what its last event says."
    if not (told.after or row.deleted or row.is_silent):
        return f"The {row.family} record {sk} is there, its last event deleted it."
    return ""


def _fault(told: _Told | None, text: str) -> Fault:
    if told is None:
        return Fault(FaultKind.RECORD, "", 0, text)
    return Fault(FaultKind.RECORD, told.event_id, told.sequence, text)
