"""A commit is one transactional batch: every put under its condition.

Each row carries the id of its commit (`rev`). An unclear answer (a timeout, a 5xx, a lost
connection) is settled by reading the rows: one with our id says that the commit happened.
While none has it the same batch is sent again: its conditions let it happen once, and fail
then. So a condition that fails afterwards is looked into before it is anybody's failure.
"""

from __future__ import annotations

import asyncio
import json
import secrets
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from azure.cosmos.exceptions import CosmosBatchOperationError

from services.model.errors import WorkspaceError, invalid_field
from services.records.cosmos.calls import ContainerCalls
from services.records.cosmos.codec import (
    NO_ETAG,
    Document,
    document_of,
    token_of,
    version_of,
    visible,
)
from services.records.cosmos.failing import CallFailed, port_error
from services.records.cosmos.reading import Reader
from services.records.port import Absent, ConditionFailed, DriverUnavailable, Key, Put
from services.records.retrying import Deadline, pauses

__all__ = ["MAX_PUTS", "Committer"]

MAX_PUTS = 100
"""Operations of one transactional batch ("Service quotas", per-request limits)."""
_MOST_BYTES = 2 * 1024 * 1024
_AROUND = 1200
"""Bytes around a row in a batch at most: the operation, its condition, the id again."""
_SECONDS = 12.0
_SETTLE_SECONDS = 8.0
_AT_ONCE = 64
"""Commits under way. Others wait for their turn, and their time begins with it."""
_EXISTS, _OTHER, _MISSING, _TOO_LARGE = 409, 412, 404, 413
_CONDITIONS = (_EXISTS, _OTHER, _MISSING)


class Committer:
    """Commits of one container: each ends within about 20 seconds. `now` tells unix
    seconds, whole ones."""

    def __init__(
        self, calls: ContainerCalls, reader: Reader, *, now: Callable[[], int]
    ) -> None:
        self._calls = calls
        self._reader = reader
        self._now = now
        self._turns = asyncio.Semaphore(_AT_ONCE)

    async def commit(self, pk: str, puts: Sequence[Put]) -> list[str]:
        """Tokens in order. Raises the port's errors, and INVALID_FIELD before any call for
        what no batch can hold."""
        rev = secrets.token_hex(12)
        rows = _rows(puts, rev, self._now())
        async with self._turns:
            return await _Commit(self._calls, self._reader, self._now, pk, puts, rows, rev).run()


class _Commit:
    """One commit. `_etags` are those that its rows must have, None for no row."""

    def __init__(
        self,
        calls: ContainerCalls,
        reader: Reader,
        now: Callable[[], int],
        pk: str,
        puts: Sequence[Put],
        rows: Sequence[Document],
        rev: str,
    ) -> None:
        self._calls = calls
        self._reader = reader
        self._now = now
        self._pk = pk
        self._puts = puts
        self._rows = rows
        self._rev = rev
        self._etags: list[str | None] = [_etag_of(put) for put in puts]
        self._deadline = Deadline(_SECONDS)
        self._settling = Deadline(_SECONDS + _SETTLE_SECONDS)
        self._began = now()
        self._unclear = False

    async def run(self) -> list[str]:
        """See `Committer.commit`."""
        await self._check_expired()
        for pause in pauses():
            tokens, wait = await self._attempt()
            if tokens is not None:
                return tokens
            wait = max(wait, pause)
            if wait >= self._deadline.left:
                raise self._given_up("it does not take the commit in time")
            await asyncio.sleep(wait)
        raise AssertionError("unreachable")

    async def _attempt(self) -> tuple[list[str] | None, float]:
        """The tokens once it happened; else the seconds to wait before the next."""
        operations = self._operations()
        try:
            results = await self._calls.once(
                lambda: self._calls.batch(self._pk, operations), self._deadline
            )
        except CallFailed as failed:
            return await self._failed(failed), failed.failure.retry_after
        return [
            token_of(str(each["eTag"]), put.expires_at)
            for each, put in zip(results, self._puts, strict=True)
        ], 0.0

    async def _failed(self, failed: CallFailed) -> list[str] | None:
        """Tokens when it happened after all; None when it may be tried again."""
        position = _position(failed)
        if position is not None:
            return await self._refused(position)
        if failed.status == _TOO_LARGE:
            raise _too_large() from failed
        if failed.failure.ambiguous:
            self._unclear = True
            return self._landed(await self._read_all(failed))
        if not failed.failure.passing:
            return await self._ended(failed)
        return None

    async def _ended(self, failed: CallFailed) -> list[str]:
        """Refused for good: which tells nothing of an earlier attempt that arrived late."""
        if not self._unclear:
            raise port_error(failed, self._calls.name) from failed
        tokens = self._landed(await self._read_all(failed))
        if tokens is None:
            raise self._given_up(str(failed)) from failed
        return tokens

    async def _refused(self, position: int) -> list[str] | None:
        """A condition failed: on our own rows, on one that has expired, or truly."""
        if self._unclear:
            found = await self._read_all(None)
            if (tokens := self._landed(found)) is not None:
                return tokens
            if not self._has_untouched(found):
                raise self._given_up("the rows have changed since")
            row = found.get(self._puts[position].key)
        else:
            key = self._puts[position].key
            row = (await self._documents([key])).get(key)
        current = visible(row, self._now())
        if current is not None or not isinstance(self._puts[position].condition, Absent):
            raise ConditionFailed(position, current)
        self._etags[position] = str(row["_etag"]) if row else None  # expired, or removed
        return None

    def _landed(self, found: Mapping[Key, Document]) -> list[str] | None:
        """The tokens when one of the rows is ours: then all were. A row that was written
        again since gets a token that no version has, as its own would be of no use."""
        ours = [
            row if (row := found.get(put.key)) and row.get("rev") == self._rev else None
            for put in self._puts
        ]
        if not any(ours):
            return None
        return [
            token_of(str(row["_etag"]) if row else NO_ETAG, put.expires_at)
            for row, put in zip(ours, self._puts, strict=True)
        ]

    def _has_untouched(self, found: Mapping[Key, Document]) -> bool:
        """Whether a row is still as the commit wants it: then the commit, which changes all
        rows at once, has not happened, and the condition that failed was on another's. A row
        that expired since the commit began may have been written over ours."""
        for put, etag in zip(self._puts, self._etags, strict=True):
            row = found.get(put.key)
            if etag == (row["_etag"] if row else None):
                return True
            if isinstance(put.condition, Absent) and visible(row, self._began) is None:
                return True
        return False

    async def _read_all(self, failed: CallFailed | None) -> dict[Key, Document]:
        """Raises DriverUnavailable, ambiguous, when that cannot be read."""
        try:
            return await self._documents([put.key for put in self._puts])
        except (DriverUnavailable, WorkspaceError) as error:
            text = f"Cosmos DB container {self._calls.name}: {failed or error}"
            raise DriverUnavailable(text, ambiguous=True) from error

    async def _documents(self, keys: Sequence[Key]) -> dict[Key, Document]:
        return await self._reader.documents(keys, self._settling)

    async def _check_expired(self) -> None:
        """An expired version is none, also while the service still has it."""
        now = self._now()
        for position, put in enumerate(self._puts):
            if isinstance(put.condition, Absent):
                continue
            version = version_of(put.condition.token)
            if version is None or (version.expires_at is not None and version.expires_at <= now):
                row = (await self._documents([put.key])).get(put.key)
                raise ConditionFailed(position, visible(row, now))

    def _operations(self) -> list[Any]:
        """Anew for each attempt: the SDK takes them apart."""
        return [
            ("create", (row,)) if etag is None
            else ("replace", (row["id"], row), {"if_match_etag": etag})
            for row, etag in zip(self._rows, self._etags, strict=True)
        ]  # fmt: skip

    def _given_up(self, why: str) -> DriverUnavailable:
        text = f"Cosmos DB container {self._calls.name}: {why}"
        return DriverUnavailable(text, ambiguous=self._unclear)


def _etag_of(put: Put) -> str | None:
    if isinstance(put.condition, Absent):
        return None
    version = version_of(put.condition.token)
    return version.etag if version else NO_ETAG


def _position(failed: CallFailed) -> int | None:
    """The operation whose condition failed; the others of a batch have 424."""
    error = failed.error
    if not isinstance(error, CosmosBatchOperationError):
        return None
    statuses = [int(each.get("statusCode", 0)) for each in error.operation_responses or ()]
    return next((at for at, status in enumerate(statuses) if status in _CONDITIONS), None)


def _rows(puts: Sequence[Put], rev: str, now: int) -> list[Document]:
    """Raises INVALID_FIELD over the limits of a batch: 100 operations, 2 MB as the SDK
    sends it."""
    if len(puts) > MAX_PUTS:
        raise invalid_field("writes", f"{len(puts)} writes; Cosmos DB takes {MAX_PUTS} at once")
    rows = [document_of(put, rev, now) for put in puts]
    if sum(len(row["body"]) + len(row["stamp"]) for row in rows) * 6 > _MOST_BYTES:
        content = json.dumps(rows, separators=(",", ":"), ensure_ascii=False).encode()
        size = len(content) + _AROUND * len(rows)
        if size > _MOST_BYTES:
            raise _too_large(size)
    return rows


def _too_large(size: int = 0) -> Exception:
    said = f"{size} bytes together as they are sent" if size else "too many bytes together"
    return invalid_field(
        "writes",
        f"{said}; Cosmos DB takes {_MOST_BYTES} in one batch: change fewer records at once",
    )
