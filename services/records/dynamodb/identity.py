"""The name of this very store.

The service's id of the table tells a restored copy (which always is another table); a
random id in a row of ours tells a table that was emptied, or made again elsewhere.
"""

from __future__ import annotations

import asyncio
import secrets
import time
from collections.abc import Callable
from contextlib import suppress

from services.model.errors import Reason, WorkspaceError
from services.records.dynamodb.calls import (
    CallFailed,
    Deadline,
    TableCalls,
    pauses,
    port_error,
    setup_error,
)
from services.records.dynamodb.schema import OWN_PREFIX
from services.records.port import DriverUnavailable

__all__ = ["StoreIdentity"]

_SECONDS = 20.0
_KNOWN_SECONDS, _LOOK_SECONDS = 30.0, 5.0
_KEY = {"PK": {"S": f"{OWN_PREFIX}.STORE"}, "SK": {"S": "STORE"}}
_TAKEN = "ConditionalCheckFailedException"


class StoreIdentity:
    """`table_id` is what the service says, '' where it says none; it is asked for again
    now and then, since a table may be restored under its name while processes run.
    `read_only`: the row must be there. `changed` is called when the store is another."""

    def __init__(
        self,
        calls: TableCalls,
        table_id: str,
        *,
        read_only: bool,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._calls = calls
        self._table_id = table_id
        self._read_only = read_only
        self._monotonic = monotonic
        self._known_since = monotonic()
        self._last = ""
        self.changed: Callable[[], None] = _nothing

    async def open(self) -> str:
        """As `read`. Raises WorkspaceError with the remedy."""
        try:
            return await self.read()
        except DriverUnavailable as error:
            cause = error.__cause__
            if isinstance(cause, CallFailed):
                raise setup_error(cause, self._calls.table) from error
            raise

    async def read(self) -> str:
        """By a strong read; the row is made when there is none."""
        deadline = Deadline(_SECONDS)
        await self._look()
        store_id = await self._store_id(deadline)
        if store_id is None:
            await self._make(deadline)
            store_id = await self._store_id(deadline)
        found = f"dynamodb:{self._table_id}:{store_id or ''}"
        self._last, before = found, self._last
        if before not in ("", found):
            self.changed()
        return found

    async def _look(self) -> None:
        """At the service's id. Items can be read when tables cannot be described."""
        now = self._monotonic()
        if now - self._known_since < _KNOWN_SECONDS:
            return
        self._known_since = now
        with suppress(DriverUnavailable):
            answer = await self._calls.read("describe_table", Deadline(_LOOK_SECONDS))
            self._table_id = str(answer["Table"].get("TableId", ""))

    async def _store_id(self, deadline: Deadline) -> str | None:
        answer = await self._calls.read("get_item", deadline, Key=_KEY, ConsistentRead=True)
        return str(answer["Item"]["store_id"]["S"]) if answer.get("Item") else None

    async def _make(self, deadline: Deadline) -> None:
        if self._read_only:
            raise WorkspaceError(
                Reason.ERROR_REASON_INVALID_STATE,
                f"the DynamoDB table {self._calls.table} holds no workspace yet: open it once "
                "with the right to write",
                metadata={"field": "WM_AWS_DYNAMODB_TABLE", "store": "unused"},
            )
        row = {**_KEY, "store_id": {"S": secrets.token_hex(16)}}
        for pause in pauses():
            try:
                await self._calls.once(
                    "put_item", deadline, TableName=self._calls.table, Item=row,
                    ConditionExpression="attribute_not_exists(PK)",
                )  # fmt: skip
            except CallFailed as failed:
                if failed.failure.code == _TAKEN:
                    return
                if not failed.failure.passing or pause >= deadline.left:
                    raise port_error(failed, self._calls.table) from failed
            else:
                return
            await asyncio.sleep(pause)


def _nothing() -> None:
    """Nobody wants to know."""
