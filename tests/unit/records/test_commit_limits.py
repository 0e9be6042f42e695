"""No commit is larger than any provider takes, whatever lies beside its records."""

from __future__ import annotations

import json
from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import pytest
from workspace.common.v1.error_reason_pb2 import ErrorReason
from workspace.project.v1.document_pb2 import Document
from workspace.project.v1.grant_pb2 import Grant
from workspace.project.v1.grant_service_pb2 import CreateGrantRequest

from services.model.clocks import HybridClock
from services.model.errors import WorkspaceError
from services.model.families import FAMILIES, family_of
from services.model.versions import State, join
from services.records.conflict_rows import Found
from services.records.erasure import Erasure, Person, Position
from services.records.events import VALUES_LIMIT
from services.records.limits import (
    MAX_ITEM_BYTES,
    MAX_ROWS,
    MAX_ROWS_BYTES,
    MAX_WRITES,
    fit,
    parts_that_fit,
)
from services.records.port import ABSENT, Key, Put
from services.records.record import Activity, Write
from services.records.replica import Incoming, Replica
from services.records.requests import Once
from services.records.store import RecordStore
from tests.simulation.memory_records import MemoryRecords

PK = "PROJECT#p_1"
DONE = Activity("test.written", "projects/p_1")
FOUND = Found(1_700_000_000_000)
ANN = Person.of("u_ann00000", ["ann@example.com"])
SIBLINGS = 64


class Strict(MemoryRecords):
    """Refuses what some provider refuses, and counts what it was given."""

    def __init__(self) -> None:
        super().__init__("p", max_puts=99)
        self.given: list[int] = []

    async def commit(self, pk: str, puts: Sequence[Put]) -> list[str]:
        self.given.append(len(puts))
        assert fit(puts)
        return await super().commit(pk, puts)


def store(name: str) -> RecordStore:
    ticks = iter(range(1_700_000_000_000, 1_800_000_000_000))
    clock = HybridClock(lambda: next(ticks))
    return RecordStore(Strict(), actor=f"{name}.x", clock=clock)


def strict(records: RecordStore) -> Strict:
    driver = records.driver
    assert isinstance(driver, Strict)
    return driver


async def write(records: RecordStore, *messages: Any, deleted: bool = False) -> None:
    writes = []
    for message in messages:
        family = family_of(message)
        base = await records.get(family, Key(*family.key_of(message)))
        writes.append(Write(family, message, base, deleted=deleted))
    await records.commit(family.key_of(message)[0], writes, activity=DONE)


async def state_of(records: RecordStore, key: Key) -> State:
    (found,) = await Replica(records).states([key])
    assert found is not None
    return found


async def written_apart(
    count: int, made: Any, *, on: State | None = None, who: str = "n"
) -> list[State]:
    """States of as many nodes, each of which wrote the record by itself (over `on`)."""
    key = Key(*family_of(made(0)).key_of(made(0)))
    states = []
    for number in range(count):
        node = store(f"{who}{number}")
        if on is not None:
            await Replica(node).join(key.pk, [Incoming(key, on)], origin="o", found=FOUND)
        await write(node, made(number))
        states.append(await state_of(node, key))
    return states


def together(states: Sequence[State]) -> State:
    found = states[0]
    for each in states[1:]:
        found = join(found, each)
    return found


def grant(name: str, number: int) -> Grant:
    return Grant(project_id="p_1", grant_id=name, created_by=f"u_{number}")


async def contested(name: str) -> Incoming:
    states = await written_apart(SIBLINGS, lambda number: grant(name, number))
    return Incoming(Key(PK, f"GRANT#{name}"), together(states))


async def test_records_of_many_versions_are_joined_in_commits_that_fit() -> None:
    records = store("local")
    incoming = [await contested(f"g_{number}") for number in range(4)]
    joined = await Replica(records).join(PK, incoming, origin="there", found=FOUND)
    assert {each.key for each in joined} == {each.key for each in incoming}
    for each in incoming:
        found = await state_of(records, each.key)
        assert found.same_as(each.state)
        assert len(found.versions) == SIBLINGS
    assert max(strict(records).given) <= MAX_ROWS
    assert len(strict(records).given) == 4


async def test_a_commit_counts_the_versions_beside_its_records() -> None:
    records = store("local")
    incoming = [await contested(f"g_{number}") for number in range(2)]
    await Replica(records).join(PK, incoming, origin="there", found=FOUND)
    both = [grant(f"g_{number}", 0) for number in range(2)]
    before = len(strict(records).given)
    with pytest.raises(WorkspaceError, match=f"at most {MAX_ROWS} in one commit") as refused:
        await write(records, *both, deleted=True)
    assert refused.value.reason == ErrorReason.ERROR_REASON_INVALID_FIELD
    assert len(strict(records).given) == before, "nothing was sent"
    for each in both:  # one by one
        await write(records, each, deleted=True)
    assert max(strict(records).given) <= MAX_ROWS
    states = [await state_of(records, each.key) for each in incoming]
    assert all(state.deleted for state in states)


async def test_one_record_that_is_too_large_alone_is_refused_whole() -> None:
    """All of its versions are superseded by as many others."""
    records = store("local")
    (key, old) = (await contested("g_0")).key, (await contested("g_0")).state
    await Replica(records).join(PK, [Incoming(key, old)], origin="there", found=FOUND)
    later = await written_apart(
        SIBLINGS, lambda number: grant("g_0", 1000 + number), on=old, who="later"
    )
    before = await state_of(records, key)
    sent = len(strict(records).given)
    with pytest.raises(OverflowError, match="do not go into one commit"):
        await Replica(records).join(
            PK, [Incoming(key, together(later))], origin="there", found=FOUND
        )
    assert await state_of(records, key) == before
    assert len(strict(records).given) == sent
    for each in later:  # as they come while people work, they are taken
        await Replica(records).join(PK, [Incoming(key, each)], origin="there", found=FOUND)
    assert (await state_of(records, key)).same_as(together(later))


async def test_the_largest_commit_of_a_call_fits() -> None:
    records = store("local")
    request = CreateGrantRequest(request_id="r")
    once = Once.of(
        request, principal="u_1", method="m", request_id="r", instance_key=b"k" * 32
    )
    writes = [
        Write(FAMILIES["project_grant"], grant(f"g_{number}", 0)) for number in range(MAX_WRITES)
    ]
    await records.commit(PK, writes, activity=DONE, once=once, answer=lambda _: request)
    assert strict(records).given == [MAX_WRITES + 3]


async def test_versions_that_do_not_fit_together_are_erased_one_after_another() -> None:
    records = store("local")

    def made(number: int) -> Document:
        text = f"{number} ann@example.com " + "x" * 60_000
        return Document(document_id="d_1", project_id="p_1", extraction_summary=text)

    key = Key("DOCUMENT#d_1", "ARTIFACT#d_1")
    states = await written_apart(34, made)
    for each in states:
        await Replica(records).join(key.pk, [Incoming(key, each)], origin="there", found=FOUND)
    (rows,) = await records.rows([key])
    assert sum(len(item.body) for item in rows.others.values()) > MAX_ROWS_BYTES
    position = Position()
    while not position.done:
        position = await Erasure(records, ANN).step(position, rows=1000)
    assert not any("ann@example.com" in item.body for item in strict(records).items())
    after = await state_of(records, key)
    assert after.dots == together(states).dots
    assert all(version.erased for version in after.versions.values())


async def test_an_event_is_one_row_that_fits() -> None:
    """Old values are left out where there are too many; new ones stay."""
    records = store("local")

    def made(number: int, text: str) -> Grant:
        return Grant(project_id="p_1", grant_id=f"g_{number:02}", created_by=text * 12_000)

    await write(records, *(made(number, "a") for number in range(20)))
    await write(records, *(made(number, "b") for number in range(20)))
    events = [item for item in strict(records).items() if item.family == "activity_event"]
    assert max(len(item.body) for item in events) <= MAX_ITEM_BYTES
    changes = json.loads(events[-1].body)["changes"]
    assert all(change["after"]["created_by"][0] == "b" for change in changes)
    kept = [change for change in changes if "before" in change]
    assert 0 < len(kept) < 20
    assert sum(len(json.dumps(change)) for change in changes) <= VALUES_LIMIT + 20 * 100


@pytest.mark.parametrize("beside", [0, 1, 5])
def test_parts_fit_and_lose_nothing(beside: int) -> None:
    sizes = [350_000] * 11 + [10] * 250 + [900_000, 900_001, 10]
    puts = [
        Put(Key(PK, f"{at:04}"), ABSENT, "test", "x" * size) for at, size in enumerate(sizes)
    ]
    parts = list(parts_that_fit(puts, beside=beside))
    assert [put for part in parts for put in part] == puts
    assert all(fit(part, beside=beside) for part in parts)
    for one, other in pairwise(parts):
        assert not fit([*one, other[0]], beside=beside), "no more commits than needed"
