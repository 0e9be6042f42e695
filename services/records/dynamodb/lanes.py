"""The change feed as a writer makes it: each commit takes a slot of this process's lane.

A commit writes the row of its slot in its own transaction, if the slot is empty:

    slot = await lanes.reserve()                # a new one for each attempt
    items = [..., lanes.item(slot, pk, puts, mark)]       # tokens: slot.token
    await transact(items)  ->  landed           lanes.landed(slot)
                               surely did not   lanes.release(slot)
                               slot was taken   await lanes.fenced(slot); a new slot
                               unclear          await lanes.settle(slot, mark)
                               given up         lanes.abandon(slot)   (cancelled, say)

A slot is settled by writing `void` to it if it is empty: then the transaction can never
happen; otherwise the row that is there says by its mark whether it has.

Order: a commit reserves its slot after it read what it replaces, and the token of an
item names the slot that wrote it. So what a commit builds upon is in lower slots of its
own lane, or in slots of other lanes that its row names; readers deliver those first.
That is why a slot that was given back is used again only while nothing was written
behind it. Otherwise it gets a `void`, so that readers need not wait for it.

Lanes are used again. A process that closes writes `END` behind its last slot, and who
needs a lane takes an ended one by writing `BEGIN`: there are as many lanes as there were
processes at once, plus those that crashed within an hour. A lane is left a day after it
was registered (its owner takes one anew, mostly the same), so that a registration that
is not renewed for 120 days belongs to no one, and has no rows (they live for 90).

Write units of a commit: 2 for its row. Taking a lane costs 1 read unit for the list, 2
for each lane, and 2 write units.
"""

from __future__ import annotations

import asyncio
import logging
import secrets
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass, field
from typing import Any

from services.records.dynamodb.feed_rows import (
    FRESH_SECONDS,
    Kind,
    LaneTable,
    Row,
    changes_of,
    slot_attributes,
)
from services.records.dynamodb.fencing import (
    QUIET_SECONDS,
    WINDOW,
    LaneEnd,
    end_lane,
    end_of,
)
from services.records.port import DriverUnavailable, Put

__all__ = ["Lanes", "Slot"]

_OWNED_MS = 24 * 3600 * 1000
_TAKE_MS = (FRESH_SECONDS - 9 * 24 * 3600) * 1000
_CLOSE_SECONDS = 10.0
_log = logging.getLogger("workspace.records.dynamodb")


@dataclass(frozen=True, slots=True)
class Slot:
    """A place in the change feed. `token` is the token of every item that is written in
    it: unique, since at most one transaction can happen in a slot."""

    lane: str
    seq: int

    @property
    def token(self) -> str:
        return Row(self.lane, self.seq, Kind.COMMIT, 0, 0).token


@dataclass(slots=True)
class _Lane:
    """A lane that this process owns. `open`: slots that may get a row, or must; `given`:
    given back; `filled`: the highest slot that has one. `left`: no further commits go
    here; `foreign`: and it is not ours to end."""

    name: str
    since: int
    next: int
    open: set[int] = field(default_factory=set)
    given: set[int] = field(default_factory=set)
    filled: int = 0
    left: bool = False
    foreign: bool = False

    @property
    def floor(self) -> int:
        return min(self.open | self.given, default=self.next)

    def issue(self) -> int | None:
        if self.next >= self.floor + WINDOW:
            return None
        self.open.add(self.next)
        self.next += 1
        return self.next - 1

    def give_back(self, seq: int) -> None:
        self.open.discard(seq)
        self.given.add(seq)
        while self.next - 1 in self.given:
            self.next -= 1
            self.given.discard(self.next)

    def fill(self, seq: int) -> None:
        self.open.discard(seq)
        self.filled = max(self.filled, seq)

    def holes(self) -> list[int]:
        """Slots given back that readers would wait for; they are open again."""
        found = sorted(seq for seq in self.given if seq < self.filled)
        self.given.difference_update(found)
        self.open.update(found)
        return found


class Lanes:
    """See the module. `clock` tells unix seconds."""

    def __init__(self, table: LaneTable, *, clock: Callable[[], float]) -> None:
        self._table = table
        self._clock = clock
        self._lane: _Lane | None = None
        self._owned: dict[str, _Lane] = {}
        self._taking = asyncio.Lock()
        self._moved = asyncio.Event()
        self._tasks: set[asyncio.Task[None]] = set()

    async def reserve(self) -> Slot:
        """A slot for one attempt of a commit. Call it after reading what the commit
        replaces. Waits while too many are under way. Raises DriverUnavailable."""
        while True:
            lane = self._lane
            if lane is not None and self._at() - lane.since > _OWNED_MS:
                self._leave(lane)
            if lane is None or lane.left:
                lane = await self._taken()
            seq = lane.issue()
            if seq is not None:
                return Slot(lane.name, seq)
            await self._moved.wait()

    def row(self, slot: Slot, pk: str, puts: Sequence[Put], mark: str) -> Row:
        """The row of a commit of `puts` in `slot`."""
        floor = self._owned[slot.lane].floor
        changes = changes_of(puts)
        return Row(slot.lane, slot.seq, Kind.COMMIT, self._at(), floor, mark, pk, changes)

    def item(self, slot: Slot, pk: str, puts: Sequence[Put], mark: str) -> dict[str, Any]:
        """`Item` and `ConditionExpression` of a Put of TransactWriteItems; the caller
        adds the table. `mark` names this attempt and no other. Every item of the commit
        has `slot.token` as its token."""
        return {
            "Item": slot_attributes(self.row(slot, pk, puts, mark)),
            "ConditionExpression": "attribute_not_exists(PK)",
        }

    def landed(self, slot: Slot) -> None:
        """The transaction happened."""
        lane = self._owned[slot.lane]
        lane.fill(slot.seq)
        self._settled(lane)

    def release(self, slot: Slot) -> None:
        """The transaction surely did not happen, and will not."""
        lane = self._owned[slot.lane]
        lane.give_back(slot.seq)
        self._settled(lane)

    async def fenced(self, slot: Slot) -> None:
        """The transaction did not happen since the slot has another row already."""
        lane = self._owned[slot.lane]
        try:
            found = await self._table.rows(slot.lane, slot.seq, 1)
        except DriverUnavailable:
            found = []
        self._lost(lane, slot.seq, found[0] if found else None)

    async def settle(self, slot: Slot, mark: str) -> bool:
        """Whether the transaction of an unclear answer happened; if not, it never will.
        Raises DriverUnavailable (ambiguous) when that cannot be told."""
        lane = self._owned[slot.lane]
        try:
            found = await self._table.add(self._void(lane, slot.seq))
        except DriverUnavailable as failure:
            self._give_up(lane)
            raise DriverUnavailable(
                str(failure), ambiguous=True, remedy=failure.remedy
            ) from failure
        if found is not None and found.mark == mark:
            self.landed(slot)
            return True
        self._lost(lane, slot.seq, found)
        return False

    def abandon(self, slot: Slot) -> None:
        """Nobody waits for the answer any more: settle it behind the scenes."""
        self._spawn(self._fill(self._owned[slot.lane], slot.seq))

    def disown(self) -> None:
        """The table is another one: what it lists, and holds, of our lanes is unknown."""
        for lane in tuple(self._owned.values()):
            lane.foreign = True
            self._leave(lane)
        self._wake()

    async def close(self) -> None:
        """End this process's lanes. What does not succeed others do an hour later."""
        for lane in tuple(self._owned.values()):
            self._leave(lane)
        try:
            async with asyncio.timeout(_CLOSE_SECONDS):
                while self._tasks:
                    await asyncio.wait(self._tasks)
        except TimeoutError:
            for task in self._tasks:
                task.cancel()
            await asyncio.gather(*self._tasks, return_exceptions=True)

    def _at(self) -> int:
        return int(self._clock() * 1000)

    def _void(self, lane: _Lane, seq: int) -> Row:
        return Row(lane.name, seq, Kind.VOID, self._at(), lane.floor, secrets.token_hex(8))

    def _lost(self, lane: _Lane, seq: int, found: Row | None) -> None:
        """The slot has a row that is none of ours: the lane may be ended."""
        lane.fill(seq)
        if found is not None and found.kind is not Kind.VOID:
            lane.left = lane.foreign = True
        self._settled(lane)

    def _settled(self, lane: _Lane) -> None:
        for seq in lane.holes():
            self._spawn(self._fill(lane, seq))
        self._wake()
        if lane.left and not lane.open:
            self._leave(lane)

    def _give_up(self, lane: _Lane) -> None:
        """A slot stays open: others fill it, and end the lane an hour later."""
        lane.left = lane.foreign = True
        self._wake()

    def _wake(self) -> None:
        self._moved.set()
        self._moved = asyncio.Event()

    def _leave(self, lane: _Lane) -> None:
        """No further commits here; END when nothing is under way any more."""
        lane.left = True
        if lane.open or lane.name not in self._owned:
            return
        del self._owned[lane.name]
        if not lane.foreign:
            self._spawn(self._end(lane))

    async def _fill(self, lane: _Lane, seq: int) -> None:
        try:
            found = await self._table.add(self._void(lane, seq))
        except DriverUnavailable:
            self._give_up(lane)
            _log.warning("a slot of the change feed stays empty until a reader fills it")
        else:
            self._lost(lane, seq, found if found and found.kind is not Kind.COMMIT else None)

    async def _end(self, lane: _Lane) -> None:
        end = Row(
            lane.name, lane.next, Kind.END, self._at(), lane.next, secrets.token_hex(8),
            next=lane.next + 1,
        )  # fmt: skip
        try:
            await self._table.add(end)
        except DriverUnavailable:
            _log.warning("a lane of the change feed was not ended; that is done later")

    async def _taken(self) -> _Lane:
        """The lane of this process, one anew if it has none."""
        async with self._taking:
            if self._lane is None or self._lane.left:
                self._lane = await self._take()
                self._owned[self._lane.name] = self._lane
            return self._lane

    async def _take(self) -> _Lane:
        at = self._at()
        listed = await self._table.lanes()
        names = [
            name
            for name, since in listed.items()
            if at - since < _TAKE_MS and name not in self._owned
        ]
        ends = await asyncio.gather(*(end_of(self._table, name) for name in names))
        for name, end in zip(names, ends, strict=True):
            begin = await self._begin(name, end, at)
            if begin:
                return await self._registered(name, at, begin + 1)
        return await self._registered(secrets.token_hex(6), at, 1)

    async def _begin(self, name: str, end: LaneEnd, at: int) -> int:
        """The slot of our BEGIN, 0 when the lane is not to be had."""
        following = end.next if end.ended else 0
        if end.last is not None and not end.ended and at - end.last.at > QUIET_SECONDS * 1000:
            following = await end_lane(self._table, name, end.next, at=at)
        if not following:
            return 0
        row = Row(name, following, Kind.BEGIN, at, following, secrets.token_hex(8))
        return 0 if await self._table.add(row) else following

    async def _registered(self, name: str, at: int, following: int) -> _Lane:
        """Before the first commit: readers find it by the list."""
        await self._table.register(name, at)
        return _Lane(name, at, following)

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
