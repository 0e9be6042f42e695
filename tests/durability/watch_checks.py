"""The nine watch invariants of etcd's robustness tests, checked event by event.

Ordered, unique, atomic, reliable, resumable, bookmarkable, previous value,
creation mark, filter: etcd-io/etcd `tests/robustness/validate/watch.go`.
"""

from __future__ import annotations

import json
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from services.events.outbox import OutboxEvent

__all__ = ["Checker", "Ledger", "keys_of"]


@dataclass
class Ledger:
    """What the writers know: the acknowledged commits of each partition, by
    sequence number (a digest of the keys they wrote), and when they were."""

    commits: dict[str, dict[int, int]] = field(default_factory=dict)
    acks: list[tuple[float, str, int]] = field(default_factory=list)

    def acknowledge(self, now: float, pk: str, pseq: int, keys: int) -> None:
        self.commits.setdefault(pk, {})[pseq] = keys
        self.acks.append((now, pk, pseq))


def keys_of(keys: Sequence[tuple[str, str]]) -> int:
    """A digest of (family, sort key) pairs, in any order."""
    return zlib.crc32(repr(sorted(keys)).encode())


class Checker:
    """Takes what one watcher is sent; `problems` are the violations. Without
    `wanted` the watcher is unfiltered."""

    def __init__(self, ledger: Ledger, wanted: Callable[[str], bool] | None = None) -> None:
        self.problems: list[str] = []
        self.count = 0
        self.seen: dict[str, dict[int, int]] = {}
        self._ledger = ledger
        self._wanted = wanted
        self._last: dict[str, int] = {}
        self._values: dict[tuple[str, str], int] = {}
        self._acks = 0

    def event(self, each: OutboxEvent) -> None:
        members = json.loads(each.item.body)
        pk, pseq = each.pk, int(members["partition_sequence"])
        last = self._last.get(pk, 0)
        if pseq < last:
            self._violated("ordered", pk, pseq)
        if pseq == last:
            self._violated("unique", pk, pseq)
        if pseq > last + 1:
            self._violated("reliable", pk, pseq)
        if self._wanted and not self._wanted(pk):
            self._violated("filter", pk, pseq)
        self._last[pk] = max(last, pseq)
        self.count += 1
        changes = members.get("changes", [])
        keys = keys_of([(change["family"], change["sk"]) for change in changes])
        self.seen.setdefault(pk, {})[pseq] = keys
        for change in changes:
            self._change(pk, pseq, change)

    def checkpoint(self, started_at: float) -> None:
        """Everything that was acknowledged before this must have come."""
        acks = self._ledger.acks
        while self._acks < len(acks) and acks[self._acks][0] < started_at:
            _, pk, pseq = acks[self._acks]
            if (not self._wanted or self._wanted(pk)) and self._last.get(pk, 0) < pseq:
                self._violated("bookmarkable", pk, pseq)
            self._acks += 1

    def finish(self) -> list[str]:
        """The violations, after everything was delivered."""
        for pk, commits in self._ledger.commits.items():
            if self._wanted and not self._wanted(pk):
                continue
            seen = self.seen.get(pk, {})
            for pseq, keys in commits.items():
                if pseq not in seen:
                    self._violated("reliable", pk, pseq)
                elif seen[pseq] != keys:
                    self._violated("atomic", pk, pseq)
        return self.problems

    def _change(self, pk: str, pseq: int, change: dict[str, object]) -> None:
        key = (pk, str(change["sk"]))
        before, after = (_digest(change.get(side)) for side in ("before", "after"))
        known = self._values.get(key, 0)
        if bool(before) != bool(known):
            self._violated("creation mark", pk, pseq)
        elif before != known:
            self._violated("previous value", pk, pseq)
        if after:
            self._values[key] = after
        else:
            self._values.pop(key, None)

    def _violated(self, invariant: str, pk: str, pseq: int) -> None:
        if len(self.problems) < 100:
            self.problems.append(f"{invariant}: {pk} {pseq}")


def _digest(side: object) -> int:
    return zlib.crc32(json.dumps(side, sort_keys=True).encode()) if side is not None else 0
