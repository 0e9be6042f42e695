"""Purging tombstones: what everybody knows to be deleted shrinks to a causal stub.

    mark made -> every node says that it passed the mark -> tombstones that were in the
    store when it was made, and are older than the retention, become stubs -> next mark

A stub has the key, the clock, the dot, the digest and `deleted`, about 150 bytes; the
causal past and the writers of fields go. It stays for ever: a counter of a record must
never start again, and a node that slept through everything still has the record as it
was, which only the clock of the stub covers. To `join` the stub and the tombstone are
two texts of one version, of which the shorter is kept: a stub travels like a change,
and wherever it comes the tombstone shrinks, too. It covers exactly what the tombstone
did, so that this is safe even where a node has not heard of the deletion yet, and
where it comes by another surface whose nodes have not passed any mark. Nothing that
tells versions apart needs more of a tombstone: `join` compares clocks and dots, what is
shown of several versions (services/model/merging) compares the past and the fields of
live ones alone, and whoever writes over a tombstone writes on top of the record's
clock. What is lost, and waited for, is who had seen and written what, for people.

In the store of this workspace, nodes that use it as their surface are waited for like
those of any surface, and each connection besides (relaying.py). A node that never
pulls is waited for until it is evicted.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from itertools import groupby

from services.model.clocks import hlc_millis
from services.model.errors import Reason, WorkspaceError
from services.model.families import FAMILIES
from services.model.shown import Shown
from services.model.stamp import Stamp
from services.model.versions import State, Version
from services.records.conflict_rows import Found
from services.records.port import ConditionFailed, Item, Key, Put
from services.records.progress import Progress
from services.records.siblings import Rows
from services.records.store import RecordStore
from sync_svc.collection.marks import MARK_KEY, Mark, mark_of, mark_put
from sync_svc.collection.relaying import all_passed
from sync_svc.nodes.rows import LEASE_MS, NodeRow, node_rows

__all__ = ["RETENTION_MS", "Purged", "is_stub", "purge_tombstones", "stub_of"]

RETENTION_MS = 30 * 86_400_000
_PAGE = 500
_KEYS_A_COMMIT = 40


@dataclass(frozen=True, slots=True)
class Purged:
    """`purged` tombstones became stubs. `waits`: a node or a connection has not passed
    the mark yet."""

    purged: int = 0
    waits: bool = False


async def purge_tombstones(
    records: RecordStore,
    *,
    now_ms: int,
    connections: Iterable[str] = (),
    retention_ms: int = RETENTION_MS,
    lease_ms: int = LEASE_MS,
) -> Purged:
    """One cycle in one store; to be called daily. `connections` are those of this
    workspace when the store is its own, and empty for a surface. May be killed and
    repeated, and run by several nodes at once. Raises the reasons of the store."""
    item = await records.get_row(MARK_KEY)
    mark = mark_of(item)
    if not mark.number:
        await _next_mark(records, mark, item, await records.tail(), now_ms)
        return Purged()
    if not await _is_passed(records, mark, connections, now_ms, lease_ms):
        return Purged(waits=True)
    tail = await records.tail()
    try:
        later = await _deleted_since(records, mark.cursor)
    except WorkspaceError as error:
        if error.reason != Reason.ERROR_REASON_CURSOR_LOST:
            raise
        await _next_mark(records, mark, item, tail, now_ms)  # this one means nothing
        return Purged()
    purged = await _purge(records, later, now_ms=now_ms, before_ms=now_ms - retention_ms)
    await _next_mark(records, mark, item, tail, now_ms)
    return Purged(purged)


def stub_of(version: Version) -> Version:
    """What stays of a tombstone."""
    return replace(version, vv={version.dot[0]: version.dot[1]}, fields={}, body="{}")


def is_stub(stamp: Stamp) -> bool:
    """Whether a tombstone was purged already."""
    return not stamp.fields and len(stamp.vv) == 1


async def _is_passed(
    records: RecordStore, mark: Mark, connections: Iterable[str], now_ms: int, lease_ms: int
) -> bool:
    for connection in connections:
        relayed = mark.relayed.get(connection)
        if relayed is None or relayed.number != mark.number or not relayed.passed:
            return False
    rows = [NodeRow.of(each) for each in await node_rows(records) if each.key.sk == "NODE"]
    return all_passed(rows, mark.number, now_ms=now_ms, lease_ms=lease_ms)


async def _deleted_since(records: RecordStore, cursor: str) -> set[Key]:
    """Tombstones that came after the mark: nobody was asked about these."""
    found: set[Key] = set()
    progress = Progress("changes")
    while True:
        page = await records.changes(cursor)
        found |= {item.key for item in page.items if item.deleted and item.family in FAMILIES}
        if not page.items and page.complete:
            return found
        if page.cursor == cursor and not page.items:
            return found | await _held_back(records)
        cursor = page.cursor
        progress.reached(cursor, page.items)


async def _held_back(records: RecordStore) -> set[Key]:
    """The end of the feed is withheld while a transaction runs elsewhere: whatever is
    deleted now may be part of it."""
    found: set[Key] = set()
    after: Key | None = None
    progress = Progress("rows")
    while page := await records.scan(after, _PAGE):
        after = page[-1].key
        progress.reached(after, page)
        found |= {item.key for item in page if item.deleted}
    return found


async def _purge(
    records: RecordStore, later: set[Key], *, now_ms: int, before_ms: int
) -> int:
    purged = 0
    after: Key | None = None
    progress = Progress("rows")
    while page := await records.scan(after, _PAGE):
        after = page[-1].key
        progress.reached(after, page)
        keys = [i.key for i in page if i.key not in later and _is_ripe(i, before_ms)]
        for pk, group in groupby(keys, key=lambda key: key.pk):
            purged += await _partition(records, pk, list(group), now_ms, before_ms)
    return purged


async def _partition(
    records: RecordStore, pk: str, keys: Sequence[Key], now_ms: int, before_ms: int
) -> int:
    done = 0
    for at in range(0, len(keys), _KEYS_A_COMMIT):
        made: list[Put] = []

        async def decide(rows: Sequence[Rows], made: list[Put] = made) -> list[Put]:
            made[:] = [
                put
                for each in rows
                if each.item is not None and _is_ripe(each.item, before_ms)
                for put in _stubs(each, now_ms)
            ]
            return list(made)

        await records.converge(pk, keys[at : at + _KEYS_A_COMMIT], decide)
        done += len(made)
    return done


def _is_ripe(item: Item, before_ms: int) -> bool:
    """A tombstone that is the only version, old enough, and no stub yet."""
    family = FAMILIES.get(item.family)
    if not item.deleted or family is None or not family.synced or not item.stamp:
        return False
    stamp = Stamp.load(item.stamp)
    if stamp.siblings or not stamp.deleted or is_stub(stamp):
        return False
    return hlc_millis(stamp.hlc) <= before_ms


def _stubs(rows: Rows, now_ms: int) -> list[Put]:
    state = rows.state
    assert state is not None, "a ripe tombstone is there"
    assert rows.item is not None, "a ripe tombstone is there"
    (version,) = state.versions.values()
    stub = stub_of(version)
    later = State(state.family, state.clock, {stub.dot: stub})
    origin = Stamp.load(rows.item.stamp).origin
    return rows.puts(later, Shown(stub), origin=origin, found=Found(now_ms))


async def _next_mark(
    records: RecordStore, mark: Mark, item: Item | None, tail: str, now_ms: int
) -> None:
    later = replace(mark, number=mark.number + 1, cursor=tail, made_ms=now_ms)
    try:
        await records.put_row(mark_put(later, item))
    except ConditionFailed:
        return  # another node made one
