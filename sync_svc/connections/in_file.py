"""Manifests in `connections.json`: for a workspace that one process has alone.

The file has the manifests, the record store the event and the answer of each
change. A change is written ahead: with the new manifest the file says what was
there before and how many commits the partition had ("unsettled"). Then the event
is committed under that very count, and the mark is taken off. Whoever finds the
mark knows by the count whether the commit happened: if not, nobody was told of the
change, and what was there before is put back. So the file has a change if and only
if there is an event of it, and a repeat of the call finds its answer or starts anew.
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, TypeVar

from google.protobuf.message import Message
from workspace.sync.v1.connection_pb2 import Connection

from services.model.errors import Reason, WorkspaceError
from services.records.deciding import deciding
from services.records.mutation import Mutation
from services.records.store import RecordStore
from services.rpc.validation import Validator
from sync_svc.connections.manifest_file import (
    Document,
    Entry,
    entry_of,
    locked,
    manifest_of,
    read_document,
    write_document,
)
from sync_svc.connections.registry import Change, Stored, connection_pk

__all__ = ["FileRegistry"]

M = TypeVar("M", bound=Message)
_MARK = "unsettled"


class FileRegistry:
    """`ConnectionRegistry` over one file; see the module."""

    def __init__(self, path: Path, records: RecordStore) -> None:
        self._path = path
        self._records = records
        self._validator = Validator()
        self._lock = asyncio.Lock()

    async def get(self, connection_id: str) -> Stored | None:
        async with self._lock:
            return _find(await self._read(), connection_id)

    async def everything(self) -> Sequence[Stored]:
        async with self._lock:
            document = await self._read()
        return sorted(map(_stored, document["connections"]), key=_id)

    async def change(
        self, mutation: Mutation, change: Change, answer: Callable[[Connection | None], M]
    ) -> M:
        async def attempt() -> M:
            async with self._alone() as document:
                return await self._change(document, mutation, change, answer)

        return await deciding(attempt)

    async def note(
        self, connection_id: str, edit: Callable[[Connection], None]
    ) -> Stored | None:
        async with self._alone() as document:
            found = _find(document, connection_id)
            if found is None:
                return None
            message = found.edit()
            edit(message)
            if message == found.connection:
                return found
            entry = entry_of(message, found.base, revision=found.base.get("revision", ""))
            await self._write(_with(document, connection_id, entry))
            return _stored(entry)

    async def _change(
        self, document: Document, mutation: Mutation, change: Change,
        answer: Callable[[Connection | None], M],
    ) -> M:  # fmt: skip
        connection_id, pk = change.connection_id, connection_pk(change.connection_id)
        found = _find(document, connection_id)
        _require_same(change, found)
        head = await self._records.head(pk)
        before: Entry = found.base if found else {}
        after = change.after and entry_of(change.after, before, revision=secrets.token_hex(8))
        changed = _with(document, connection_id, after or None)
        mark = {"connection_id": connection_id, "commits": head.pseq, "before": before or None}
        await self._write({**changed, _MARK: mark})
        try:
            reply = answer(manifest_of(after) if after else None)
            done = await mutation.commit(
                pk, [], activity=change.activity, answer=lambda _: reply, if_head=head,
                still=change.still,
            )
        except Exception:
            await self._settled({**changed, _MARK: mark})
            raise
        await self._write(changed)
        return done

    async def _read(self) -> Document:
        """The file, without a change that was not finished."""
        document = await asyncio.to_thread(read_document, self._path, self._validator)
        return await self._settled(document) if _MARK in document else document

    async def _settled(self, document: Document) -> Document:
        """Keep a change whose event is there, undo one whose event is not."""
        mark: dict[str, Any] = document.pop(_MARK)
        head = await self._records.head(connection_pk(mark["connection_id"]))
        if head.pseq == mark["commits"]:
            document = _with(document, mark["connection_id"], mark["before"])
        await self._write(document)
        return document

    @asynccontextmanager
    async def _alone(self) -> AsyncIterator[Document]:
        """The file, held against everybody else who writes it."""
        async with self._lock:
            lock = locked(self._path)
            await asyncio.to_thread(lock.__enter__)
            try:
                yield await self._read()
            finally:
                lock.__exit__(None, None, None)

    async def _write(self, document: Document) -> None:
        await asyncio.to_thread(write_document, self._path, document)


def _find(document: Document, connection_id: str) -> Stored | None:
    for entry in document["connections"]:
        if entry["connection_id"] == connection_id:
            return _stored(entry)
    return None


def _stored(entry: Entry) -> Stored:
    return Stored(manifest_of(entry), entry)


def _id(stored: Stored) -> str:
    return stored.connection.connection_id


def _with(document: Document, connection_id: str, entry: Entry | None) -> Document:
    """The document with this entry (None: without)."""
    entries = [each for each in document["connections"] if each["connection_id"] != connection_id]
    entries += [entry] if entry else []
    return {**document, "connections": sorted(entries, key=lambda each: each["connection_id"])}


def _require_same(change: Change, found: Stored | None) -> None:
    resource = f"connections/{change.connection_id}"
    if change.before is None and found is not None:
        raise WorkspaceError(
            Reason.ERROR_REASON_ALREADY_EXISTS,
            f"{resource}: such a connection exists already",
            metadata={"resource": resource},
        )
    if change.before is not None and (found is None or found.etag != change.before.etag):
        raise WorkspaceError(
            Reason.ERROR_REASON_ETAG_MISMATCH,
            f"{resource} changed since it was read; read it again and repeat",
            metadata={"resource": resource},
        )
