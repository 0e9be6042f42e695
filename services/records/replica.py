"""State from elsewhere, joined into a store: how every surface takes part in sync.

Nothing is minted here: no version, no event, no sequence number but that of HEAD,
so that the same change coming by two ways is one change, and chains of surfaces
reach a fixpoint. All changed keys of a partition are committed together when they
fit; if not, those that take rights away come first. If what is joined would leave no
owner, the same commit suspends the latest revocation (last_owners.py).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from services.model.families import FAMILIES
from services.model.shown import Shown, conflict_id, shown_of
from services.model.versions import State, join
from services.records.conflict_rows import CONFLICT, Found
from services.records.last_owners import Draft, as_shown, with_last_owner
from services.records.port import Key, Put
from services.records.siblings import Rows
from services.records.store import RecordStore

__all__ = ["Incoming", "Joined", "Replica"]

_KEYS_A_COMMIT = 40
_BYTES_A_COMMIT = 900 * 1024


@dataclass(frozen=True, slots=True)
class Incoming:
    """A state of another surface, screened already."""

    key: Key
    state: State


@dataclass(frozen=True, slots=True)
class Joined:
    """What became of a record. `changed`: its rows were written. `conflict`: id of
    the open conflict that it has now ('' for none), `opened` if it had none before."""

    key: Key
    before: State | None
    after: State
    shown: Shown
    changed: bool
    conflict: str = ""
    opened: bool = False


class Replica:
    """One store as a place to which states are joined."""

    def __init__(self, records: RecordStore) -> None:
        self.records = records

    async def states(self, keys: Sequence[Key]) -> list[State | None]:
        """The states of up to 500 records, None where there is no row."""
        return [rows.state for rows in await self.records.rows(keys)]

    async def join(
        self,
        pk: str,
        incoming: Sequence[Incoming],
        *,
        origin: str,
        found: Found,
        known: Mapping[Key, Rows] | None = None,
    ) -> list[Joined]:
        """Join states of records of one partition; durable when it returns.

        `origin` is the instance that they come from: a row that then is exactly
        theirs says so. Raises the reasons of the record store, and OverflowError for a
        record whose versions alone are more than one commit takes; what was committed
        before stays, and all of it may be repeated. `known` has rows that were just
        read, HEAD's among them: if they are still current, nothing is read again.
        """
        for each in incoming:
            for version in each.state.versions.values():
                self.records.observe(version.hlc)
        done: list[Joined] = []
        parts = _parts(incoming)
        for part in parts:
            rows = _known(pk, part, known) if known and len(parts) == 1 else ()
            done += await self._join(pk, part, origin, found, rows)
        return done

    async def _join(
        self,
        pk: str,
        part: Sequence[Incoming],
        origin: str,
        found: Found,
        known: Sequence[Rows] = (),
    ) -> list[Joined]:
        done: list[Joined] = []

        async def decide(rows: Sequence[Rows]) -> list[Put]:
            drafts = [_drafted(*each) for each in zip(rows, part, strict=True)]
            shown = await with_last_owner(self.records, pk, drafts)
            pairs = [
                _joined(draft, shown.pop(draft.key, None), each, origin, found)
                for draft, each in zip(drafts, part, strict=True)
            ]
            done[:] = [joined for joined, _ in pairs]
            beside = [put for draft in shown.values() for put in as_shown(draft, found)]
            return [put for _, puts in pairs for put in puts] + beside

        try:
            keys = [each.key for each in part]
            await self.records.converge(pk, keys, decide, known=known)
        except OverflowError:
            half = len(part) // 2
            if not half:
                raise
            part = sorted(part, key=_urgency)
            first = await self._join(pk, part[:half], origin, found)
            return first + await self._join(pk, part[half:], origin, found)
        return list(done)


def _drafted(rows: Rows, each: Incoming) -> Draft:
    before = rows.state
    after = join(before, each.state)
    return Draft(rows, before, after, shown_of(FAMILIES[after.family], after))


def _joined(
    draft: Draft, owner: Draft | None, each: Incoming, origin: str, found: Found
) -> tuple[Joined, list[Put]]:
    """`owner`: the same as the rule of the last owner lets it be shown."""
    before, after, shown = draft.before, draft.after, (owner or draft).shown
    conflict = conflict_id(each.key.pk, each.key.sk, after.versions) if shown.contest else ""
    opened = bool(conflict) and not _was_contested(draft)
    changed = not after.same_as(before)
    joined = Joined(each.key, before, after, shown, changed, conflict, opened)
    if not changed:
        return joined, as_shown(owner, found) if owner else []
    kept = origin if after.same_as(each.state) else ""
    return joined, draft.rows.puts(after, shown, origin=kept, found=found)


def _was_contested(draft: Draft) -> bool:
    rows, before = draft.rows, draft.before
    if any(each.family == CONFLICT for each in rows.others.values()):
        return True
    return before is not None and shown_of(FAMILIES[before.family], before).contest is not None


def _known(pk: str, part: Sequence[Incoming], known: Mapping[Key, Rows]) -> Sequence[Rows]:
    """The rows of HEAD and of these records; none unless all of them are known."""
    keys = [Key(pk, "#HEAD"), *(each.key for each in part)]
    return [known[key] for key in keys] if all(key in known for key in keys) else ()


def _parts(incoming: Sequence[Incoming]) -> list[Sequence[Incoming]]:
    """As few commits as possible; if there are several, restrictive changes first."""
    if len(incoming) <= _KEYS_A_COMMIT and sum(map(_size, incoming)) <= _BYTES_A_COMMIT:
        return [incoming] if incoming else []
    parts: list[list[Incoming]] = [[]]
    room = _BYTES_A_COMMIT
    for each in sorted(incoming, key=_urgency):
        room -= _size(each)
        if len(parts[-1]) == _KEYS_A_COMMIT or (room < 0 and parts[-1]):
            parts.append([])
            room = _BYTES_A_COMMIT - _size(each)
        parts[-1].append(each)
    return list(parts)


def _urgency(each: Incoming) -> tuple[bool, bool]:
    restrictive = FAMILIES[each.state.family].policy == "restrictive"
    return (not restrictive, not (restrictive and each.state.deleted))


def _size(each: Incoming) -> int:
    return sum(len(version.body) + 1024 for version in each.state.versions.values())
