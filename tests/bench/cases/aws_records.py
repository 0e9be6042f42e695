"""Commits and joins in DynamoDB Local, by plain boto3 loops that write the same rows.

A commit is a document: its row, the event of its making, HEAD, and our row of the change
feed. The controls are boto3 with the clients' own settings, rows made beforehand:

* `transaction`: one TransactWriteItems of the same four rows under the same conditions,
  one after another;
* `read and transaction`: HEAD read first, as a record store has to;
* `put_item`: three conditional puts, one after another, atomic only one by one.

`distant`: everything through a proxy that holds each answer back for 10 ms, about what a
transaction takes in the same region of AWS.
"""

from __future__ import annotations

import asyncio
import secrets
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import boto3
import uvloop

from services.records.dynamodb.codec import attributes_of
from services.records.dynamodb.driver import DynamoDriver
from services.records.dynamodb.feed_rows import Kind, Row, changes_of, slot_attributes
from tests.bench.case import Bench
from tests.bench.cases.aws_stores import MISSING_JAVA, servers, table
from tests.bench.cases.delay import Delay
from tests.bench.cases.record_commits import Commits, rate
from tests.bench.figures import Figure, Goal, Result, interleave
from tests.servers import aws
from tests.servers.aws import REGION

TITLE = "Records in DynamoDB Local, by plain boto3 loops"
_COMMITS = 100
_JOINS = 400
_AT_ONCE = 128  # partitions at once, as sync joins them (sync_svc/engine/applying.py)
_DELAY_SECONDS = 0.010
_ABSENT = "attribute_not_exists(PK)"


def run(bench: Bench) -> Result:
    """Rows are counted as records: a document and its event are two."""
    if MISSING_JAVA:
        return Result(skipped=[MISSING_JAVA])
    with servers():
        near = _measured(bench, aws.dynamodb_local().url)
        with Delay(aws.dynamodb_local().url, _DELAY_SECONDS) as distant:
            far = _measured(bench, distant.url)
    return Result(
        [*_figures(near, ""), *_figures(far, ", distant")],
        notes={
            "commits": str(_COMMITS), "at once": str(_AT_ONCE),
            "distant": f"{_DELAY_SECONDS} s a request",
        },
    )


def _figures(taken: Mapping[str, list[float]], where: str) -> list[Figure]:
    unit, one = "records/s", Goal("ratio", at_least=1)
    five = Goal("ratio", at_least=5)
    loop, read = "boto3 transaction loop", "boto3 read and transaction loop"
    figures = [
        Figure(f"driver.commit, one by one{where}", unit, loop, taken["driver"],
               taken["transaction"], goal=one),
        Figure(f"RecordStore.commit, one by one{where}", unit, read, taken["store"],
               taken["read"], goal=one),
        Figure(f"Replica.join in parallel{where}", unit, loop, taken["join"],
               taken["transaction"], goal=five),
    ]  # fmt: skip
    if not where:
        figures.append(Figure("RecordStore.commit and put_item", unit, "boto3 put_item loop",
                              taken["store"], taken["put_item"]))  # fmt: skip
    return figures


def _measured(bench: Bench, url: str) -> dict[str, list[float]]:
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        work = runner.run(_Work.opened(url))
        sides: dict[str, Callable[[], float]] = {
            "transaction": work.transactions,
            "driver": lambda: runner.run(work.ours.of_driver(_COMMITS)),
            "read": lambda: work.transactions(read=True),
            "store": lambda: runner.run(work.ours.of_store(_COMMITS)),
            "put_item": work.put_items,
            "join": lambda: runner.run(work.ours.joins(_JOINS, at_once=_AT_ONCE)),
        }
        try:
            return interleave(bench.rounds, sides)
        finally:
            runner.run(work.close())


class _Work:
    """One table."""

    def __init__(self, commits: Commits, sdk: Any, name: str) -> None:
        self.ours, self._sdk, self._table = commits, sdk, name

    @classmethod
    async def opened(cls, url: str) -> _Work:
        ours, name = await table(url)
        sdk = boto3.client("dynamodb", region_name=REGION, endpoint_url=url)
        return cls(Commits(await DynamoDriver.open(ours, name)), sdk, name)

    async def close(self) -> None:
        await self.ours.driver.close()
        self._sdk.close()

    def transactions(self, *, read: bool = False) -> float:
        """The control: the same rows and conditions, the SDK, and nothing else."""
        sdk, made = self._sdk, list(self._rows(_COMMITS))
        began = time.perf_counter()
        for rows in made:
            if read:
                key = {"PK": rows[0]["PK"], "SK": {"S": "#HEAD"}}
                sdk.get_item(TableName=self._table, Key=key, ConsistentRead=True)
            sdk.transact_write_items(TransactItems=[
                {"Put": {"TableName": self._table, "Item": row, "ConditionExpression": _ABSENT}}
                for row in rows
            ])  # fmt: skip
        return rate(_COMMITS, began)

    def put_items(self) -> float:
        """Without the row of the feed, which only a transaction can add."""
        sdk, made = self._sdk, list(self._rows(_COMMITS))
        began = time.perf_counter()
        for rows in made:
            for row in rows[:-1]:
                sdk.put_item(TableName=self._table, Item=row, ConditionExpression=_ABSENT)
        return rate(_COMMITS, began)

    def _rows(self, commits: int) -> Iterator[list[dict[str, Any]]]:
        for number, puts in enumerate(self.ours.made(commits)):
            lane, pk = secrets.token_hex(8), puts[0].key.pk
            row = Row(lane, number, Kind.COMMIT, 0, 0, secrets.token_hex(16), pk, changes_of(puts))
            yield [*(attributes_of(put, f"{lane}.1") for put in puts), slot_attributes(row)]
