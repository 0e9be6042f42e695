"""Rows of the source beside those of the target, and what is to be done with each."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from workspace.sync.v1.quarantine_pb2 import QuarantineReason
from workspace.sync.v1.run_pb2 import SyncDirection

from services.model.versions import State, covers, join
from services.records.port import Key
from services.records.replica import Incoming
from services.records.siblings import Rows
from sync_svc.engine.foreign_edits import edited
from sync_svc.engine.operations import Operation, kept, operation, refused
from sync_svc.engine.parts import Intake, Sorted
from sync_svc.engine.reading import BROKEN, read_rows, state_of
from sync_svc.engine.refusal import UNSOUND
from sync_svc.engine.task import Task

__all__ = ["Judged", "Matched", "judge", "match"]

_UNREADABLE = QuarantineReason.QUARANTINE_REASON_INVALID


@dataclass(frozen=True, slots=True)
class Matched:
    """A batch with what the target has. `known` has the target's rows by key, HEAD
    rows of the partitions among them."""

    rows: Sequence[Rows]
    known: Mapping[Key, Rows]


@dataclass(slots=True)
class Judged:
    """What is to be done with a batch.

    `incoming`: states to join at the target; `before`: the target's states as they
    were seen. `answers`: on a push, what the remote surface has besides, of records that
    go there. `operations`: lines of the plan, equal records left out. `looked`: how many
    records are in it, `equal`: those that are the same on both sides."""

    known: Mapping[Key, Rows]
    looked: int = 0
    equal: list[Key] = field(default_factory=list)
    quarantined: int = 0
    incoming: list[Incoming] = field(default_factory=list)
    before: dict[Key, State | None] = field(default_factory=dict)
    answers: list[Incoming] = field(default_factory=list)
    operations: dict[Key, Operation] = field(default_factory=dict)


async def match(task: Task, rows: Sequence[Rows]) -> Matched:
    """Read what the target has of these records, in as few requests as possible."""
    keys = dict.fromkeys(
        key for each in rows for key in (each.key, Key(each.key.pk, "#HEAD"))
    )
    found = await read_rows(task.target.records, list(keys))
    return Matched(rows, {each.key: each for each in found})


async def judge(task: Task, intake: Intake, matched: Matched, *, preview: bool) -> Judged:
    """Screen what comes from the remote surface and say what is to be done. With
    `preview` nothing is written anywhere."""
    done = Judged(matched.known, looked=len(matched.rows))
    differing = [each for each in matched.rows if not _same(each, matched.known[each.key])]
    apart = {each.key for each in differing}
    done.equal = [each.key for each in matched.rows if each.key not in apart]
    push = task.direction == SyncDirection.SYNC_DIRECTION_PUSH
    remote = [matched.known[each.key] if push else each for each in differing]
    sorted_ = await _sort(task, intake, [each for each in remote if each.item], preview)
    taken = {each.key: each for each in sorted_.take} if sorted_ else {}
    for each in differing:
        theirs = matched.known[each.key]
        if push:
            refusal = sorted_.refused.get(each.key) if sorted_ else None
            unsound = refusal is not None and refusal.reason in UNSOUND
            stays = refusal is not None and (refusal.stays or _has_two_contents(each, theirs))
            if refusal is not None and theirs.item and stays:
                done.operations[each.key] = refused(theirs.item, refusal.reason)
                done.quarantined += 1
                continue
            _send(done, each, theirs, taken.get(each.key), unsound=unsound)
        else:
            _receive(done, each, theirs, taken.get(each.key))
        if sorted_ and each.key in sorted_.refused:
            item = theirs.item if push else each.item
            assert item is not None
            done.quarantined += 1
            if not push or each.key not in done.before:
                done.operations[each.key] = refused(item, sorted_.refused[each.key].reason)
    return done


async def _sort(
    task: Task, intake: Intake, rows: Sequence[Rows], preview: bool
) -> Sorted | None:
    if not rows:
        return None
    return await (intake.preview(task, rows) if preview else intake.sort(task, rows))


def _send(
    done: Judged, rows: Rows, theirs: Rows, taken: Incoming | None, *, unsound: bool
) -> None:
    """`unsound`: what the target has may be anything. It is only written over when
    nothing of it is left then."""
    source, target = state_of(rows), state_of(theirs)
    if source is None:
        return  # damaged here: `wm doctor` says so
    try:
        if target is None and theirs.item is not None:
            raise ValueError("its stamp cannot be read")
        if unsound and target is not None and not _follows(source, target):
            raise ValueError("it cannot be joined to anything")
        _join(done, Incoming(rows.key, source), None if unsound else target)
    except BROKEN:
        # A row that cannot be read cannot be joined; it stays as it is.
        assert theirs.item is not None, "only the target's row was not written here"
        done.operations[rows.key] = refused(theirs.item, _UNREADABLE)
        return
    if not done.operations[rows.key].changes:
        return  # where the target is ahead a pull brings it, guarded as pulls are
    if taken is not None and not join(source, taken.state).same_as(source):
        done.answers.append(taken)


def _has_two_contents(rows: Rows, theirs: Rows) -> bool:
    """Whether a version has one content here and another there: joined, one of the two
    would be lost."""
    source, target = state_of(rows), state_of(theirs)
    try:
        return source is not None and target is not None and bool(edited(target, source))
    except BROKEN:
        return False  # it is not joined to anything then


def _follows(source: State, target: State) -> bool:
    """Whether no version of the target stays when the source is joined to it."""
    return all(
        covers(source.clock, dot) and dot not in source.versions for dot in target.versions
    )


def _receive(done: Judged, rows: Rows, ours: Rows, taken: Incoming | None) -> None:
    if taken is not None:
        _join(done, taken, state_of(ours))
    elif rows.item is not None:
        done.operations[rows.key] = kept(rows.key, rows.item.family)


def _join(done: Judged, incoming: Incoming, target: State | None) -> None:
    what = operation(incoming.key, incoming.state, target)
    done.operations[incoming.key] = what
    done.before[incoming.key] = target
    if what.changes:
        done.incoming.append(incoming)


def _same(one: Rows, other: Rows) -> bool:
    if one.item is None or other.item is None or one.item.family != other.item.family:
        return False
    try:
        mine, theirs = one.state, other.state
        return mine is not None and mine.same_as(theirs)
    except BROKEN:
        return False
