"""The change feed as readers see it, over the lanes of all processes (lanes.py).

A read takes the list of lanes and each lane's rows behind the cursor, both strongly, and
delivers the rows of a lane only as far as there is no gap: what is in an empty slot may
still happen. A gap that this reader has seen for a second while later rows exist is
filled with `void`; whoever was about to commit there takes another slot. A reader that
may not write waits, and says that its page is not complete.

Order: a row names the versions that its commit replaced, and their tokens the slots that
made them. It waits for those, in whatever lane they are. So in a partition commits are
delivered in the order in which they built upon each other; every commit of the record
store replaces its partition's HEAD, so that is all of them. A key comes with the commit
that wrote its current version, as in the feeds of the SQL drivers; commits since
replaced bring nothing of it. (A transaction's row may be readable a moment before its
items are. Those that are not as they were before it are there; of those that are absent
a transactional read tells, which the service refuses while they are being written.)

From the beginning means: a walk over the table, in the order of keys, then the lanes
from where they ended before the walk began.

Cost of a read that finds nothing: 1 read unit for the list (up to about 30 lanes), and 1
for each lane, besides what the store's identity costs; the lanes at once. A read that
finds something: 1 for each 4 KB of rows, and each changed item once, strongly (thrice
where it is absent, though it should not have expired yet).
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from services.records.dynamodb.feed_cursor import Place, read_cursor
from services.records.dynamodb.feed_rows import (
    FRESH_SECONDS,
    Change,
    Kind,
    LaneTable,
    Row,
    lane_of,
)
from services.records.dynamodb.fencing import WINDOW, Run, end_of, fence, run_of
from services.records.port import ChangePage, Item, Key

__all__ = ["FENCE_SECONDS", "Feed"]

FENCE_SECONDS = 1.0
"""How long a reader looks at a gap before it fills it."""
_PATIENCE_SECONDS = 3 * FENCE_SECONDS
_PAUSE_SECONDS = 0.05
_RECENT_SECONDS = 60.0
_DAY = 24 * 3600
_ROWS = 200
_READ = 100
_BEGINNING = Key("", "")


@dataclass(frozen=True, slots=True)
class _Step:
    """Some changes of a row, or a row without any; then the lane is at `following`,
    with `done` changes of the row there."""

    row: Row
    changes: Sequence[Change]
    following: int
    done: int


@dataclass(slots=True)
class _View:
    """What one read of the lanes found. `more`: lanes of which it did not read all.
    `unknown`: lanes that rows wait for and that were not listed."""

    runs: Mapping[str, Run]
    more: frozenset[str]
    unknown: set[str] = field(default_factory=set)


class Feed:
    """Reads the feed. `read` is the driver's `batch_get` and `scan` its scan; `settled`
    tells which of some keys no transaction is writing, with their items; `identity`
    names the store; `clock` tells unix seconds, `monotonic` seconds of this process. A
    `read_only` one never writes."""

    def __init__(
        self,
        table: LaneTable,
        *,
        identity: Callable[[], Awaitable[str]],
        read: Callable[[Sequence[Key]], Awaitable[Sequence[Item | None]]],
        settled: Callable[[Sequence[Key]], Awaitable[Mapping[Key, Item | None]]],
        scan: Callable[[Key | None, int], Awaitable[Sequence[Item]]],
        clock: Callable[[], float],
        read_only: bool = False,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._table = table
        self._identity = identity
        self._read = read
        self._settled = settled
        self._scan = scan
        self._clock = clock
        self._read_only = read_only
        self._monotonic = monotonic
        self._gaps: dict[tuple[str, int], float] = {}

    async def changes(self, cursor: str | None, limit: int) -> ChangePage:
        """See `RecordDriver.changes`; at most `limit` items. Ends within a few seconds:
        an empty page that is not complete has waited for a gap."""
        identity, now = await self._identity(), self._clock()
        if cursor is None:
            place = Place(int(now), await self._ends(), scan=_BEGINNING)
        else:
            place = read_cursor(identity, cursor, now)
        before, made = place.where(), place.time
        items, complete = await self._walk(place, limit), False
        if place.scan is None and len(items) < limit:
            found, complete = await self._follow(place, limit - len(items), wait=not items)
            later = {item.key for item in found}
            items = [item for item in items if item.key not in later] + found
        if place.where() == before and place.time < made + _DAY:
            place.time = made  # the same text while nothing happens
        return ChangePage(items, place.cursor(identity), complete)

    async def tail(self) -> str:
        """See `RecordDriver.tail`. 2 read units, and 3 or more for each lane."""
        identity, now = await self._identity(), self._clock()
        return Place(int(now), await self._ends()).cursor(identity)

    async def _ends(self) -> dict[str, int]:
        """Behind every commit that can be read, and behind what these build upon: waits
        for gaps, and for commits that can be read in part, in vain for a few seconds."""
        until = self._monotonic() + _PATIENCE_SECONDS
        gone: set[str] = set()
        while True:
            place, whole = await self._end(gone)
            if whole or self._monotonic() >= until:
                return place.next
            await asyncio.sleep(_PAUSE_SECONDS)

    async def _end(self, gone: set[str]) -> tuple[Place, bool]:
        """Where the lanes end. They were not read at one moment: what is found there after
        all were read joins, as far as it builds on what is before the end."""
        lanes = await self._lanes()
        ends = await asyncio.gather(*(end_of(self._table, lane) for lane in lanes))
        recent = (self._clock() - _RECENT_SECONDS) * 1000
        place, whole = Place(0), True
        for lane, end in zip(lanes, ends, strict=True):
            steps = [_Step(row, row.changes, 0, 0) for row in end.rows if row.at > recent]
            _, taken = await self._current(steps)
            whole = whole and taken == len(steps)
            place.next[lane] = steps[taken].row.seq if taken < len(steps) else end.next
        view = await self._view(place, _ROWS)
        steps = list(self._steps(place, view, _READ * _ROWS, gone))
        _, taken = await self._current(steps)
        for step in steps[:taken]:
            _move(place, step)
        await self._fence(view.runs)
        if view.unknown:
            gone |= view.unknown.difference(await self._lanes())
        whole = whole and taken == len(steps) and not view.more
        return place, whole and _is_all(place, view.runs)

    async def _lanes(self) -> list[str]:
        oldest = (self._clock() - FRESH_SECONDS) * 1000
        listed = await self._table.lanes()
        return sorted(lane for lane, since in listed.items() if since >= oldest)

    async def _walk(self, place: Place, limit: int) -> list[Item]:
        items: list[Item] = []
        while place.scan is not None and len(items) < limit:
            after = None if place.scan == _BEGINNING else place.scan
            page = await self._scan(after, limit - len(items))
            items += page
            place.scan = page[-1].key if page else None
        return items

    async def _follow(self, place: Place, room: int, *, wait: bool) -> tuple[list[Item], bool]:
        """Items of the lanes, and whether they are all. Moves `place`."""
        until = self._monotonic() + _PATIENCE_SECONDS
        gone: set[str] = set()
        while True:
            began, before = self._clock(), place.where()
            view = await self._view(place, room)
            steps = list(self._steps(place, view, room, gone))
            items, taken = await self._current(steps)
            for step in steps[:taken]:
                _move(place, step)
            complete = taken == len(steps) and not view.more and _is_all(place, view.runs)
            place.time = max(place.time, int(began if complete else _oldest(place, view, began)))
            await self._fence(view.runs)
            if items or complete:
                return items, complete
            if view.unknown:
                gone |= view.unknown.difference(await self._lanes())
            elif place.where() == before:
                if not wait or self._monotonic() >= until:
                    return [], False
                await asyncio.sleep(_PAUSE_SECONDS)

    async def _view(self, place: Place, room: int) -> _View:
        """A lane that the cursor does not know is read from its first row."""
        lanes = await self._lanes()
        place.next = {lane: place.next.get(lane, 1) for lane in lanes}
        most = min(room, _ROWS) + WINDOW
        found = await asyncio.gather(
            *(self._table.rows(lane, place.next[lane], most) for lane in lanes)
        )
        rows = dict(zip(lanes, found, strict=True))
        return _View(
            {lane: run_of(rows[lane], place.next[lane]) for lane in lanes},
            frozenset(lane for lane in lanes if len(rows[lane]) == most),
        )

    def _steps(self, place: Place, view: _View, room: int, gone: set[str]) -> Iterator[_Step]:
        """Rows in an order that respects what they build upon, otherwise the oldest
        first, with up to `room` changes."""
        following = dict(place.next)
        waiting = {lane: list(reversed(run.rows)) for lane, run in view.runs.items() if run.rows}
        while room:
            heads = [rows[-1] for rows in waiting.values() if rows]
            ready = [row for row in heads if _is_ready(row, following, view, gone)]
            if not ready:
                return
            row = min(ready, key=lambda each: (each.at, each.lane))
            done = place.done if (row.lane, row.seq) == _inside(place) else 0
            changes = row.changes[done : done + room]
            room -= len(changes)
            done += len(changes)
            if done < len(row.changes):
                yield _Step(row, changes, row.seq, done)
                return
            following[row.lane] = row.next if row.kind is Kind.END else row.seq + 1
            yield _Step(row, changes, following[row.lane], 0)
            waiting[row.lane].pop()

    async def _current(self, steps: Sequence[_Step]) -> tuple[list[Item], int]:
        """The items that these steps bring, and how many steps may be taken: those up to
        the first whose items are not to be read yet."""
        keys = list(dict.fromkeys(_keys(steps)))
        found: dict[Key, Item | None] = {}
        for at in range(0, len(keys), _READ):
            part = keys[at : at + _READ]
            found.update(zip(part, await self._read(part), strict=True))
        settled = await self._settled(list(self._doubtful(steps, found)))
        found.update(settled)
        items: list[Item] = []
        for taken, step in enumerate(steps):
            now = [(change, found[Key(step.row.pk, change.sk)]) for change in step.changes]
            if any(self._is_pending(step.row, *each, settled) for each in now):
                return items, taken
            items += [item for _, item in now if item and item.token == step.row.token]
        return items, len(steps)

    def _doubtful(
        self, steps: Iterable[_Step], found: Mapping[Key, Item | None]
    ) -> Iterator[Key]:
        """Keys that are absent: not there yet, or the version that came next has expired."""
        now = self._clock()
        for key, until in dict.fromkeys(
            (Key(step.row.pk, change.sk), change.until)
            for step in steps
            for change in step.changes
        ):
            if found[key] is None and not (until and until <= now):
                yield key

    def _is_pending(
        self, row: Row, change: Change, item: Item | None, settled: Mapping[Key, Item | None]
    ) -> bool:
        """Whether the item is still as before this commit, whose row is there."""
        if item is not None:
            return item.token == change.was
        expired = change.until and change.until <= self._clock()
        return not expired and Key(row.pk, change.sk) not in settled

    async def _fence(self, runs: Mapping[str, Run]) -> None:
        now = self._monotonic()
        for slot in [each for each, first in self._gaps.items() if first < now - _RECENT_SECONDS]:
            del self._gaps[slot]
        for lane, run in runs.items():
            seen = self._gaps.setdefault((lane, run.next), now) if run.gap else now
            if seen <= now - FENCE_SECONDS and not self._read_only:
                await fence(self._table, lane, run, at=int(self._clock() * 1000))


def _is_ready(row: Row, following: Mapping[str, int], view: _View, gone: set[str]) -> bool:
    """Whether everything that the commit builds upon comes before it."""
    ready = True
    for change in row.changes:
        slot = lane_of(change.was)
        if slot is None or slot[0] == row.lane or slot[0] in gone:
            continue
        if slot[0] not in following:
            view.unknown.add(slot[0])
            ready = False
        elif following[slot[0]] <= slot[1]:
            ready = False
    return ready


def _inside(place: Place) -> tuple[str, int]:
    return place.inside, place.next.get(place.inside, 0)


def _keys(steps: Iterable[_Step]) -> Iterator[Key]:
    return (Key(step.row.pk, change.sk) for step in steps for change in step.changes)


def _move(place: Place, step: _Step) -> None:
    place.next[step.row.lane] = step.following
    if step.done:
        place.inside, place.done = step.row.lane, step.done
    elif place.inside == step.row.lane:
        place.inside, place.done = "", 0


def _is_all(place: Place, runs: Mapping[str, Run]) -> bool:
    return all(not run.gap and place.next[lane] == run.next for lane, run in runs.items())


def _oldest(place: Place, view: _View, now: float) -> float:
    """When the oldest of what is still to come was written, at the earliest."""
    times = [now]
    for lane, run in view.runs.items():
        at = place.next[lane]
        left = [row.at for row in run.rows if row.seq >= at]
        if left or run.gap or lane in view.more:
            last = [row.at for row in run.rows[-1:]]
            times += [each / 1000 for each in (left or last)] or [place.time]
    return min(times)
