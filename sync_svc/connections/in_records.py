"""Manifests as `CONNECTION#` records: for workspaces of several processes."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any, TypeVar

from google.protobuf.message import Message
from workspace.sync.v1.connection_pb2 import Connection

from services.model.canonical import content_digest
from services.model.errors import Reason, WorkspaceError
from services.model.families import FAMILIES
from services.model.indexes import Index
from services.model.merging.content import content_of
from services.model.stamp import Stamp
from services.records.codec import dump, encode
from services.records.mutation import Mutation
from services.records.port import ConditionFailed, Key, Match, Put
from services.records.record import Record, Write
from services.records.store import RecordStore
from sync_svc.connections.registry import Change, Stored, connection_pk

__all__ = ["RecordRegistry"]

M = TypeVar("M", bound=Message)
_FAMILY = FAMILIES["connection"]
_PARTITION, _PREFIX = "CONNECTIONS", "CONNECTION#"
_PAGE = 500
_TRIES = 20


class RecordRegistry:
    """`ConnectionRegistry` over the record store."""

    def __init__(self, records: RecordStore) -> None:
        self._records = records

    async def get(self, connection_id: str) -> Stored | None:
        record = await self._records.get(_FAMILY, _key(connection_id))
        return _stored(record) if record else None

    async def everything(self) -> Sequence[Stored]:
        found: list[Stored] = []
        after: str | None = None
        while True:
            page = await self._records.query(
                _FAMILY, Index.USER, _PARTITION, prefix=_PREFIX, limit=_PAGE, after=after
            )
            found += map(_stored, page.records)
            after = page.next
            if after is None:
                return found

    async def change(
        self, mutation: Mutation, change: Change, answer: Callable[[Connection | None], M]
    ) -> M:
        base = change.before.base if change.before else await self._tombstone(change.connection_id)
        message = change.after
        if message is None:
            message = Connection(connection_id=change.connection_id)
        write = Write(_FAMILY, message, base=base, deleted=change.after is None)

        def reply(records: Sequence[Record[Any]]) -> M:
            return answer(records[0].shown() if change.after else None)

        return await mutation.commit(
            connection_pk(change.connection_id), [write], activity=change.activity, answer=reply,
            still=change.still,
        )

    async def note(
        self, connection_id: str, edit: Callable[[Connection], None]
    ) -> Stored | None:
        for _ in range(_TRIES):
            record = await self._records.get(_FAMILY, _key(connection_id))
            if record is None:
                return None
            message = record.edit()
            edit(message)
            if message == record.message:
                return _stored(record)
            put = _noted(record, message)
            try:
                token = await self._records.put_row(put)
            except ConditionFailed:
                continue
            item = replace(record.item, token=token, body=put.body, stamp=put.stamp)
            stamp = Stamp.load(put.stamp)
            return _stored(replace(record, message=message, item=item, stamp=stamp))
        raise WorkspaceError(
            Reason.ERROR_REASON_CONFLICTING_WRITE,
            "other changes of the connection won every retry; repeat the call",
            retry_after=0.1,
        )

    async def _tombstone(self, connection_id: str) -> Record[Any] | None:
        """What a connection of that id left, when it was removed."""
        record = await self._records.get(_FAMILY, _key(connection_id), deleted=True)
        return record if record is not None and record.deleted else None


def _key(connection_id: str) -> Key:
    return Key(connection_pk(connection_id), "CONNECTION")


def _stored(record: Record[Any]) -> Stored:
    return Stored(record.shown(), record)


def _noted(record: Record[Any], message: Connection) -> Put:
    """The row with other server-set fields, under the version that it has: the stamp keeps
    its dots, and has the digest of the new content."""
    item = record.item
    members = encode(_FAMILY, message, json.loads(item.body))
    digest = content_digest(_FAMILY.name, item.deleted, content_of(_FAMILY, members))
    stamp = replace(record.stamp, digest=digest).dump()
    return Put(
        item.key, Match(item.token), item.family, dump(members), stamp, item.deleted,
        item.expires_at, _FAMILY.index_entries(message),
    )
