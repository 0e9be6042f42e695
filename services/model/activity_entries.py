"""An activity event as the audit chain sees it, and what may be wrong with one."""

from __future__ import annotations

import enum
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Self

from services.model.canonical import content_digest
from services.model.clocks import HLC_WIDTH
from services.model.seals import Link, link_of, sealed_digest

__all__ = ["EVENT", "Entry", "Fault", "FaultKind", "actor_in", "told_erasures"]

EVENT = "activity_event"


class FaultKind(enum.IntEnum):
    """Numbers as in the contract (ActivityFaultKind)."""

    EDITED = 1
    MISSING = 2
    SWAPPED = 3
    CUT = 4
    REBUILT = 5
    ADDED = 6
    RECORD = 7


@dataclass(frozen=True, slots=True)
class Fault:
    """One break. `event_id` is '' where the event is not there."""

    kind: FaultKind
    event_id: str
    sequence: int
    text: str


@dataclass(frozen=True, slots=True)
class Entry:
    """One event. `previous` and `link` are '' for one that is not sealed; `digest` is that
    of its content as it is now. `joined`: it came by sync. `erased`: a person was taken
    out of it after it was sealed."""

    sk: str
    event_id: str
    sequence: int
    previous: str
    link: str
    digest: str
    joined: bool
    erased: bool

    @classmethod
    def of(cls, pk: str, sk: str, body: str, *, joined: bool = False) -> Self:
        """Of the canonical text of an event. Raises ValueError, TypeError, KeyError or
        AttributeError if it is none."""
        members: dict[str, Any] = json.loads(body)
        sequence = int(members.get("partition_sequence", 0))
        if not 0 <= sequence < 2**53:
            raise ValueError("no sequence number")
        kept = str(members.get("sealed_digest", ""))
        previous = str(members.get("previous_link", ""))
        link = ""
        if previous:
            Link.load(previous)
            digest = kept or sealed_digest(body)
            link = link_of(pk, sk, sequence=sequence, previous=previous, digest=digest).dump()
        return cls(
            sk, str(members["event_id"]), sequence, previous, link,
            content_digest(EVENT, False, members), joined, bool(kept),
        )  # fmt: skip

    @property
    def actor(self) -> str:
        """Instance and incarnation that made the commit."""
        return actor_in(self.sk)


def actor_in(sk: str) -> str:
    """The actor in the key of an event, `EVENT#{hlc}#{actor}#{event_id}`."""
    return sk[7 + HLC_WIDTH :].rpartition("#")[0]


def told_erasures(members: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """The key and the digest of each event that the event `members` says was rewritten.
    Raises KeyError or TypeError if it is not as erasure writes it."""
    if members.get("type") == "activity.erased":
        for change in members.get("changes", ()):
            yield str(change["sk"]), str(change["after"]["digest"])
