"""The fake of Cosmos DB against a plain model of it: random writes, splits and pages."""

from __future__ import annotations

import itertools
import json
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from tests.fakes.cosmos.containers import Container, Database, new_rid
from tests.fakes.cosmos.errors import Refused
from tests.fakes.cosmos.feed import changes
from tests.fakes.cosmos.pages import Scope, page, read_query
from tests.fakes.cosmos.writes import Operation, Transaction
from tests.unit.fakes.conftest import DEFINITION

KEYS = ["p", "q", "r", "s"]
NAMES = ["a", "b", "c"]
VALUES = st.sampled_from([1, 2, 2.5, "", "x", "y", None, True])
WRITE = st.tuples(
    st.sampled_from(["Create", "Upsert", "Replace", "Delete"]), st.sampled_from(NAMES), VALUES
)
BATCH = st.tuples(st.sampled_from(KEYS), st.lists(WRITE, min_size=1, max_size=4))
STEP = BATCH | st.just("split") | st.just("later")


class World:
    """A container with a clock of its own, and what should be in it."""

    def __init__(self) -> None:
        self.now = 1000.0
        etags = itertools.count()
        self.container = Container(
            Database("db", new_rid(), 0, '"0"'), DEFINITION, partitions=2,
            clock=lambda: self.now, etags=lambda: f'"{next(etags)}"',
        )  # fmt: skip
        self.items: dict[tuple[str, str], Any] = {}

    def run(self, step: Any) -> None:
        self.container.expire()
        if step == "split":
            self.container.split(self.container.ranges[-1].id)
        elif step == "later":
            self.now += 40
            self.container.expire()
            self.items = {key: item for key, item in self.items.items() if item[1] > self.now}
        else:
            self._batch(*step)

    def _batch(self, key: str, writes: list[tuple[str, str, Any]]) -> None:
        transaction = Transaction(self.container, key, strict_ids=True)
        wanted = dict(self.items)
        for kind, name, value in writes:
            there = (key, name) in wanted
            fails = there if kind == "Create" else not there and kind != "Upsert"
            body = {"id": name, "pk": key, "k": value, "ttl": 100}
            try:
                transaction.perform(Operation(kind, name, body))
            except Refused:
                assert fails
                return
            assert not fails
            wanted[key, name] = value, self.now + 100
            if kind == "Delete":
                del wanted[key, name]
        transaction.apply()
        self.items = wanted


@given(st.lists(STEP, max_size=25))
def test_writes_splits_and_time(steps: list[Any]) -> None:
    world = World()
    for step in steps:
        world.run(step)
    container = world.container
    found = {
        (part.value, name): item
        for part in container.partitions.values()
        for name, item in part.items.items()
    }
    assert {key: item.body["k"] for key, item in found.items()} == {
        key: value for key, (value, _) in world.items.items()
    }
    for holder in (*container.ranges, *container.partitions.values()):
        mine = {item for item in found.values() if holder in (item.partition, item.partition.range)}
        assert set(holder.by_sequence.values()) == mine
        assert {entry[3] for entry in holder.indexes[0]} == mine
        assert len(holder.indexes[0]) == len(mine)
    for each in container.ranges:
        texts, reached = changes(each, Scope(each, each.id), after=0, count=-1)
        assert reached == each.lsn
        assert len(texts) == len(each.by_sequence)
        assert all(each.low <= item.partition.epk < each.high for item in each.by_sequence.values())


@given(
    st.lists(st.tuples(st.sampled_from(KEYS), VALUES), max_size=30),
    st.sampled_from([">", ">=", "<", "<=", "="]), VALUES,
    st.sampled_from([">", ">=", "<", "<="]), VALUES,
    st.sampled_from(["", " DESC", " ASC"]), st.integers(1, 7), st.booleans(),
)  # fmt: skip
def test_pages_are_those_of_a_sorted_list(
    rows: list[tuple[str, Any]], low: str, least: Any, high: str, most: Any, order: str,
    size: int, whole: bool,
) -> None:  # fmt: skip
    """With the sorted list of `k`, and with the same values at `m`, which has none."""
    world = World()
    for number, (key, value) in enumerate(rows):
        body = {"id": f"i{number}", "pk": key, "k": value, "m": value}
        transaction = Transaction(world.container, key, strict_ids=True)
        transaction.perform(Operation("Create", body=body))
        transaction.apply()
    holders: list[Any] = [*world.container.ranges] if whole else [world.container.partition("p")]
    for holder in holders:
        by_index, by_sorting = (
            _all_pages(
                world.container, Scope(holder, "x"), size,
                f"SELECT * FROM c WHERE c.{name} {low} @0 AND c.{name} {high} @1 "
                f"ORDER BY c.{name}{order}", [least, most],
            )
            for name in ("k", "m")
        )  # fmt: skip
        assert [each["k"] for each in by_index] == [each["k"] for each in by_sorting]
        assert {each["id"] for each in by_index} == {each["id"] for each in by_sorting}
        assert len(by_index) == len({each["id"] for each in by_index})
        mine = [item.body for item in holder.by_sequence.values()]
        kept = [body for body in mine if _is(body["k"], low, least) and _is(body["k"], high, most)]
        assert {body["id"] for body in kept} == {each["id"] for each in by_index}
        ordered = sorted((each["k"] for each in by_index), reverse=order == " DESC")
        assert [each["k"] for each in by_index] == ordered


def _all_pages(
    container: Container, scope: Scope, size: int, text: str, values: list[Any]
) -> list[dict[str, Any]]:
    parameters = [{"name": f"@{at}", "value": value} for at, value in enumerate(values)]
    query, digest = read_query({"query": text, "parameters": parameters})
    found: list[dict[str, Any]] = []
    token = ""
    while True:
        texts, token = page(container, scope, query, digest, count=size, continuation=token)
        assert len(texts) == size or not token
        found += [json.loads(each) for each in texts]
        if not token:
            return found


def _is(value: Any, operator: str, other: Any) -> bool:
    """The comparison, of values of one type only."""

    def kind(each: Any) -> type:
        return float if isinstance(each, int) and not isinstance(each, bool) else type(each)

    if kind(value) is not kind(other):
        return False
    if value is None:
        return "=" in operator
    judged: bool = {
        ">": value > other, ">=": value >= other, "<": value < other, "<=": value <= other,
        "=": value == other,
    }[operator]  # fmt: skip
    return judged
