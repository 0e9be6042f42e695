"""The events of a partition, gathered chain by chain and judged together. Pure."""

from __future__ import annotations

import json
from collections import defaultdict
from dataclasses import dataclass, field

from services.model.activity_chain import Chain, End
from services.model.activity_entries import Entry, Fault, FaultKind, actor_in, told_erasures
from services.model.seals import Checkpoint

__all__ = ["History"]


@dataclass(slots=True)
class History:
    """Of the partition `pk` in the store `instance`. `own` are the events that it wrote and
    that never left, `count` all that were added."""

    pk: str
    instance: str
    count: int = 0
    own: list[Entry] = field(default_factory=list)
    found: list[Fault] = field(default_factory=list)
    _chains: dict[str, list[Entry]] = field(default_factory=lambda: defaultdict(list))
    _told: set[tuple[str, str]] = field(default_factory=set)

    def add(self, sk: str, body: str, *, joined: bool) -> Entry:
        """The event in a row, checked by itself. Raises ValueError, TypeError, KeyError or
        AttributeError for one that cannot be read."""
        self.count += 1
        entry = Entry.of(self.pk, sk, body, joined=joined)
        told = set(told_erasures(json.loads(body)))
        self._told |= told
        if entry.event_id != sk.rpartition("#")[2]:
            text = "The event is stored under the key of another."
            self.found.append(Fault(FaultKind.SWAPPED, entry.event_id, entry.sequence, text))
        instance = actor_in(sk).partition(".")[0]
        self._chains[instance].append(entry)
        if instance == self.instance and not joined:
            self.own.append(entry)
        return entry

    @property
    def is_joined(self) -> bool:
        """Whether events came by sync."""
        others = any(instance != self.instance for instance in self._chains)
        return others or len(self.own) < len(self._chains[self.instance])

    def faults(
        self, end: End, *, gaps: bool, latest: int, kept: Checkpoint | None = None
    ) -> list[Fault]:
        """Every break. Events after `end` are left for the next time, but for those after
        `latest`, where HEAD was when all were read: they were put there. `gaps`: see
        `Chain`; `kept` is a checkpoint of this chain."""
        told = frozenset(self._told)
        for instance, entries in self._chains.items():
            if instance != self.instance:
                self.found += Chain(self.pk, entries, None, told=told).faults()
        now = [
            each for each in self._chains[self.instance]
            if not end.sequence < each.sequence <= latest
        ]  # fmt: skip
        chain = Chain(self.pk, now, end, gaps=gaps, told=told)
        self.found += chain.faults()
        if kept is not None:
            self.found += chain.against(kept)
        return self.found
