"""What is measured of any record driver: commits, commits of a record store, joins.

A commit is a document: its row, the event of its making, and HEAD. Rows are counted as
records: a document and its event are two.
"""

from __future__ import annotations

import itertools
import time
from collections.abc import Iterator, Sequence

from services.backends import wall_millis
from services.model.clocks import HybridClock
from services.model.families import FAMILIES
from services.model.stamp import Stamp
from services.model.versions import State, Version
from services.records.conflict_rows import Found
from services.records.port import Key, Put, RecordDriver
from services.records.record import Activity, Write
from services.records.replica import Incoming, Replica
from services.records.siblings import travelling
from services.records.store import RecordStore
from sync_svc.engine.objects.parallel import in_parallel
from sync_svc.engine.reading import read_rows
from tests.bench.cases.sync_surfaces import commit_of, document

__all__ = ["Commits", "rate"]

_ACTOR = "nbench.1"


class Commits:
    """Of documents that nobody wrote yet; rates in records a second."""

    def __init__(self, driver: RecordDriver) -> None:
        self.driver = driver
        self._store = RecordStore(driver, actor=_ACTOR, clock=HybridClock(wall_millis))
        self._replica = Replica(self._store)
        self._numbers = itertools.count(1)

    def made(self, commits: int) -> Iterator[Sequence[Put]]:
        for _ in range(commits):
            yield commit_of(document(next(self._numbers)), _ACTOR)

    async def of_driver(self, commits: int) -> float:
        made = list(self.made(commits))
        began = time.perf_counter()
        for puts in made:
            await self.driver.commit(puts[0].key.pk, puts)
        return rate(commits, began)

    async def of_store(self, commits: int) -> float:
        family = FAMILIES["document"]
        made = [document(next(self._numbers)) for _ in range(commits)]
        began = time.perf_counter()
        for message in made:
            pk, _ = family.key_of(message)
            await self._store.commit(
                pk, [Write(family, message)], activity=Activity("bench.made", pk)
            )
        return rate(commits, began)

    async def joins(self, commits: int, *, at_once: int) -> float:
        """The states of the same rows, as a surface gets them from another: what is there
        is read first, many keys a request, and then joined."""
        made = [_incoming(puts) for puts in self.made(commits)]
        async def one(incoming: Sequence[Incoming]) -> None:
            await self._replica.join(
                incoming[0].key.pk, incoming, origin="i_bench", found=Found(wall_millis()),
                known=known,
            )

        keys = [each.key for part in made for each in part]
        heads = [Key(part[0].key.pk, "#HEAD") for part in made]
        began = time.perf_counter()
        known = {each.key: each for each in await read_rows(self._store, [*heads, *keys])}
        await in_parallel(made, one, concurrency=at_once)
        return rate(commits, began)


def rate(commits: int, began: float) -> float:
    return 2 * commits / (time.perf_counter() - began)


def _incoming(puts: Sequence[Put]) -> list[Incoming]:
    """What sync joins of a commit: all rows but HEAD, which every store has its own of."""
    return [_state(put) for put in puts if put.stamp]


def _state(put: Put) -> Incoming:
    stamp = Stamp.load(put.stamp)
    version = Version.of(stamp, travelling(FAMILIES[put.family], put.body))
    return Incoming(put.key, State(put.family, stamp.clock, {version.dot: version}))
