"""Both surfaces compared record by record, from the records themselves: neither
cursors nor marks are believed.

Two scans in key order are merged, so memory is that of two pages, and a comparison
can go on after any key. Where a store has no order of partitions, all records of this
side are looked up on the other, then all records of the other side on this: what only
the other has comes last.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import AsyncGenerator, AsyncIterator, Iterable, Sequence
from contextlib import aclosing
from dataclasses import dataclass

from workspace.sync.v1.plan_pb2 import Difference, DifferenceKind, RecordKey

from services.model.canonical import content_digest
from services.model.errors import Reason, WorkspaceError
from services.model.families import FAMILIES
from services.model.shown import shown_of
from services.model.stamp import Stamp
from services.model.versions import State, Version, covers
from services.objects.store import ObjectStore
from services.records.codec import content_of
from services.records.port import Item, Key
from services.records.progress import Progress
from services.records.siblings import Rows
from services.records.store import RecordStore
from sync_svc.engine.objects.needed import NeededObject, named_objects
from sync_svc.engine.objects.parallel import in_parallel
from sync_svc.engine.reading import is_synced, read_rows, rows_of, state_of
from sync_svc.engine.scope import Scope
from sync_svc.engine.task import Task
from sync_svc.surfaces.surface import Surface

__all__ = ["Comparison", "compare"]

_ROWS_A_READ = 1000
_LOCAL_ONLY = DifferenceKind.DIFFERENCE_KIND_LOCAL_ONLY
_REMOTE_ONLY = DifferenceKind.DIFFERENCE_KIND_REMOTE_ONLY
_OBJECT = DifferenceKind.DIFFERENCE_KIND_OBJECT


def compare(
    task: Task,
    *,
    include_objects: bool = False,
    read_bytes: bool = False,
    after: Key | None = None,
    second_walk: bool = False,
) -> Comparison:
    """Compare `task.local` with `task.remote` in the scope of the connection (narrowed
    by `options.project_ids`), from behind the key `after` (`Comparison.after`, with its
    `second_walk`). Reads only."""
    return Comparison(
        task, include_objects=include_objects, read_bytes=read_bytes, after=after,
        second_walk=second_walk,
    )


@dataclass(frozen=True, slots=True)
class _Pair:
    """A key on both sides; None where it is not. `done`: the first walk had it."""

    key: Key
    local: Rows | None
    remote: Rows | None
    done: bool = False


class Comparison:
    """Iterate over it. `records` and `objects` count what was compared so far, `after`
    and `second_walk` say where to go on: all of that record's differences were delivered
    when the next one's come."""

    def __init__(
        self,
        task: Task,
        *,
        include_objects: bool,
        read_bytes: bool,
        after: Key | None,
        second_walk: bool = False,
    ) -> None:
        self._task = task
        self._scope = Scope(
            task.connection, task.options, (task.local.records, task.remote.records)
        )
        self._include_objects = include_objects
        self._read_bytes = read_bytes
        self.after = after
        self.second_walk = second_walk
        self.records = 0
        self.objects = 0

    def __aiter__(self) -> AsyncIterator[Difference]:
        return self.differences()

    async def differences(self) -> AsyncGenerator[Difference, None]:
        """Differences by key. Raises Stopped and what the stores raise."""
        async with aclosing(self._pairs()) as pairs:
            async for pair in pairs:
                self.records += not pair.done
                for each in await self._of(pair):
                    yield each
                self.after = pair.key

    async def by_key(self) -> AsyncGenerator[list[Difference], None]:
        """The differences of each record in turn, mostly none: after each one `records`,
        `objects` and `after` say where to go on. Raises as `differences`."""
        async with aclosing(self._pairs()) as pairs:
            async for pair in pairs:
                found = await self._of(pair)
                self.records += not pair.done
                self.after = pair.key
                yield found

    async def _of(self, pair: _Pair) -> list[Difference]:
        if pair.done:
            return []
        local, remote = (state_of(each) if each else None for each in (pair.local, pair.remote))
        kind = _kind(pair, local, remote)
        found = [_difference(pair, kind, local, remote)] if kind else []
        if self._include_objects:
            for key in await self._bad_objects(pair.key, local, remote):
                each = _difference(pair, _OBJECT, local, remote)
                each.storage_key = key
                found.append(each)
        return found

    async def _bad_objects(
        self, key: Key, local: State | None, remote: State | None
    ) -> list[str]:
        """Objects that a surface's record promises and that the surface has not."""
        bad: dict[str, None] = {}
        sides: Sequence[tuple[State | None, Surface]] = (
            (local, self._task.local), (remote, self._task.remote),
        )
        for state, surface in sides:
            for each in named_objects(key, state) if state else []:
                if each.required:
                    self.objects += 1
                    if not await self._is_there(surface.objects, each):
                        bad[each.key] = None
        return list(bad)

    async def _is_there(self, store: ObjectStore, needed: NeededObject) -> bool:
        try:
            info = await store.head(needed.key)
            if needed.size is not None and info.size != needed.size:
                return False
            sha256 = info.sha256
            if self._read_bytes or not sha256:
                sha256 = await _digest(store, needed.key)
        except WorkspaceError as error:
            if error.reason in (
                Reason.ERROR_REASON_NOT_FOUND, Reason.ERROR_REASON_OBJECT_CORRUPT,
                Reason.ERROR_REASON_INVALID_FIELD,
            ):
                return False
            raise
        return needed.sha256 in ("", sha256)

    def _pairs(self) -> AsyncGenerator[_Pair, None]:
        sides = (self._task.local.records, self._task.remote.records)
        ordered = all(each.capabilities.ordered_scan for each in sides)
        return self._merged() if ordered else self._looked_up()

    async def _looked_up(self) -> AsyncGenerator[_Pair, None]:
        """Two walks, in each the records of a page looked up on the other side."""
        local, remote = self._task.local.records, self._task.remote.records
        if not self.second_walk:
            async for mine in self._walk(local):
                theirs = await self._chosen(remote, mine)
                for key, rows in mine.items():
                    yield _Pair(key, rows, theirs.get(key))
            self.second_walk, self.after = True, None
        async for theirs in self._walk(remote):
            here = await self._chosen(local, theirs)
            for key, rows in theirs.items():
                yield _Pair(key, here.get(key), rows, done=key in here)

    async def _walk(self, records: RecordStore) -> AsyncGenerator[dict[Key, Rows], None]:
        """The records of one side, a page at a time."""
        pages = _Pages(self._task, records, self._scope, self.after)
        while True:
            await pages.fill()
            if not pages.rows:
                return
            rows, pages.rows = pages.rows, {}
            yield rows

    async def _chosen(self, records: RecordStore, keys: Iterable[Key]) -> dict[Key, Rows]:
        """Of these records those that this side has in scope."""
        rows = {each.key: each for each in await read_rows(records, list(keys))}
        items = [each.item for each in rows.values() if each.item and is_synced(each.item)]
        return {item.key: rows[item.key] for item in await self._scope.select(items)}

    async def _merged(self) -> AsyncGenerator[_Pair, None]:
        """The merge of both scans."""
        one = _Pages(self._task, self._task.local.records, self._scope, self.after)
        other = _Pages(self._task, self._task.remote.records, self._scope, self.after)
        while True:
            await in_parallel((one, other), _Pages.fill, concurrency=2)
            if not (one.rows or other.rows):
                return
            # What is not beyond the end of either page is complete on both sides.
            end = min(one.end, other.end)
            mine, theirs = one.take(end), other.take(end)
            for key in sorted(mine.keys() | theirs.keys()):
                yield _Pair(key, mine.get(key), theirs.get(key))


class _Pages:
    """One surface's records as it scans them, a page at a time. `end`: the last key up
    to which `rows` is complete, where partitions have an order."""

    _LAST = Key("\x7f", "\x7f")

    def __init__(
        self, task: Task, records: RecordStore, scope: Scope, after: Key | None
    ) -> None:
        self._task = task
        self._records = records
        self._scope = scope
        self._after = after
        self._at_end = False
        self._progress = Progress("rows")
        self.rows: dict[Key, Rows] = {}
        self.end = after or Key("", "")

    async def fill(self) -> None:
        """Read on until there is a row or the end."""
        while not self.rows and not self._at_end:
            self._task.check()
            items = await self._records.scan(self._after, _ROWS_A_READ)
            self._at_end = not items  # a page may be short before the end
            if items:
                self._after = items[-1].key
                self._progress.reached(self._after, items)
            self.end = self._LAST if self._at_end or self._after is None else self._after
            chosen = await self._scope.select([item for item in items if is_synced(item)])
            self.rows = {each.key: each for each in await rows_of(self._records, chosen)}

    def take(self, end: Key) -> dict[Key, Rows]:
        """Rows up to and with the key `end`."""
        taken = {key: rows for key, rows in self.rows.items() if key <= end}
        self.rows = {key: rows for key, rows in self.rows.items() if key > end}
        return taken


def _kind(
    pair: _Pair, local: State | None, remote: State | None
) -> DifferenceKind.ValueType | None:
    if pair.remote is None:
        return _LOCAL_ONLY
    if pair.local is None:
        return _REMOTE_ONLY
    if local is None or remote is None or not (_is_whole(local) and _is_whole(remote)):
        return DifferenceKind.DIFFERENCE_KIND_DIGEST
    if local.same_as(remote):
        return None
    return _order(local, remote)


def _order(local: State, remote: State) -> DifferenceKind.ValueType:
    behind = all(covers(remote.clock, each) for each in local.clock.items())
    ahead = all(covers(local.clock, each) for each in remote.clock.items())
    if behind and ahead:
        return DifferenceKind.DIFFERENCE_KIND_DIGEST
    if ahead:
        return DifferenceKind.DIFFERENCE_KIND_LOCAL_AHEAD
    if behind:
        return DifferenceKind.DIFFERENCE_KIND_REMOTE_AHEAD
    return DifferenceKind.DIFFERENCE_KIND_CONCURRENT


def _difference(
    pair: _Pair, kind: DifferenceKind.ValueType, local: State | None, remote: State | None
) -> Difference:
    either = pair.local or pair.remote
    assert either is not None
    assert either.item is not None
    return Difference(
        key=RecordKey(family=either.item.family, pk=pair.key.pk, sk=pair.key.sk),
        kind=kind,
        project_id=_project(pair.key, local or remote),
        local_digest=_digest_of(pair.local.item if pair.local else None),
        remote_digest=_digest_of(pair.remote.item if pair.remote else None),
    )


def _is_whole(state: State) -> bool:
    """Whether each version's body is the one that its stamp says."""
    return all(
        version.erased or version.digest == _content_digest(state.family, version)
        for version in state.versions.values()
    )


def _content_digest(family: str, version: Version) -> str:
    try:
        content = content_of(FAMILIES[family], json.loads(version.body or "{}"))
    except (ValueError, AttributeError, RecursionError):
        return ""
    return content_digest(family, version.deleted, content)


def _project(key: Key, state: State | None) -> str:
    if key.pk.startswith("PROJECT#"):
        return key.pk.removeprefix("PROJECT#")
    if state is None:
        return ""
    return str(json.loads(shown_of(FAMILIES[state.family], state).version.body).get(
        "project_id", ""
    ))


def _digest_of(item: Item | None) -> str:
    if item is None:
        return ""
    try:
        return Stamp.load(item.stamp).digest
    except ValueError:
        return ""


async def _digest(store: ObjectStore, key: str) -> str:
    digest = hashlib.sha256()
    async with aclosing(store.open_read(key)) as chunks:
        async for chunk in chunks:
            digest.update(chunk)
    return digest.hexdigest()
