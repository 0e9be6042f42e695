"""Full reconcile: both sides summed up in 256 shards of keys, then only the shards
that differ are looked at record by record.

A record is summed up by what its stamp says. Where a person asked for the comparison
(`full_reconcile`) its content is hashed, too: a body that was changed by hand, with its
stamp unchanged, is found by that alone. It costs about as much again.

Nothing is inferred from absence: a key that only the target has is left alone. When
the target has no records, everything the source has is streamed at once.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import AsyncIterator, Sequence

from workspace.sync.v1.run_pb2 import RunPhase

from services.model.families import FAMILIES
from services.records.port import Item, Key
from services.records.progress import Progress
from services.records.siblings import SIBLING, travelling
from services.records.store import RecordStore
from sync_svc.engine.batches import Batch, scanned
from sync_svc.engine.objects.parallel import in_parallel
from sync_svc.engine.phases import phase
from sync_svc.engine.reading import is_foreign, is_synced, record_key
from sync_svc.engine.scope import Scope
from sync_svc.engine.task import Task
from sync_svc.surfaces.surface import Surface

__all__ = ["differing", "has_records", "shard_of", "sums"]

SHARDS = 256
_ROWS_A_READ = 1000
_FIRST_LOOK = 100
_MODULUS = 1 << 128


async def has_records(records: RecordStore) -> bool:
    """Whether a store has a synced record at all."""
    after: Key | None = None
    limit, progress = _FIRST_LOOK, Progress("rows")
    while items := await records.scan(after, limit):
        if any(is_synced(item) for item in items):
            return True
        after, limit = items[-1].key, _ROWS_A_READ
        progress.reached(after, items)
    return False


async def differing(task: Task, scope: Scope) -> AsyncIterator[Batch]:
    """Batches of the source's records that may differ at the target."""
    if not await has_records(task.target.records):
        async for batch in scanned(task.source.records):
            yield batch
        return
    with phase(task, RunPhase.RUN_PHASE_VERIFY):
        found: dict[str, list[int]] = {}

        async def add_up(surface: Surface) -> None:
            found[surface.name] = await sums(task, surface.records, scope)

        await in_parallel((task.local, task.remote), add_up, concurrency=2)
    one, other = found[task.local.name], found[task.remote.name]
    shards = {at for at in range(SHARDS) if one[at] != other[at]}
    if not shards:
        yield Batch([], last=True)
        return
    async for batch in scanned(task.source.records):
        yield Batch(
            [each for each in batch.rows if shard_of(each.key) in shards], last=batch.last
        )


async def sums(task: Task, records: RecordStore, scope: Scope) -> list[int]:
    """Per shard the sum of hashes of its records: order does not matter, and equal
    sets of versions give equal sums."""
    found = [0] * SHARDS
    after: Key | None = None
    progress = Progress("rows")
    while True:
        task.check()
        items = await records.scan(after, _ROWS_A_READ)
        if not items:
            return found
        for item in await _taking_part(scope, items):
            shard = shard_of(record_key(item))
            weight = _weight(item, content=task.options.full_reconcile)
            found[shard] = (found[shard] + weight) % _MODULUS
        after = items[-1].key
        progress.reached(after, items)


def shard_of(key: Key) -> int:
    """Which of the shards a record lies in."""
    return hashlib.sha256(f"{key.pk}\n{key.sk}".encode()).digest()[0]


async def _taking_part(scope: Scope, items: Sequence[Item]) -> Sequence[Item]:
    mine = [item for item in items if is_synced(item) or is_foreign(item)]
    beside = [item for item in items if item.family == SIBLING and not item.deleted]
    chosen = await scope.select(mine)
    if scope.is_everything or not beside:
        return [*chosen, *beside]
    # A version beside its record lies where the record lies.
    places = [Item(record_key(item), item.token, "", _body(item)) for item in beside]
    inside = {id(place) for place in await scope.select(places)}
    return [*chosen, *(b for b, p in zip(beside, places, strict=True) if id(p) in inside)]


def _weight(item: Item, *, content: bool) -> int:
    """A hash of what the row says of versions, and of its `content`; the same on every
    surface."""
    try:
        raw = json.loads(item.stamp)
        actors: list[str] = raw["a"]
        said = [
            item.key.pk,
            item.key.sk,
            sorted([actors[at], count] for at, count in raw["c"]),
            sorted([actors[at], count] for at, count in raw.get("s", [raw["d"]])),
            "" if raw.get("s") else raw["g"],  # of several versions each has its row
            bool(raw.get("e")),
            _content(item) if content and not raw.get("s") else "",
        ]
    except (ValueError, KeyError, IndexError, TypeError, AttributeError, RecursionError):
        said = [item.key.pk, item.key.sk, item.stamp]
    text = json.dumps(said, separators=(",", ":"))
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:16], "big")


def _content(item: Item) -> str:
    """What travels of the body; of several versions each has it in its row."""
    family = FAMILIES.get(item.family)
    return travelling(family, item.body) if family else item.body


def _body(item: Item) -> str:
    try:
        return str(json.loads(item.body)["body"])
    except (ValueError, KeyError, TypeError, RecursionError):
        return "{}"
