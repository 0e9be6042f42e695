"""Whether the events of a partition are the chain that HEAD ends, and a checkpoint names.

Pure: of the texts of rows, in a store or in an export of it. The chain is walked from HEAD
back, link by link. What one instance wrote is one chain; those of other instances that came
by sync are judged by themselves as far as they are here. Sequence numbers may have gaps: a
join of sync counts, too, and has no event. Events of releases that did not seal are the
beginning of a chain, or, while releases are mixed, a stretch of it: they are counted.

A whole chain that was made anew, or cut together with HEAD, is as good as any other: only a
checkpoint that was kept elsewhere shows it.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import islice

from services.model.activity_entries import Entry, Fault, FaultKind
from services.model.seals import Checkpoint, Link, opening

__all__ = ["Chain", "End"]

_MOST_FAULTS = 100
_ANOTHER = "The event is not the one that was sealed: it was changed or put there."


@dataclass(frozen=True, slots=True)
class End:
    """What HEAD says: how many commits there were, the last one, the link of the last event."""

    sequence: int
    commit_id: str
    link: str


@dataclass(slots=True)
class Chain:
    """The events that one instance wrote in the partition `pk`, up to `end` (None: the
    chain of another instance, whose end is not here). `gaps`: something was joined, so
    that unsealed events need not be gapless. `told`: key and digest of the events that were
    rewritten, as events say (`told_erasures`)."""

    pk: str
    entries: Sequence[Entry]
    end: End | None
    gaps: bool = False
    told: frozenset[tuple[str, str]] = frozenset()
    found: list[Fault] = field(default_factory=list)
    _links: dict[str, Entry] = field(default_factory=dict)
    _at: dict[int, Entry] = field(default_factory=dict)
    _sealed: list[int] = field(default_factory=list)
    _unsealed: list[int] = field(default_factory=list)
    _broken: set[int] = field(default_factory=set)
    _walked: dict[str, Entry] = field(default_factory=dict)
    _bare: set[int] = field(default_factory=set)
    """Sequence numbers where an event need not be sealed."""

    def faults(self) -> list[Fault]:
        """Every break, the first hundred of each sort."""
        self._links = {each.link: each for each in self.entries if each.link}
        for each in sorted(self.entries, key=lambda e: (e.joined, e.erased, not e.link)):
            self._at.setdefault(each.sequence, each)
        self._sealed = sorted(n for n, each in self._at.items() if each.link)
        self._unsealed = sorted(n for n, each in self._at.items() if not each.link)
        if self.end is None:
            self._check_parts()
        else:
            self._walk(self.end)
            self._check_end(self.end)
            self._check_added()
        self._check_erased()
        return self.found

    def against(self, checkpoint: Checkpoint) -> list[Fault]:
        """The breaks that only a checkpoint of this chain shows; call `faults` before."""
        assert self.end is not None
        at = checkpoint.link.sequence
        entry = self._at.get(at)
        known = self._walked.get(checkpoint.link.dump())
        if known is None and not self._opens(checkpoint.link):
            if entry is None:
                text = "The event that the checkpoint names is gone."
                return [Fault(FaultKind.CUT, "", at, text)]
            text = "The chain was made anew: the checkpoint names another event."
            return [Fault(FaultKind.REBUILT, entry.event_id, at, text)]
        if self.end.sequence < checkpoint.sequence:
            text = f"HEAD says {self.end.sequence}, the checkpoint {checkpoint.sequence}."
            return [Fault(FaultKind.CUT, "", checkpoint.sequence, text)]
        return []

    def _walk(self, end: End) -> None:
        """From HEAD back to the beginning, over stretches without seals and over breaks."""
        text, below = end.link or opening(self.pk, end.sequence, end.commit_id).dump(), end.sequence
        while True:
            link = _loaded(text)
            if link is None or link.sequence > below:
                self._fault(FaultKind.EDITED, "", below, "The link before is none.")
                link = Link(below, "")
            entry = self._links.get(link.dump()) or self._mended(link)
            if entry is None:
                return
            self._walked[entry.link] = entry
            text, below = entry.previous, entry.sequence - 1

    def _mended(self, link: Link) -> Entry | None:
        """The sealed event to go on with where a link leads to none."""
        opens = self._opens(link)
        if link.hash and not opens:
            self._break(link)
        here = self._at.get(link.sequence)
        if here is not None and here.link and not opens:
            return here
        at = bisect_right(self._sealed, link.sequence)
        below = self._sealed[at - 1] if at else 0
        self._check_bare(below, link.sequence)
        return self._at[below] if at else None

    def _opens(self, link: Link) -> bool:
        """Whether it is HEAD as it was when its last event was not sealed."""
        entry = self._at.get(link.sequence)
        ids = {"", entry.event_id} if entry else {""}
        return any(opening(self.pk, link.sequence, each) == link for each in ids)

    def _break(self, link: Link) -> None:
        entry = self._at.get(link.sequence)
        if entry is not None:
            self._fault(FaultKind.EDITED, entry.event_id, link.sequence, _ANOTHER)
            return
        kind = FaultKind.MISSING if self._walked else FaultKind.CUT
        self._fault(kind, "", link.sequence, "The event is missing.")

    def _check_bare(self, after: int, last: int) -> None:
        """A stretch without seals: there only a missing number shows anything."""
        low, high = (bisect_right(self._unsealed, each) for each in (after, last))
        self._bare.update(self._unsealed[low:high])
        if self.gaps:
            return
        numbers = range(after + 1, last + 1)
        missing = (n for n in numbers if n not in self._bare and n not in self._broken)
        for number in islice(missing, _MOST_FAULTS):  # HEAD may say anything
            self._fault(FaultKind.MISSING, "", number, "The event is missing.")

    def _check_end(self, end: End) -> None:
        entry = self._at.get(end.sequence)
        if end.commit_id and entry is not None and entry.event_id != end.commit_id:
            text = "HEAD names another last event."
            self._fault(FaultKind.EDITED, entry.event_id, end.sequence, text)

    def _check_added(self) -> None:
        """Beside the chain lies what came back by sync after the store was restored."""
        known = {id(each) for each in self._walked.values()}
        known |= {id(self._at[n]) for n in self._bare}
        told = {each.event_id for each in self.found}
        come = (e for e in self.entries if e.joined or e.erased)  # erasure forgets whence
        known |= {id(each) for each in come}
        extra = (e for e in self.entries if not (id(e) in known or e.event_id in told))
        for each in islice(extra, _MOST_FAULTS):
            text = "The event is not in the chain."
            if (other := self._at.get(each.sequence)) is not None and other is not each:
                text = "Another event has the same sequence number."
            self._fault(FaultKind.ADDED, each.event_id, each.sequence, text)

    def _check_parts(self) -> None:
        """The chain of another instance: its events need not all be here."""
        for each in self.entries:
            if not each.link or each.previous in self._links:
                continue
            link = Link.load(each.previous)
            before = self._at.get(link.sequence)
            if before is None or self._opens(link) or before.actor != each.actor:
                continue
            self._fault(FaultKind.EDITED, before.event_id, before.sequence, _ANOTHER)

    def _check_erased(self) -> None:
        for each in self.entries:
            if each.erased and (each.sk, each.digest) not in self.told:
                text = "Something was taken out of the event, and no event tells of it."
                self._fault(FaultKind.EDITED, each.event_id, each.sequence, text)

    def _fault(self, kind: FaultKind, event_id: str, sequence: int, text: str) -> None:
        self._broken.add(sequence)
        self.found.append(Fault(kind, event_id, sequence, text))


def _loaded(text: str) -> Link | None:
    try:
        return Link.load(text)
    except ValueError:
        return None
