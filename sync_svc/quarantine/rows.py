"""Quarantine rows: incoming records that could not be applied, kept as they came.

One row a record and connection (a newer version of the record takes the place of the
older): `SYNC#{connection_id}` / `QUARANTINE#{quarantine_id}`. The id is a hash of
connection and key, then of the versions, so that all rows of a record lie together.
They are found by id (index PROJECT), by connection (TEAM) and all together (USER),
newest first.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Collection, Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Final

from workspace.sync.v1.quarantine_pb2 import QuarantineReason

from services.model.errors import Reason, WorkspaceError
from services.records.limits import MAX_ITEM_BYTES
from services.records.port import ABSENT, ConditionFailed, Index, Item, Key, Match, Put
from services.records.siblings import Rows
from services.records.store import RecordStore
from sync_svc.engine.refusal import Refusal, Refused
from sync_svc.engine.stamps import strict_stamp
from sync_svc.quarantine.packing import pack_rows

__all__ = [
    "ALL",
    "MOST_RECORDS",
    "OUTGOING",
    "QUARANTINE",
    "Quarantine",
    "by_connection",
    "by_id",
    "quarantine_id",
]

QUARANTINE: Final = "quarantine"
ALL: Final = "QUARANTINE"
"""Partition of index USER that lists all of them."""
OUTGOING: Final = frozenset(
    {
        QuarantineReason.QUARANTINE_REASON_REJECTED,
        QuarantineReason.QUARANTINE_REASON_OBJECT_MISMATCH,
    }
)
"""Reasons that a later look at the surface's rows does not settle."""

MOST_RECORDS: Final = 10_000
"""Of one connection."""
_LATEST_MS: Final = 10**13
_PAGE: Final = 500
_PUTS: Final = 40
_BYTES: Final = 800 * 1024
_TRIES: Final = 20


def by_id(quarantine: str) -> str:
    """Partition of index PROJECT that has the one row of an id."""
    return f"QUARANTINE#{quarantine}"


def by_connection(connection_id: str) -> str:
    """Partition of index TEAM with the rows of a connection."""
    return f"QUARANTINE#{connection_id}"


def quarantine_id(connection_id: str, rows: Rows) -> str:
    """64 lower-hex digits: 32 of connection and key, 32 of the versions."""
    return _of_key(connection_id, rows.key) + _of_versions(rows)


def _full(connection_id: str, most: int) -> WorkspaceError:
    return WorkspaceError(
        Reason.ERROR_REASON_LIMIT_EXCEEDED,
        f"the quarantine of connections/{connection_id} has its {most:,} records; look at them "
        "(`wm sync quarantine`), mend what sends them or pause the connection, then run again",
        metadata={"limit": "quarantined_records", "maximum": str(most)},
    )


@dataclass(frozen=True, slots=True)
class _Entry:
    rows: Rows
    refusal: Refusal


class Quarantine:
    """The quarantine of one store. `now_ms` is unix milliseconds. Made anew for each
    run: it remembers which records have rows, so that the usual clean record costs
    no read."""

    def __init__(self, records: RecordStore, now_ms: int, *, most: int = MOST_RECORDS) -> None:
        self._records = records
        self._now_ms = now_ms
        self._most = most
        self._known: dict[str, set[str] | None] = {}
        self._live: dict[str, set[str]] = {}

    async def put(
        self, connection_id: str, run_id: str, key: Key, item: Item, refusal: Refusal
    ) -> None:
        """Keep one record. Durable when it returns; the same again changes nothing."""
        await self.put_all(connection_id, run_id, [(Rows(key, item), refusal)])

    async def put_all(
        self, connection_id: str, run_id: str, refused: Sequence[tuple[Rows, Refusal]]
    ) -> None:
        """`put` for several records. Raises LIMIT_EXCEEDED, before anything is put,
        when a connection would have more than `most`: a surface that sends nothing but
        rubbish must not fill this store. The run ends, its cursor stays."""
        if not refused:
            return
        latest = {rows.key: _Entry(rows, refusal) for rows, refusal in refused}
        entries = list(latest.values())
        known = await self._of(connection_id)
        names = {_of_key(connection_id, each.rows.key) for each in entries}
        live = self._live[connection_id]
        if known is None or len(live | names) > self._most:
            raise _full(connection_id, self._most)
        for at in range(0, len(entries), _PUTS):
            await self._put_part(connection_id, run_id, entries[at : at + _PUTS])
        known |= names
        live |= names

    async def clear(
        self, connection_id: str, keys: Iterable[Key], *, outgoing: bool = False
    ) -> int:
        """These records are fine now: remove their rows; how many there were. With
        `outgoing` those whose reason lay with the target or with objects, else the
        others."""
        known = await self._of(connection_id)
        gone = 0
        for key in keys:
            of_key = _of_key(connection_id, key)
            if known is not None and of_key not in known:
                continue
            for item in await self._rows_of(connection_id, of_key):
                if not item.deleted and _is_outgoing(item) == outgoing:
                    await self.remove(item)
                    gone += 1
        return gone

    async def remove(self, item: Item) -> None:
        """Take one row out, unless it changed meanwhile."""
        with suppress(ConditionFailed):  # somebody took it out, or tried it again
            await self._records.put_row(_gone(item, self._now_ms))

    async def _of(self, connection_id: str) -> set[str] | None:
        """Which records have rows; None when they are too many to remember."""
        if connection_id not in self._known:
            self._known[connection_id] = await self._read_known(connection_id)
        return self._known[connection_id]

    async def _read_known(self, connection_id: str) -> set[str] | None:
        found: set[str] = set()
        live = self._live[connection_id] = set[str]()
        after: str | None = None
        while len(live) <= self._most:
            page = await self._records.run(
                Index.BASE, f"SYNC#{connection_id}", lower="QUARANTINE#", upper="QUARANTINE$",
                limit=_PAGE, after=after,
            )
            found |= {_name_of(item) for item in page.items}
            live |= {_name_of(item) for item in page.items if not item.deleted}
            after = page.next
            if after is None:
                return found
        return None

    async def _rows_of(self, connection_id: str, of_key: str) -> list[Item]:
        prefix = f"QUARANTINE#{of_key}"
        page = await self._records.run(
            Index.BASE, f"SYNC#{connection_id}", lower=prefix, upper=prefix + "~", limit=_PAGE,
            after=None,
        )
        return list(page.items)

    async def _put_part(
        self, connection_id: str, run_id: str, entries: Sequence[_Entry]
    ) -> None:
        for _ in range(_TRIES):
            puts: list[Put] = []
            for entry in entries:
                puts += await self._puts(connection_id, run_id, entry)
            try:
                for part in _fitting(puts):
                    await self._records.put_rows(part)
            except ConditionFailed:
                continue
            return
        raise WorkspaceError(
            Reason.ERROR_REASON_CONFLICTING_WRITE,
            "quarantine rows change faster than they can be written; run it again",
            retry_after=0.1,
        )

    async def _puts(self, connection_id: str, run_id: str, entry: _Entry) -> list[Put]:
        known = await self._of(connection_id)
        of_key = _of_key(connection_id, entry.rows.key)
        there = [] if known is not None and of_key not in known else (
            await self._rows_of(connection_id, of_key)
        )
        key = _key(connection_id, quarantine_id(connection_id, entry.rows))
        same = next((item for item in there if item.key == key), None)
        puts = [
            _gone(item, self._now_ms) for item in there if item.key != key and not item.deleted
        ]
        before = json.loads(same.body) if same and not same.deleted else {}
        body = self._body(connection_id, run_id, entry, before)
        if body != before:
            puts.append(_put(key, body, same))
        return puts

    def _body(
        self, connection_id: str, run_id: str, entry: _Entry, before: dict[str, Any]
    ) -> dict[str, Any]:
        rows, refusal = entry.rows, entry.refusal
        again = bool(before) and before["run_id"] == run_id
        item = rows.item
        return {
            "quarantine_id": quarantine_id(connection_id, rows),
            "connection_id": connection_id,
            "run_id": run_id,
            "family": item.family if item else "",
            "pk": rows.key.pk,
            "sk": rows.key.sk,
            "project_id": _project_of(rows),
            "reason": QuarantineReason.Name(refusal.reason),
            "message": refusal.message,
            "size_bytes": len(item.body.encode("utf-8", "replace")) if item else 0,
            "attempts": before.get("attempts", 0) + (0 if again else 1),
            "created_ms": before.get("created_ms", self._now_ms),
            "tried_ms": before["tried_ms"] if again else self._now_ms,
            "rows": _kept(rows),
        }


def _name_of(item: Item) -> str:
    return item.key.sk.removeprefix("QUARANTINE#")[:32]


def _of_key(connection_id: str, key: Key) -> str:
    return _hash(connection_id, key.pk, key.sk)


def _of_versions(rows: Rows) -> str:
    if rows.item is None:
        return _hash("none")
    try:
        dots = strict_stamp(rows.item.stamp).live
    except Refused:
        return _hash("broken", rows.item.stamp, rows.item.body)
    return _hash(*(f"{actor}:{counter}" for actor, counter in dots))


def _hash(*parts: str) -> str:
    text = "\n".join(parts).encode("utf-8", "surrogatepass")
    return hashlib.sha256(text).hexdigest()[:32]


def _key(connection_id: str, quarantine: str) -> Key:
    return Key(f"SYNC#{connection_id}", f"QUARANTINE#{quarantine}")


def _kept(rows: Rows) -> dict[str, Any] | None:
    """The rows as they came; without texts when no row takes them."""
    packed = pack_rows(rows)
    return packed if len(json.dumps(packed)) <= MAX_ITEM_BYTES - 8192 else None


def _project_of(rows: Rows) -> str:
    """When it can be told: nothing of the body is believed."""
    kind, _, name = rows.key.pk.partition("#")
    return name[:64] if kind == "PROJECT" else ""


def _put(key: Key, body: dict[str, Any], there: Item | None) -> Put:
    sort = f"{_LATEST_MS - body['created_ms']:013d}#{body['quarantine_id']}"
    indexes = {
        Index.USER: (ALL, sort),
        Index.TEAM: (by_connection(body["connection_id"]), sort),
        Index.PROJECT: (by_id(body["quarantine_id"]), QUARANTINE),
    }
    condition = Match(there.token) if there else ABSENT
    return Put(key, condition, QUARANTINE, json.dumps(body, sort_keys=True), indexes=indexes)


def _gone(item: Item, now_ms: int) -> Put:
    return Put(
        item.key, Match(item.token), QUARANTINE, "{}", deleted=True, expires_at=now_ms // 1000
    )


def _is_outgoing(item: Item) -> bool:
    return QuarantineReason.Value(json.loads(item.body)["reason"]) in OUTGOING


def _fitting(puts: Collection[Put]) -> Iterator[list[Put]]:
    part: list[Put] = []
    room = _BYTES
    for put in puts:
        room -= len(put.body)
        if part and (room < 0 or len(part) >= _PUTS):
            yield part
            part, room = [], _BYTES - len(put.body)
        part.append(put)
    if part:
        yield part
