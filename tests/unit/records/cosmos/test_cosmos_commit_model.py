"""Commits against a model of the service, in every order of what may happen to three
attempts and between them: a commit happens once at most, and what its caller hears is so."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import suppress
from itertools import count, product
from typing import Any

import pytest
from azure.core.exceptions import ServiceResponseError
from azure.cosmos.exceptions import CosmosBatchOperationError

from services.records.cosmos import committing
from services.records.cosmos.calls import attempt
from services.records.cosmos.committing import Committer
from services.records.port import (
    ABSENT,
    Condition,
    ConditionFailed,
    DriverUnavailable,
    Key,
    Match,
    Put,
    StorageFull,
)

A, B = Key("P", "a"), Key("P", "b")
BEGAN = 1_000
LOST = ("done and lost", "not done and lost", "late and lost")
OUTCOMES = ("answered", *LOST, "throttled", "full")
MEANWHILE = ("nothing", "a is written", "b is written", "b comes and expires", "late arrives")
PUTS: dict[str, list[tuple[Key, str]]] = {
    "replace a": [(A, "match")],
    "replace a and make b": [(A, "match"), (B, "absent")],
    "make b": [(B, "absent")],
    "make b over an expired one": [(B, "over expired")],
}


class Model:
    """One logical partition, the clock, and the batches of ours that were carried out."""

    name = "items"

    def __init__(self, plan: Sequence[tuple[str, str]]) -> None:
        self.rows: dict[str, dict[str, Any]] = {}
        self.now, self.done = BEGAN, 0
        self._plan = iter(plan)
        self._late: list[Sequence[Any]] = []
        self._etags = count(1)

    def write(self, key: Key, rev: str, expires_at: int | None = None) -> str:
        row = {"id": key.sk, "pk": key.pk, "k": f"{key.pk}\x01{key.sk}", "family": "f",
               "body": "", "stamp": "", "deleted": False, "rev": rev,
               "expires_at": expires_at}  # fmt: skip
        return self._store(row)

    def deliver(self) -> None:
        """What was held up on the way arrives; nobody hears of it."""
        while self._late:
            with suppress(CosmosBatchOperationError):
                self._carried_out(self._late.pop())

    async def once(self, call: Callable[[], Awaitable[Any]], _deadline: object) -> Any:
        return await attempt(call, 10.0)

    async def batch(self, pk: str, operations: Sequence[Any]) -> Any:
        outcome, meanwhile = next(self._plan, ("answered", "nothing"))
        try:
            return self._answer(outcome, operations)
        finally:
            self._happens(meanwhile)

    async def documents(self, keys: Sequence[Key], _deadline: object) -> dict[Key, Any]:
        return {key: dict(self.rows[key.sk]) for key in keys if key.sk in self.rows}

    def _answer(self, outcome: str, operations: Sequence[Any]) -> Any:
        if outcome == "throttled":
            raise failed([429])
        if outcome == "full":
            raise failed([403], sub=1014)
        if outcome == "late and lost":
            self._late.append(operations)
        if outcome == "done and lost":
            with suppress(CosmosBatchOperationError):  # a refusal is lost as well
                self._carried_out(operations)
        if outcome in LOST:
            raise ServiceResponseError("the connection broke")
        return self._carried_out(operations)

    def _carried_out(self, operations: Sequence[Any]) -> list[dict[str, Any]]:
        statuses = [self._status(operation) for operation in operations]
        if any(status != 200 for status in statuses):
            first = next(at for at, status in enumerate(statuses) if status != 200)
            raise failed([status if at == first else 424 for at, status in enumerate(statuses)])
        self.done += 1
        return [{"eTag": self._store(dict(operation[1][-1]))} for operation in operations]

    def _status(self, operation: Any) -> int:
        row = self.rows.get(operation[1][-1]["id"])
        if operation[0] == "create":
            return 409 if row else 200
        if row is None:
            return 404
        return 200 if row["_etag"] == operation[2]["if_match_etag"] else 412

    def _store(self, row: dict[str, Any]) -> str:
        row["_etag"] = f'"{next(self._etags)}"'
        self.rows[row["id"]] = row
        return str(row["_etag"])

    def _happens(self, meanwhile: str) -> None:
        if meanwhile == "late arrives":
            self.deliver()
        elif meanwhile == "b comes and expires":
            self.write(B, "other", self.now + 1)
            self.now += 2
        elif meanwhile != "nothing":
            self.write(A if meanwhile[0] == "a" else B, "other")


def failed(statuses: Sequence[int], sub: int = 0) -> Exception:
    at = next(at for at, status in enumerate(statuses) if status != 424)
    answers = [{"statusCode": status, "subStatusCode": sub} for status in statuses]
    make: Any = CosmosBatchOperationError
    error: Exception = make(at, {}, statuses[at], "refused", answers)
    return error


def plans() -> Iterator[list[tuple[str, str]]]:
    for one, two in product(product(OUTCOMES, MEANWHILE), repeat=2):
        for third in OUTCOMES:
            yield [one, two, (third, "nothing")]


def prepared(model: Model, wanted: Sequence[tuple[Key, str]]) -> list[Put]:
    puts = []
    for key, how in wanted:
        condition: Condition = ABSENT
        if how == "match":
            condition = Match(f"{model.write(key, 'before')}@")
        elif how == "over expired":
            model.write(key, "before", BEGAN - 1)
        puts.append(Put(key, condition, "f", "ours"))
    return puts


async def heard(model: Model, puts: Sequence[Put]) -> str:
    # The model stands in for both: calls are carried out by it, rows are read from it.
    stands_in: Any = model
    try:
        await Committer(stands_in, stands_in, now=lambda: model.now).commit("P", puts)
    except (ConditionFailed, StorageFull):
        return "no"
    except DriverUnavailable as error:
        return "unknown" if error.ambiguous else "no"
    return "yes"


@pytest.mark.parametrize("wanted", PUTS.values(), ids=PUTS)
async def test_what_a_caller_hears_is_so(
    wanted: list[tuple[Key, str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(committing, "pauses", lambda: iter(lambda: 0.0, None))
    every = set()
    for number, plan in enumerate(plans()):
        model = Model(plan)
        said = await heard(model, prepared(model, wanted))
        model.deliver()
        assert model.done <= 1, plan
        assert said == "unknown" or model.done == (said == "yes"), (plan, said)
        if not any(outcome in LOST for outcome, _ in plan):
            assert said != "unknown", plan
        every.add((said, model.done))
        if number % 500 == 0:
            await asyncio.sleep(0)
    assert {("yes", 1), ("no", 0), ("unknown", 0), ("unknown", 1)} == every
