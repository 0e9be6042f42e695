"""Rows of a record and the state that they stand for.

A record with one version is one row. With more, its row has what is shown
(`services/model/shown.py`) and each version lies in a row `~SIB#{sk}#{dot}` of the
same partition, written by the same commit; an open conflict has a row
`~CONFLICT#{sk}#{conflict_id}`.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from typing import Any

from google.protobuf.json_format import ParseDict

from services.model.errors import Reason, WorkspaceError
from services.model.families import FAMILIES, Family
from services.model.shown import Shown, conflict_id
from services.model.stamp import Dot, Stamp
from services.model.versions import State, Version
from services.records.codec import dump
from services.records.conflict_rows import Found, conflict_key, conflict_puts
from services.records.events import event_indexes
from services.records.port import ABSENT, Condition, Index, Item, Key, Match, Put, RecordDriver

__all__ = ["SIBLING", "Rows", "indexes_of", "read_rows", "record_key", "sibling_key", "travelling"]

SIBLING = "sibling"
_TRIES = 10
_KEYS_A_READ = 500
_LONG_ENDED_SECONDS = 2 * 86_400
"""A row that goes is expired at once by every clock, even by one a day behind: should
its version be beside the record's row again, the row must not be there."""


@dataclass(frozen=True, slots=True)
class Rows:
    """What is stored of one record: its row, and by key the sibling and conflict
    rows that belong to it (only those that are there)."""

    key: Key
    item: Item | None
    others: Mapping[Key, Item] = field(default_factory=dict)

    @property
    def state(self) -> State | None:
        """None when there is no row."""
        if self.item is None:
            return None
        family = FAMILIES[self.item.family]
        stamp = Stamp.load(self.item.stamp)
        if not stamp.siblings:
            version = Version.of(stamp, travelling(family, self.item.body))
            return State(family.name, stamp.clock, {version.dot: version})
        versions = [self._sibling(dot) for dot in stamp.siblings]
        return State(family.name, stamp.clock, {each.dot: each for each in versions})

    def puts(
        self, state: State, shown: Shown, *, origin: str, found: Found, local: str | None = None
    ) -> list[Put]:
        """The record's row first, then the other rows that change. `origin` is the
        instance that the state came from ('' when it was made here), `local` a body
        whose local fields the row gets; default: those that it has."""
        family = FAMILIES[state.family]
        exact = len(state.versions) == 1 and shown.version.dot in state.versions and (
            shown.version.digest == next(iter(state.versions.values())).digest
        )
        stamp = _stamp(state, shown, origin=origin, siblings=() if exact else state.dots)
        kept = local or (self.item.body if self.item else "{}")
        body = _with_local(family, shown.version.body, kept)
        main = Put(
            self.key, self._condition(self.key), family.name, body, stamp.dump(),
            deleted=shown.version.deleted,
            indexes={} if shown.version.deleted else indexes_of(family, self.key, body),
        )
        beside = self._sibling_puts(state, stamp, found)
        return [main, *beside, *self._conflict(state, shown, found)]

    @property
    def is_complete(self) -> bool:
        """Every version that the row names is there."""
        wanted = _beside(self.item)[:-1] if self.item else []
        return all(key in self.others and not self.others[key].deleted for key in wanted)

    def _sibling(self, dot: Dot) -> Version:
        item = self.others[sibling_key(self.key, dot)]
        return Version.of(Stamp.load(item.stamp), json.loads(item.body)["body"])

    def _condition(self, key: Key) -> Condition:
        item = self.item if key == self.key else self.others.get(key)
        return Match(item.token) if item else ABSENT

    def _sibling_puts(self, state: State, stamp: Stamp, found: Found) -> list[Put]:
        kept = {sibling_key(self.key, dot): state.versions[dot] for dot in stamp.siblings}
        puts = [self._sibling_put(key, state, version) for key, version in kept.items()]
        ended = found.now_ms // 1000 - _LONG_ENDED_SECONDS
        gone = [
            Put(key, Match(item.token), SIBLING, "{}", deleted=True, expires_at=ended)
            for key, item in self.others.items()
            if item.family == SIBLING and not item.deleted and key not in kept
        ]
        return [put for put in puts if put is not None] + gone

    def _sibling_put(self, key: Key, state: State, version: Version) -> Put | None:
        stamp = Stamp(
            clock=version.vv, dot=version.dot, vv=version.vv, fields=version.fields,
            hlc=version.hlc, digest=version.digest, deleted=version.deleted, erased=version.erased,
        )
        body = json.dumps({"family": state.family, "body": version.body}, sort_keys=True)
        there = self.others.get(key)
        if there is not None and (there.body, there.stamp) == (body, stamp.dump()):
            return None
        return Put(key, self._condition(key), SIBLING, body, stamp.dump())

    def _conflict(self, state: State, shown: Shown, found: Found) -> list[Put]:
        there = [each for each in self.others.values() if each.family != SIBLING]
        return conflict_puts(self.key, state, shown, there=there, found=found)


async def read_rows(
    driver: RecordDriver, keys: Sequence[Key], met: Collection[Key] = ()
) -> list[Rows]:
    """The rows of up to 500 record keys. Read again when a commit came between the
    record's row and those beside it; raises CONFLICTING_WRITE when it always does.
    `met`: rows that were found beside records which do not name them, for example
    that of a conflict which was told of before its versions came."""
    for _ in range(_TRIES):
        items = await driver.batch_get(keys)
        needed = [
            [*(_beside(item) if item else []), *(each for each in met if _lies_beside(each, key))]
            for key, item in zip(keys, items, strict=True)
        ]
        flat = [key for each in needed for key in each]
        others: dict[Key, Item] = {}
        for at in range(0, len(flat), _KEYS_A_READ):
            part = flat[at : at + _KEYS_A_READ]
            found = await driver.batch_get(part)
            others |= {key: item for key, item in zip(part, found, strict=True) if item}
        rows = [
            Rows(key, item, {each: others[each] for each in wanted if each in others})
            for key, item, wanted in zip(keys, items, needed, strict=True)
        ]
        if all(each.is_complete for each in rows):
            return rows
    raise WorkspaceError(
        Reason.ERROR_REASON_CONFLICTING_WRITE,
        "a record changes faster than it can be read; repeat the call",
        retry_after=0.1,
    )


def _beside(item: Item) -> list[Key]:
    """Keys of the rows beside a record's row that `Rows` needs."""
    if item.family not in FAMILIES or '"s"' not in item.stamp:  # cheap: nearly all rows
        return []
    stamp = Stamp.load(item.stamp)
    if not stamp.siblings:
        return []
    conflict = conflict_key(item.key, conflict_id(item.key.pk, item.key.sk, stamp.siblings))
    return [*(sibling_key(item.key, dot) for dot in stamp.siblings), conflict]


def _lies_beside(other: Key, key: Key) -> bool:
    return other.pk == key.pk and other.sk.startswith((f"~SIB#{key.sk}#", f"~CONFLICT#{key.sk}#"))


def sibling_key(key: Key, dot: Dot) -> Key:
    """Where the version `dot` of a record lies while it has siblings."""
    return Key(key.pk, f"~SIB#{key.sk}#{dot[0]}:{dot[1]}")


def record_key(sibling: Key) -> Key:
    """The record of which a sibling row has a version."""
    return Key(sibling.pk, sibling.sk.removeprefix("~SIB#").rpartition("#")[0])


def travelling(family: Family, body: str) -> str:
    """The canonical text of the members that travel."""
    if not _has_local(family, body):
        return body or "{}"
    members: dict[str, Any] = json.loads(body)
    return dump({name: v for name, v in members.items() if name not in family.local_fields})


def indexes_of(family: Family, key: Key, body: str) -> Mapping[Index, tuple[str, str]]:
    """The index entries of a record with this body."""
    wanted = _indexed_fields(family.name)
    if not wanted:
        return {}
    members: dict[str, Any] = json.loads(body)
    message = family.message()
    ParseDict(
        {name: members[name] for name in wanted if name in members}, message,
        ignore_unknown_fields=True,
    )
    if family.name == "activity_event":
        return event_indexes(message, key.sk)
    return family.index_entries(message)


@cache
def _indexed_fields(family: str) -> frozenset[str]:
    """The fields of which index entries are made: to decode all would be the greater
    part of a join."""
    entries = (pair for several in FAMILIES[family].indexes.values() for pair in several)
    return frozenset(name for pair in entries for template in pair for name in template.fields)


def _has_local(family: Family, body: str) -> bool:
    """Cheap: False only if no member is local."""
    return any(f'"{name}"' in body for name in family.local_fields)


def _with_local(family: Family, body: str, before: str) -> str:
    if not _has_local(family, before):
        return body
    members: dict[str, Any] = json.loads(before)
    local = {name: value for name, value in members.items() if name in family.local_fields}
    return dump(json.loads(body) | local) if local else body


def _stamp(state: State, shown: Shown, *, origin: str, siblings: Sequence[Dot]) -> Stamp:
    version = shown.version
    whole = bool(siblings) and not shown.partial
    return Stamp(
        clock=state.clock,
        dot=version.dot,
        vv=state.clock if whole else version.vv,
        fields=version.fields,
        hlc=version.hlc,
        digest=version.digest,
        deleted=version.deleted,
        origin=origin,
        erased=version.erased,
        siblings=tuple(siblings),
        partial=bool(siblings) and shown.partial,
    )
