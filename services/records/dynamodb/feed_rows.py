"""The rows of the change feed, and the calls that read and write them.

    PK=FEED          SK=LANE#{lane}   registration of a lane
    PK=FEED#{lane}   SK={seq:020}     one slot of a lane, written once, never changed

A slot holds a commit (written in its transaction), or `void` (no commit, now or later),
or the bounds of an ownership: `begin`, `end`. Whatever is written to a slot is written
only if nothing is there, so the first row stays, and decides.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Any, Protocol

from services.model.errors import WorkspaceError
from services.records.dynamodb.calls import CallFailed, Deadline, TableCalls, pauses, port_error
from services.records.port import DriverUnavailable, Match, Put, StorageFull

__all__ = [
    "FRESH_SECONDS", "LANES", "RETENTION_SECONDS", "Change", "FeedTable", "Kind", "LaneTable",
    "Row", "changes_of", "lane_of", "slot_attributes",
]  # fmt: skip

LANES = "FEED"
_LANE = "LANE#"
_DAY = 24 * 3600
RETENTION_SECONDS = 90 * _DAY
"""How long a row of a lane is kept."""
FRESH_SECONDS = 89 * _DAY
"""A lane registered before that has no rows but such as no cursor still waits for: its
owner left it a day after the registration. It is as if it were not there."""
_REGISTERED_SECONDS = 120 * _DAY
_CALL_SECONDS = 10.0
_ABSENT = "attribute_not_exists(PK)"
_CONFLICTS = ("TransactionConflictException", "TransactionInProgressException")


class Kind(Enum):
    """What a slot holds. `CLOSING`: a void that makes way for an `END` below it."""

    COMMIT = "commit"
    VOID = "void"
    CLOSING = "closing"
    BEGIN = "begin"
    END = "end"


@dataclass(frozen=True, slots=True)
class Change:
    """A key of a commit: its sort key, the token that was replaced ('' for none), and
    when the new row expires (unix seconds, 0 for never)."""

    sk: str
    was: str
    until: int


@dataclass(frozen=True, slots=True)
class Row:
    """A slot's row. Every slot below `floor` had its row when this one was made. `next`
    (of END): where the lane goes on, if it ever does. `at` is unix milliseconds; `mark`
    names the attempt."""

    lane: str
    seq: int
    kind: Kind
    at: int
    floor: int
    mark: str = ""
    pk: str = ""
    changes: tuple[Change, ...] = ()
    next: int = 0

    @property
    def token(self) -> str:
        """The token of every item of this commit."""
        return f"{self.lane}.{self.seq:x}"


class LaneTable(Protocol):
    """The table as the feed needs it. Reads are strong. Raises DriverUnavailable."""

    async def lanes(self) -> Mapping[str, int]:
        """Every lane that is listed, with when it was registered last (unix ms)."""
        ...

    async def register(self, lane: str, at: int) -> None:
        """List a lane (again)."""
        ...

    async def add(self, row: Row) -> Row | None:
        """Write `row` if its slot has none; what is there otherwise."""
        ...

    async def rows(self, lane: str, start: int, limit: int) -> list[Row]:
        """Rows with start <= seq in order, at most `limit`; fewer: that is all."""
        ...

    async def last(self, lane: str) -> Row | None:
        """The row of the highest slot."""
        ...


def lane_of(token: str) -> tuple[str, int] | None:
    """The slot that a token of an item names; None for a text that is no token."""
    lane, _, seq = token.partition(".")
    try:
        return (lane, int(seq, 16)) if lane else None
    except ValueError:
        return None


def changes_of(puts: Sequence[Put]) -> tuple[Change, ...]:
    """What a commit of `puts` changes."""
    return tuple(
        Change(
            put.key.sk,
            put.condition.token if isinstance(put.condition, Match) else "",
            put.expires_at or 0,
        )
        for put in puts
    )


def slot_attributes(row: Row) -> dict[str, dict[str, Any]]:
    """The stored form: about 100 bytes, and 30 and its sort key for each change."""
    made: dict[str, dict[str, Any]] = {
        "PK": {"S": f"{LANES}#{row.lane}"},
        "SK": {"S": f"{row.seq:020}"},
        "kind": {"S": row.kind.value},
        "at": {"N": str(row.at)},
        "floor": {"N": str(row.floor)},
        "mark": {"S": row.mark},
        "expires_at": {"N": str(row.at // 1000 + RETENTION_SECONDS)},
    }
    if row.kind is Kind.COMMIT:
        changes = [[change.sk, change.was, change.until] for change in row.changes]
        made["pk"] = {"S": row.pk}
        made["sks"] = {"S": json.dumps(changes, separators=(",", ":"))}
    if row.kind is Kind.END:
        made["next"] = {"N": str(row.next)}
    return made


def _row_of(found: Mapping[str, Any]) -> Row:
    changes = json.loads(found["sks"]["S"]) if "sks" in found else []
    return Row(
        found["PK"]["S"].removeprefix(f"{LANES}#"), int(found["SK"]["S"]),
        Kind(found["kind"]["S"]), int(found["at"]["N"]), int(found["floor"]["N"]),
        found["mark"]["S"], found["pk"]["S"] if "pk" in found else "",
        tuple(Change(*each) for each in changes), int(found.get("next", {"N": "0"})["N"]),
    )  # fmt: skip


class FeedTable:
    """`LaneTable` over DynamoDB. Read units: a query 1 for each 4 KB that it reads (at
    least 1: reads are strong); write units: 1 for a row outside of a transaction, 2 in
    one. `seconds` bounds a call with its repeats."""

    def __init__(self, calls: TableCalls, *, seconds: float = _CALL_SECONDS) -> None:
        self._calls = calls
        self._seconds = seconds

    async def lanes(self) -> dict[str, int]:
        found = await self._query(LANES, _LANE, None)
        return {
            sk.removeprefix(_LANE): int(each["at"]["N"])
            for each in found
            if (sk := each["SK"]["S"]).startswith(_LANE)
        }

    async def register(self, lane: str, at: int) -> None:
        row = {
            "PK": {"S": LANES},
            "SK": {"S": f"{_LANE}{lane}"},
            "at": {"N": str(at)},
            "expires_at": {"N": str(at // 1000 + _REGISTERED_SECONDS)},
        }
        await self._read("put_item", Item=row)

    async def add(self, row: Row) -> Row | None:
        deadline, item = Deadline(self._seconds), slot_attributes(row)
        for pause in pauses():
            try:
                await self._calls.once(
                    "put_item", deadline, TableName=self._calls.table, Item=item,
                    ConditionExpression=_ABSENT,
                )  # fmt: skip
            except CallFailed as failed:
                code = failed.failure.code
                if code == "ConditionalCheckFailedException":
                    return await self._found(row, item)
                passing = failed.failure.passing or code in _CONFLICTS
                if not passing or pause >= deadline.left:
                    raise self._unavailable(failed) from failed
            else:
                return None
            await asyncio.sleep(pause)
        raise AssertionError("unreachable")

    async def rows(self, lane: str, start: int, limit: int) -> list[Row]:
        found = await self._query(f"{LANES}#{lane}", f"{start:020}", limit)
        return [_row_of(each) for each in found]

    async def last(self, lane: str) -> Row | None:
        found = await self._query(f"{LANES}#{lane}", "0", 1, descending=True)
        return _row_of(found[0]) if found else None

    async def _found(self, row: Row, item: Mapping[str, Any]) -> Row | None:
        """Who was there before us; None if that was ourselves, by a lost answer."""
        key = {"PK": item["PK"], "SK": item["SK"]}
        answer = await self._read("get_item", Key=key, ConsistentRead=True)
        found = _row_of(answer["Item"])
        return None if found.mark and found.mark == row.mark and found.kind is row.kind else found

    async def _query(
        self, pk: str, lower: str, limit: int | None, *, descending: bool = False
    ) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = []
        more: dict[str, Any] = {} if limit is None else {"Limit": limit}
        while True:
            answer = await self._read(
                "query", KeyConditionExpression="PK = :pk AND SK >= :low",
                ExpressionAttributeValues={":pk": {"S": pk}, ":low": {"S": lower}},
                ConsistentRead=True, ScanIndexForward=not descending, **more,
            )  # fmt: skip
            found += answer["Items"]
            last = answer.get("LastEvaluatedKey")
            if not last or (limit is not None and len(found) >= limit):
                return found
            more["ExclusiveStartKey"] = last
            if limit is not None:
                more["Limit"] = limit - len(found)

    async def _read(self, operation: str, **parameters: Any) -> dict[str, Any]:
        """A call that may be repeated. A writer has to know of its slots whatever goes
        wrong: so all failures are one."""
        try:
            return await self._calls.read(operation, Deadline(self._seconds), **parameters)
        except (WorkspaceError, StorageFull) as error:
            raise DriverUnavailable(str(error)) from error

    def _unavailable(self, failed: CallFailed) -> DriverUnavailable:
        error = port_error(failed, self._calls.table)
        return error if isinstance(error, DriverUnavailable) else DriverUnavailable(str(error))
