"""Facts of permission decisions that may be used again, and for how long.

One entry is what one strong read found, with the partition versions that it
rests on and when the read began. It is used only as the caller's demand allows
(design, "Freshness of permission decisions"), and never after a change of what
it rests on was announced or delivered.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Hashable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Generic, TypeVar

from services.rpc.consistency import Demand, Level

__all__ = ["MOST_STALE_SECONDS", "Cached", "FactCache", "Filling"]

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")

MOST_STALE_SECONDS = 5.0
_ANYBODY = ""


@dataclass(frozen=True, slots=True)
class Cached(Generic[V]):
    """A fact: `partitions` are the sequence numbers that it was read at or
    after, `owner` the user it is about ('' for none), `read_started_at` unix
    seconds by the clock of the reader."""

    value: V
    partitions: Mapping[str, int]
    read_started_at: float
    owner: str = _ANYBODY


class Filling(Generic[K, V]):
    """Reads under way; what becomes stale meanwhile is not kept."""

    __slots__ = ("_cache", "_overtaken")

    def __init__(self, cache: FactCache[K, V]) -> None:
        self._cache = cache
        self._overtaken: set[tuple[str, str]] | None = set()

    def keep(self, key: K, entry: Cached[V]) -> None:
        """Keep what was read, unless it was overtaken. A fact that does not say
        what it rests on could never be taken back: it is not kept."""
        if entry.partitions and not self._is_overtaken(entry):
            self._cache._store(key, entry)

    def overtake(self, pk: str, owner: str) -> None:
        """Facts of this partition (and owner) changed while we read."""
        if self._overtaken is not None:
            self._overtaken.add((pk, owner))

    def lose(self) -> None:
        """Anything may have changed while we read."""
        self._overtaken = None

    def _is_overtaken(self, entry: Cached[V]) -> bool:
        if self._overtaken is None:
            return True
        owners = {_ANYBODY, entry.owner}
        return bool(self._overtaken) and any(
            (pk, owner) in self._overtaken for pk in entry.partitions for owner in owners
        )


class FactCache(Generic[K, V]):
    """At most `most` entries, least recently used out first.

    `exact`: this process alone writes the store, so that every commit is
    announced here before it is acknowledged and no watermark is needed.
    `serve` False answers nothing (for comparison). `drop_overtaken` False keeps
    overtaken fills: tests show with it what the rule is for.
    """

    def __init__(
        self,
        *,
        most: int,
        now: Callable[[], float],
        exact: bool,
        serve: bool = True,
        drop_overtaken: bool = True,
    ) -> None:
        self._most = most
        self._now = now
        self._exact = exact
        self._serve = serve
        self._drop_overtaken = drop_overtaken
        self._entries: OrderedDict[K, Cached[V]] = OrderedDict()
        self._dependents: dict[str, dict[str, set[K]]] = {}
        self._fillings: set[Filling[K, V]] = set()
        self._watermark = 0.0
        self.generation = 0
        """Changes whenever an entry may have ended."""

    def __len__(self) -> int:
        return len(self._entries)

    def get(self, key: K, demand: Demand) -> V | None:
        """The fact, if the demand allows to use it; None: read it."""
        entry = self._entries.get(key)
        if entry is None or not self.allows(demand):
            return None
        if demand.tokens and not demand.met_by(entry.partitions, entry.read_started_at):
            return None
        self._entries.move_to_end(key)
        return entry.value

    def known(self, key: K) -> V | None:
        """The entry however old, for a caller who checks its version."""
        entry = self._entries.get(key)
        return entry.value if entry else None

    def allows(self, demand: Demand) -> bool:
        """Whether the demand may be met from here at all, tokens apart."""
        if not self._serve or demand.level is Level.FULLY_CONSISTENT:
            return False
        if self._exact:
            return True
        age = self._now() - self._watermark
        return 0 <= age <= MOST_STALE_SECONDS and demand.level is not Level.AS_OF_NOW

    @contextmanager
    def filling(self) -> Iterator[Filling[K, V]]:
        """Around a strong read whose results are to be kept."""
        filling: Filling[K, V] = Filling(self)
        self._fillings.add(filling)
        try:
            yield filling
        finally:
            self._fillings.discard(filling)

    def invalidate(self, pk: str, owner: str = _ANYBODY) -> None:
        """What rests on the partition is stale: of `owner` alone, or of all."""
        self.generation += 1
        if self._drop_overtaken:
            for filling in self._fillings:
                filling.overtake(pk, owner)
        of_partition = self._dependents.get(pk)
        if of_partition is None:
            return
        owners = [owner] if owner else list(of_partition)
        for each in owners:
            for key in tuple(of_partition.get(each, ())):
                self._drop(key)

    def clear(self) -> None:
        """Changes may have been missed: everything is stale."""
        self.generation += 1
        self._watermark = 0.0
        for filling in self._fillings:
            filling.lose()
        self._entries.clear()
        self._dependents.clear()

    def delivered(self, watermark: float) -> None:
        """Every change that was committed before `watermark` (unix seconds, by the
        clock of who read them) has been told to `invalidate`."""
        # A clock that is ahead must not prolong the time after the last message.
        now = self._now()
        self._watermark = min(max(self._watermark, watermark), now)

    def _store(self, key: K, entry: Cached[V]) -> None:
        if key in self._entries:
            self._drop(key)
            self.generation += 1  # what was made of the older one is older
        self._entries[key] = entry
        for pk in entry.partitions:
            self._dependents.setdefault(pk, {}).setdefault(entry.owner, set()).add(key)
        while len(self._entries) > self._most:
            self._drop(next(iter(self._entries)))
            self.generation += 1  # nobody would be told of its end

    def _drop(self, key: K) -> None:
        entry = self._entries.pop(key, None)
        if entry is None:
            return
        for pk in entry.partitions:
            of_partition = self._dependents[pk]
            of_partition[entry.owner].discard(key)
            if not of_partition[entry.owner]:
                del of_partition[entry.owner]
            if not of_partition:
                del self._dependents[pk]
