"""Intents: keys that a run is about to name on a surface, so that collection there
spares them, and the other side of it: keys that are being removed.

The order makes it safe on a store with strong reads. A run writes the intent, then
looks whether the key is claimed for removal, then at the object. The collector
(`sync_svc/collection/objects.py`) claims the key, then looks at the intents, then
deletes. One of the two sees the other.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence

from services.records.port import ABSENT, Condition, ConditionFailed, Key, Match, Put
from services.records.store import RecordStore

__all__ = ["CANDIDATES", "INTENT_SECONDS", "candidate_key", "intent_pk", "register", "unclaim"]

INTENT_SECONDS = 7 * 86_400
CANDIDATES = "COLLECT#objects"
"""Partition of what the object collector notes on a surface."""
_KEYS_A_ROW = 200
_ROWS_A_COMMIT = 20
_KEYS_A_READ = 500


def intent_pk(run_id: str) -> str:
    """Partition of a run's intents."""
    return f"INTENT#{run_id}"


def candidate_key(storage_key: str) -> Key:
    """Where the collector notes an object that nothing names."""
    return Key(CANDIDATES, hashlib.sha256(storage_key.encode()).hexdigest())


async def register(
    records: RecordStore, run_id: str, keys: Sequence[str], *, now_ms: int
) -> None:
    """Have the collection of this surface spare these keys for seven days. Durable
    when it returns; repeating it renews."""
    ordered = sorted(set(keys))
    rows = [ordered[at : at + _KEYS_A_ROW] for at in range(0, len(ordered), _KEYS_A_ROW)]
    for at in range(0, len(rows), _ROWS_A_COMMIT):
        await _write(records, run_id, rows[at : at + _ROWS_A_COMMIT], now_ms)


async def unclaim(records: RecordStore, keys: Sequence[str], *, now_ms: int) -> set[str]:
    """Which of the keys the collector has claimed for removal. The claims are taken
    back; a removal may be under way all the same, so leave these for another run."""
    by_row = {candidate_key(key): key for key in keys}
    rows, found = list(by_row), set()
    for at in range(0, len(rows), _KEYS_A_READ):
        for each in await records.rows(rows[at : at + _KEYS_A_READ]):
            item = each.item
            if item is None or item.deleted or not json.loads(item.body).get("removing"):
                continue
            found.add(by_row[item.key])
            gone = Put(
                item.key, Match(item.token), item.family,
                json.dumps({"key": by_row[item.key], "unclaimed_ms": now_ms}),
                deleted=True, expires_at=now_ms // 1000 + INTENT_SECONDS,
            )
            try:
                await records.put_row(gone)
            except ConditionFailed:
                continue  # the collector went on; the next run sees what came of it
    return found


async def _write(
    records: RecordStore, run_id: str, rows: Sequence[Sequence[str]], now_ms: int
) -> None:
    keys = [Key(intent_pk(run_id), _part(row)) for row in rows]
    bodies = [json.dumps({"keys": list(row), "at_ms": now_ms}) for row in rows]
    conditions: list[Condition] = [ABSENT for _ in keys]
    expires = now_ms // 1000 + INTENT_SECONDS
    for _ in range(3):
        puts = [
            Put(key, condition, "object_intent", body, expires_at=expires)
            for key, condition, body in zip(keys, conditions, bodies, strict=True)
        ]
        try:
            await records.put_rows(puts)
        except ConditionFailed:
            # An earlier try of this run wrote some of them: they are renewed.
            found = await records.rows(keys)
            conditions = [Match(row.item.token) if row.item else ABSENT for row in found]
        else:
            return
    await records.put_rows(puts)


def _part(keys: Sequence[str]) -> str:
    return hashlib.sha256("\n".join(keys).encode()).hexdigest()[:32]
