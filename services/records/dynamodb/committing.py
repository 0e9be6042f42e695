"""A commit is one TransactWriteItems: every put under its condition, and the row of the
change feed that says so.

What did not happen for sure is repeated with a new slot. An unclear answer (a timeout, a
5xx, a lost connection) is settled through the slot: its row is there, or never will be.
So an attempt is never repeated while an earlier one may still land, and a condition
never fails on what this very commit wrote.
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Callable, Sequence
from typing import Any

from services.model.errors import invalid_field
from services.records.dynamodb.calls import (
    CallFailed,
    Deadline,
    TableCalls,
    pauses,
    port_error,
)
from services.records.dynamodb.codec import Attributes, attributes_of, size_of, visible
from services.records.dynamodb.lanes import Lanes, Slot
from services.records.dynamodb.verdict import Outcome, Verdict, verdict_of
from services.records.port import (
    Absent,
    ConditionFailed,
    DriverUnavailable,
    Put,
    StorageFull,
)

__all__ = ["MAX_PUTS", "Committer"]

MAX_PUTS = 99
"""A transaction has 100 actions, one of which is the feed's."""
_MOST_BYTES = 4 * 1024 * 1024 - 128 * 1024  # what 99 keys take in the row of the feed
_SECONDS = 12.0
_AT_ONCE = 24
"""Commits under way: fewer than there are threads. Others wait for their turn, and
their time begins with it."""
_SETTLE_SECONDS = 8.0
_LONGEST_TOKEN = "x" * 40
_CANCELLED = "TransactionCanceledException"
_UNCLEAR = ("TransactionInProgressException",)


class Committer:
    """Commits of one table: each ends within about 25 seconds. `now` tells unix seconds,
    whole ones."""

    def __init__(self, calls: TableCalls, lanes: Lanes, *, now: Callable[[], int]) -> None:
        self._calls = calls
        self._lanes = lanes
        self._now = now
        self._turns = asyncio.Semaphore(_AT_ONCE)

    async def commit(self, pk: str, puts: Sequence[Put]) -> list[str]:
        """Tokens in order. Raises the port's errors, and INVALID_FIELD before any call
        for what no transaction can hold."""
        rows = stored_rows(puts)
        async with self._turns:
            return await self._commit(pk, puts, rows)

    async def _commit(self, pk: str, puts: Sequence[Put], rows: Sequence[Attributes]) -> list[str]:
        deadline = Deadline(_SECONDS)
        for pause in pauses():
            slot = await self._reserved(deadline)
            failed = await self._attempt(slot, pk, puts, rows, deadline)
            if failed is None:
                return [slot.token] * len(puts)
            if pause >= deadline.left:
                raise DriverUnavailable(f"DynamoDB table {self._calls.table}: {failed}")
            await asyncio.sleep(pause)
        raise AssertionError("unreachable")

    async def _reserved(self, deadline: Deadline) -> Slot:
        try:
            async with asyncio.timeout(deadline.left):
                return await self._lanes.reserve()
        except TimeoutError:
            raise DriverUnavailable(
                f"DynamoDB table {self._calls.table}: too many commits are under way"
            ) from None

    async def _attempt(
        self,
        slot: Slot,
        pk: str,
        puts: Sequence[Put],
        rows: Sequence[Attributes],
        deadline: Deadline,
    ) -> str | None:
        """None when it happened; otherwise why it did not, surely, and may be repeated."""
        mark = secrets.token_hex(16)
        now = self._now()
        try:
            actions = [
                self._action(put, row, slot, now) for put, row in zip(puts, rows, strict=True)
            ]
            actions.append(self._put(self._lanes.item(slot, pk, puts, mark)))
            await self._calls.once(
                "transact_write_items", deadline, TransactItems=actions, ClientRequestToken=mark
            )
        except CallFailed as failed:
            return await self._failed(failed, slot, mark, len(puts))
        except BaseException:
            self._lanes.abandon(slot)
            raise
        self._lanes.landed(slot)
        return None

    async def _failed(
        self, failed: CallFailed, slot: Slot, mark: str, puts: int
    ) -> str | None:
        """As `_attempt`."""
        failure = failed.failure
        if failure.code == _CANCELLED:
            reasons = getattr(failed.error, "response", {}).get("CancellationReasons", ())
            return await self._cancelled(failed, verdict_of(reasons, puts), slot, mark)
        if failure.ambiguous or failure.code in _UNCLEAR:
            return None if await self._settled(slot, mark) else failure.code
        self._lanes.release(slot)
        if not failure.passing:
            raise port_error(failed, self._calls.table) from failed
        return str(failure)

    async def _cancelled(
        self, failed: CallFailed, verdict: Verdict, slot: Slot, mark: str
    ) -> str | None:
        if verdict.fenced and verdict.mark == mark:
            # Our own row: somebody sent the request twice. (The conditions of the
            # second then fail on what the first wrote.)
            self._lanes.landed(slot)
            return None
        if verdict.fenced:
            await self._lanes.fenced(slot)
        else:
            self._lanes.release(slot)
        if verdict.outcome is Outcome.CONDITION:
            current = visible(verdict.found, self._now())
            raise ConditionFailed(verdict.position, current) from None
        if verdict.outcome is Outcome.FULL:
            raise StorageFull("the DynamoDB table takes no more in this partition") from failed
        if verdict.outcome is Outcome.INVALID:
            raise port_error(failed, self._calls.table) from failed
        return f"another transaction or too many requests ({verdict.code})"

    async def _settled(self, slot: Slot, mark: str) -> bool:
        try:
            async with asyncio.timeout(_SETTLE_SECONDS):
                return await self._lanes.settle(slot, mark)
        except TimeoutError:
            self._lanes.abandon(slot)
            raise DriverUnavailable(
                f"DynamoDB table {self._calls.table} does not answer: a commit may have happened",
                ambiguous=True,
            ) from None

    def _action(self, put: Put, row: Attributes, slot: Slot, now: int) -> dict[str, Any]:
        values: Attributes = {":now": {"N": str(now)}}
        if isinstance(put.condition, Absent):
            condition = "attribute_not_exists(PK) OR expires_at <= :now"
        else:
            condition = (
                "rev = :token AND (attribute_not_exists(expires_at) OR expires_at > :now)"
            )
            values[":token"] = {"S": put.condition.token}
        return self._put({
            "Item": {**row, "rev": {"S": slot.token}},
            "ConditionExpression": condition,
            "ExpressionAttributeValues": values,
        })  # fmt: skip

    def _put(self, parameters: dict[str, Any]) -> dict[str, Any]:
        return {
            "Put": {
                "TableName": self._calls.table,
                "ReturnValuesOnConditionCheckFailure": "ALL_OLD",
                **parameters,
            }
        }


def stored_rows(puts: Sequence[Put]) -> list[Attributes]:
    """The rows of `puts`, but for their token. Raises INVALID_FIELD over the limits of a
    transaction: 100 actions, 400 KB an item, 4 MB together (Developer Guide, "Quotas")."""
    if len(puts) > MAX_PUTS:
        raise invalid_field("writes", f"{len(puts)} writes; DynamoDB takes {MAX_PUTS} at once")
    rows = [attributes_of(put, _LONGEST_TOKEN) for put in puts]
    size = sum(map(size_of, rows))
    if size > _MOST_BYTES:
        raise invalid_field(
            "writes", f"{size} bytes together; DynamoDB takes {_MOST_BYTES} in one transaction"
        )
    return rows
