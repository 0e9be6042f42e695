"""Rows of objects that records name and that are still to come.

A row lies in the partition of the connection that knew no better; whoever has the
bytes later takes it away. `direction` is `pull` (the record is here, the bytes are
not) or `push` (the record waits here until its bytes can go with it). Index USER
lists all rows, index TEAM finds those of one object.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import AsyncIterator, Sequence
from dataclasses import asdict, dataclass, replace

from services.model.errors import Reason, WorkspaceError
from services.records.port import (
    ABSENT,
    Condition,
    ConditionFailed,
    Index,
    Item,
    Key,
    Match,
    Put,
)
from services.records.store import RecordStore

__all__ = ["PENDING_BYTES", "PendingBytes", "PendingObject"]

PENDING_BYTES = "pending_bytes"
_ALL = "PENDING"
_PAGE = 200
_ROWS_A_COMMIT = 40
_GONE_SECONDS = 3600
_TRIES = 5


@dataclass(frozen=True, slots=True)
class PendingObject:
    """`size` in bytes (None: unknown), `sha256` lower hex, `since_ms` unix
    milliseconds, `fault` is `missing`, `corrupt`, `mismatch` or `removing`."""

    connection_id: str
    direction: str
    pk: str
    sk: str
    storage_key: str
    size: int | None
    sha256: str
    content_type: str
    fault: str
    since_ms: int
    attempts: int = 1

    @property
    def record(self) -> Key:
        """The record that names the object."""
        return Key(self.pk, self.sk)

    @property
    def key(self) -> Key:
        """Where the row lies."""
        text = "\n".join((self.direction, self.pk, self.sk, self.storage_key, self.sha256))
        digest = hashlib.sha256(text.encode()).hexdigest()
        return Key(_partition(self.connection_id), f"PENDING#{digest}")


class PendingBytes:
    """Reads and writes the rows of one store."""

    def __init__(self, records: RecordStore) -> None:
        self._records = records

    async def put(self, objects: Sequence[PendingObject]) -> None:
        """Note objects of one connection; durable when it returns. Of one that is noted
        already the time stays and the attempts count. Raises CONFLICTING_WRITE."""
        for at in range(0, len(objects), _ROWS_A_COMMIT):
            part = {each.key: each for each in objects[at : at + _ROWS_A_COMMIT]}
            for _ in range(_TRIES):
                if await self._put(part):
                    break
            else:  # the caller joins the records next: without the rows nobody gets the bytes
                raise WorkspaceError(
                    Reason.ERROR_REASON_CONFLICTING_WRITE,
                    "rows of pending objects change faster than they can be written; repeat",
                    retry_after=0.1,
                )

    async def remove(self, objects: Sequence[PendingObject], *, now_ms: int) -> None:
        """Their bytes are there. Absent rows are a success. A row that goes still says
        for a while what it was about: followers of the feed count the file then."""
        for each in objects:
            item = await self._records.get_row(each.key)
            if item is None or item.deleted:
                continue
            gone = Put(
                item.key, Match(item.token), PENDING_BYTES, item.body, deleted=True,
                expires_at=now_ms // 1000 + _GONE_SECONDS,
            )
            try:
                await self._records.put_row(gone)
            except ConditionFailed:
                continue  # noted anew meanwhile

    async def all(self) -> AsyncIterator[list[PendingObject]]:
        """Every row, in pages, of all connections."""
        async for page in self._rows(Index.USER, _ALL, ""):
            yield page

    async def of_connection(self, connection_id: str) -> AsyncIterator[list[PendingObject]]:
        """The rows of one connection, in pages."""
        async for page in self._rows(Index.BASE, _partition(connection_id), "PENDING#"):
            yield page

    async def of_object(self, storage_key: str) -> list[PendingObject]:
        """The rows about one object (at most 200)."""
        async for page in self._rows(Index.TEAM, _of_object(storage_key), ""):
            return page
        return []

    async def any(self) -> bool:
        """Whether there is a row at all."""
        page = await self._records.run(
            Index.USER, _ALL, lower="", upper="\x7f", limit=1, after=None
        )
        return bool(page.items)

    async def _put(self, part: dict[Key, PendingObject]) -> bool:
        rows = await self._records.rows(list(part))
        puts = [_put(part[row.key], row.item) for row in rows]
        try:
            await self._records.put_rows(puts)
        except ConditionFailed:
            return False
        return True

    async def _rows(
        self, index: Index, partition: str, prefix: str
    ) -> AsyncIterator[list[PendingObject]]:
        after: str | None = None
        while True:
            page = await self._records.run(
                index, partition, lower=prefix, upper=prefix + "\x7f", limit=_PAGE, after=after
            )
            live = [i for i in page.items if i.family == PENDING_BYTES and not i.deleted]
            if live:
                yield [PendingObject(**json.loads(item.body)) for item in live]
            after = page.next
            if after is None:
                return


def _put(each: PendingObject, item: Item | None) -> Put:
    condition: Condition = ABSENT if item is None else Match(item.token)
    if item is not None and not item.deleted:
        before = PendingObject(**json.loads(item.body))
        each = replace(each, since_ms=before.since_ms, attempts=before.attempts + 1)
    indexes = {
        Index.USER: (_ALL, f"{each.connection_id}#{each.key.sk}"),
        Index.TEAM: (_of_object(each.storage_key), f"{each.connection_id}#{each.key.sk}"),
    }
    body = json.dumps(asdict(each), sort_keys=True)
    return Put(each.key, condition, PENDING_BYTES, body, indexes=indexes)


def _partition(connection_id: str) -> str:
    return f"SYNC#{connection_id}"


def _of_object(storage_key: str) -> str:
    return f"PENDING#{hashlib.sha256(storage_key.encode()).hexdigest()}"
