"""Versions of a former incarnation, minted again: what a second life wrote.

A store that is rolled back in place (a snapshot of a machine, a copied file) goes
on under its incarnation A from an earlier moment T, and what it writes then has
dots (A, n) that A gave to other content in its first life, or gives in its twin.
When the next contact with a surface R shows this (sync_svc/nodes), the store gets an
incarnation B, and this pass looks at every record.

What is known. `bound` is a clock reading before T: that of the last contact with R
that this store remembers and R confirmed. (When the store was copied before anybody
noticed, only what was stamped here after the first life's last contact is in doubt:
the second life came later, and what was unsent before T is common.) Readings of one
store never go back (`Instance.floor`). So a version with `hlc <= bound` was written
before T: both lives have it, its dot names one content, and it stays as it is, whether
or not R has it (it may be out of scope, or R has it superseded already). A version
that lies in R exactly as here stays, too. Any other version of A may be one of the
second life:

- It gets a dot of B in place of its own; body, digest and hlc are as before. The
  versions beside it stay.
  So does one that R has under the same dot with another content and another reading:
  whatever the bound says, two lives wrote it.
- "(A, n) was seen here" may be about the other content of that dot. If the clock went
  on saying so, `join` would drop the other content from all surfaces as superseded:
  a lost update. So everything that the clock, the causal past and the fields' dots
  say of A is cut to what surely is common: the versions of A that stay, here, and in
  R those with `hlc <= bound`; all that lies before such a version in A's counting is
  common with it.
- A version that B wrote between the change of incarnation and this pass, on top of
  one of A, is cut the same way, and keeps its dot.

What follows. Nothing of either life is lost: at worst R's version of A that this
life never saw and the one minted again are concurrent. When their content is equal
they are shown as one, else people see a conflict. False conflicts are possible, and accepted:
versions that were written between `bound` and T and that R has superseded already
are minted again needlessly, and where R has no version of A left, fields that only A
changed count as changed by the new version. Lost updates are possible in one case
that no bookkeeping of one store can see: both lives spoke first with different
surfaces, both exported the same dot, and one of the two was superseded before they
met. When both are alive there, each gets a version of its own, and people see a
conflict (sync_svc/engine/foreign_edits.py).

Activity events are passed over: their keys are random, so no dot is used twice.
Each record is decided by compare-and-swap from its rows alone, so the pass may be
killed, repeated, and run twice at once; what it did already it finds done.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import groupby

from services.model.errors import Reason, WorkspaceError
from services.model.families import FAMILIES
from services.model.shown import shown_of
from services.model.stamp import Dot
from services.model.versions import State, Version
from services.records.conflict_rows import Found
from services.records.instance import Instance
from services.records.port import Item, Key, Put
from services.records.replica import Replica
from services.records.siblings import Rows
from services.records.store import RecordStore

__all__ = ["Lives", "is_another", "minted_again", "remint"]

_PAGE = 500
_KEYS_A_COMMIT = 20


@dataclass(frozen=True, slots=True)
class Lives:
    """`doubtful`: actors that may have had a second life, each with the reading up to
    which all lives are common, and the one after which what is here is in doubt.
    `actor`: who mints now."""

    doubtful: Mapping[str, tuple[str, str]]
    actor: str

    @classmethod
    def of(cls, instance: Instance) -> Lives:
        """What an instance record says of its former incarnations."""
        doubtful = {instance.actor_of(i): at for i, at in instance.unminted.items()}
        return cls(doubtful, instance.actor)


async def remint(
    local: RecordStore, remote: Replica, lives: Lives, *, found: Found
) -> int:
    """Walk the local store and mint again what may be of a second life; returns how
    many records changed. `remote` is asked what it has of them. Nobody may mint as one
    of the doubtful actors any more. Raises the reasons of the record stores."""
    changed, after = 0, None
    while page := await local.scan(after, _PAGE):
        after = page[-1].key
        keys = [item.key for item in page if _concerns(item, lives)]
        if not keys:
            continue
        theirs = dict(zip(keys, await remote.states(keys), strict=True))
        for pk, group in groupby(keys, key=lambda key: key.pk):
            changed += await _partition(local, pk, list(group), theirs, lives, found)
    return changed


async def _partition(
    local: RecordStore,
    pk: str,
    keys: Sequence[Key],
    theirs: Mapping[Key, State | None],
    lives: Lives,
    found: Found,
) -> int:
    changed: list[Key] = []

    async def decide(rows: Sequence[Rows]) -> list[Put]:
        changed.clear()
        puts: list[Put] = []
        for each in rows:
            before = each.state
            after = minted_again(before, theirs[each.key], lives) if before else None
            if after is not None:
                changed.append(each.key)
                puts += each.puts(
                    after, shown_of(FAMILIES[after.family], after), origin="", found=found
                )
        return puts

    done = 0
    for at in range(0, len(keys), _KEYS_A_COMMIT):
        part = keys[at : at + _KEYS_A_COMMIT]
        try:
            await local.converge(pk, part, decide)
        except OverflowError:
            if len(part) == 1:
                raise _too_many(part[0]) from None
            half = len(part) // 2
            for piece in (part[:half], part[half:]):
                done += await _partition(local, pk, piece, theirs, lives, found)
        else:
            done += len(changed)
    return done


def _too_many(key: Key) -> WorkspaceError:
    return WorkspaceError(
        Reason.ERROR_REASON_INVALID_STATE,
        f"{key.pk} {key.sk} has more versions side by side than one commit can mint again; "
        "decide its conflict, then sync again",
        metadata={"resource": key.pk},
    )


def minted_again(mine: State, theirs: State | None, lives: Lives) -> State | None:
    """The state without claims of a second life; None when there are none in it."""
    state = mine
    for actor, bounds in sorted(lives.doubtful.items()):
        if actor in state.clock:
            state = _without(actor, bounds, state, theirs, lives.actor)
    return None if state is mine else state


def _without(
    actor: str, bounds: tuple[str, str], mine: State, theirs: State | None, minter: str
) -> State:
    there = theirs.versions if theirs else {}
    kept, doubtful = {}, []
    for dot, version in mine.versions.items():
        other = there.get(dot)
        if dot[0] == actor and not _same(version, other) and (
            not _is_before(version, bounds[1]) or is_another(version, other)
        ):
            doubtful.append(version)
        else:
            kept[dot] = version
    theirs_too = {d: v for d, v in there.items() if not is_another(mine.versions.get(d), v)}
    common = _common(actor, bounds[0], kept, theirs_too)
    on_top = [v for v in kept.values() if _is_own(v, minter) and v.vv.get(actor, 0) > common]
    if not doubtful and not on_top:
        return mine
    for version in on_top:
        kept[version.dot] = _cut(version, version.dot, actor, common)
    taken = set(mine.clock) | {dot[0] for dot in kept}
    for version in sorted(doubtful, key=lambda each: each.dot):
        name = _next(minter, taken)
        taken.add(name)
        dot = (name, mine.clock.get(name, 0) + 1)
        kept[dot] = _cut(version, dot, actor, common)
    clock = dict(mine.clock)
    clock[actor] = max([common, *(each.vv.get(actor, 0) for each in kept.values())])
    for minted, counter in kept:
        clock[minted] = max(counter, clock.get(minted, 0))
    return replace(mine, clock={a: n for a, n in clock.items() if n}, versions=kept)


def _common(
    actor: str, bound: str, kept: Mapping[Dot, Version], there: Mapping[Dot, Version]
) -> int:
    """Up to which counter the versions of `actor` surely are the same in both lives."""
    counters = [dot[1] for dot in kept if dot[0] == actor]
    counters += [d[1] for d, v in there.items() if d[0] == actor and _is_before(v, bound)]
    return max(counters, default=0)


def _cut(version: Version, dot: Dot, actor: str, common: int) -> Version:
    """The version as `dot`, with claims about `actor` only up to `common`."""
    seen = min(common, version.vv.get(actor, 0))
    vv = {a: n for a, n in version.vv.items() if a != actor}
    if seen:
        vv[actor] = seen
    if dot != version.dot:
        vv[dot[0]] = dot[1]
    fields = {
        name: dot if each == version.dot or (each[0] == actor and each[1] > seen) else each
        for name, each in version.fields.items()
    }
    return replace(version, dot=dot, vv=vv, fields=fields)


def _is_before(version: Version, bound: str) -> bool:
    """Surely of common history. An erasure keeps the reading of what it erases, so
    that this says nothing of when it was."""
    return version.hlc <= bound and not version.erased


def _same(mine: Version, other: Version | None) -> bool:
    return other is not None and (mine.digest, mine.hlc, dict(mine.vv)) == (
        other.digest, other.hlc, dict(other.vv)
    )


def is_another(one: Version | None, other: Version | None) -> bool:
    """Whether two texts of one dot are of two lives: an edit by hand has no reading of
    its own, nor has an erasure."""
    if one is None or other is None or one.erased or other.erased:
        return False
    return one.digest != other.digest and one.hlc != other.hlc


def _is_own(version: Version, minter: str) -> bool:
    return version.dot[0] == minter or version.dot[0].startswith(minter + "-")


def _next(minter: str, taken: set[str]) -> str:
    """The first version gets a dot of the minter. A further one beside it gets another
    name: two dots of one actor would each claim to have seen the one before."""
    name, at = minter, 0
    while name in taken:
        at += 1
        name = f"{minter}-{at}"
    return name


def _concerns(item: Item, lives: Lives) -> bool:
    """Cheap: whether the row may have to change."""
    family = FAMILIES.get(item.family)
    if family is None or not family.synced or family.name == "activity_event":
        return False
    return any(actor in item.stamp for actor in lives.doubtful)
