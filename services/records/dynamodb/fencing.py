"""Where a lane ends, and how it is taken out of other hands, without trusting clocks.

A process has at most `WINDOW` slots under way: slot s is used only when its process
knows that every slot up to s - WINDOW has a row. So whoever writes a row to the first
WINDOW - 1 slots behind an empty slot e, and then `END` to e itself, knows that no commit
of the former owner can land in the lane any more. The lane goes on at e + WINDOW.
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Sequence
from dataclasses import dataclass

from services.records.dynamodb.feed_rows import Kind, LaneTable, Row

__all__ = ["QUIET_SECONDS", "WINDOW", "LaneEnd", "Run", "end_lane", "end_of", "fence", "run_of"]

WINDOW = 64
"""Commits that a process may have under way."""
QUIET_SECONDS = 3600
"""A lane without a row for so long is taken for that of a dead process. It may be wrong:
a living one then goes on in another lane."""
_PAGE = 4 * WINDOW
_LOOKBACK = WINDOW
"""A commit that can be read only in part is no further behind the end of its lane: its
process waits for it before it uses a slot so far on."""


@dataclass(frozen=True, slots=True)
class Run:
    """Rows in order without a gap, up to slot `next`. `gap`: later rows exist, the first
    of them in slot `beyond`; their commits are withheld until `next` has its row."""

    rows: Sequence[Row]
    next: int
    ended: bool = False
    beyond: int = 0

    @property
    def gap(self) -> bool:
        return self.beyond > 0


@dataclass(frozen=True, slots=True)
class LaneEnd:
    """The first slot of a lane without a row. `ended`: nobody owns the lane. `last`: its
    highest row. `rows`: the latest before `next`, with all that may still be under way."""

    next: int
    ended: bool
    last: Row | None
    rows: Sequence[Row] = ()


def run_of(rows: Sequence[Row], start: int) -> Run:
    """The part of `rows`, which are in order, that follows on `start` without a gap."""
    taken: list[Row] = []
    following, ended = start, False
    for row in rows:
        if row.seq < following:
            continue  # made way for an END
        if row.seq > following:
            return Run(taken, following, ended, row.seq)
        taken.append(row)
        ended = row.kind is Kind.END
        following = row.next if ended else row.seq + 1
    return Run(taken, following, ended)


async def end_of(table: LaneTable, lane: str) -> LaneEnd:
    """Every commit before it has happened; what happens after this call began is behind
    it. 2 read units or more."""
    last = await table.last(lane)
    if last is None:
        return LaneEnd(1, False, None)
    following, ended = last.floor, False
    taken: list[Row] = []
    start = max(1, following - _LOOKBACK)
    while True:
        rows = await table.rows(lane, start, _PAGE)
        run = run_of(rows, following)
        taken += [*(row for row in rows if row.seq < following), *run.rows]
        following, ended = run.next, run.ended or (ended and not run.rows)
        start = rows[-1].seq + 1 if rows else following
        if run.gap or len(rows) < _PAGE:
            return LaneEnd(following, ended and not run.gap, last, taken)


async def fence(table: LaneTable, lane: str, run: Run, *, at: int) -> None:
    """Let nothing happen any more in the slots that readers wait for."""
    slots = range(run.next, min(run.beyond, run.next + WINDOW))
    await asyncio.gather(*(table.add(_row(lane, seq, Kind.VOID, at, run.next)) for seq in slots))


async def end_lane(table: LaneTable, lane: str, end: int, *, at: int) -> int:
    """Take a lane from its owner, living or dead; `end` is its first empty slot. Returns
    where it goes on, 0 when it is still in use. `WINDOW` write units."""
    closing = range(end + 1, end + WINDOW)
    found = await asyncio.gather(
        *(table.add(_row(lane, seq, Kind.CLOSING, at, end)) for seq in closing)
    )
    if any(row and row.kind not in (Kind.VOID, Kind.CLOSING) for row in found):
        return 0
    row = _row(lane, end, Kind.END, at, end, end + WINDOW)
    return 0 if await table.add(row) else row.next


def _row(lane: str, seq: int, kind: Kind, at: int, floor: int, following: int = 0) -> Row:
    return Row(lane, seq, kind, at, floor, secrets.token_hex(8), next=following)
