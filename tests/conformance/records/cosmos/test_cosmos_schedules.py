"""Writers in a race, and a service that fails as it likes: what a caller was told is so."""

from __future__ import annotations

import asyncio
import json
from dataclasses import dataclass, field

import pytest

from services.records.cosmos import CosmosDriver
from services.records.port import ABSENT, ConditionFailed, DriverUnavailable, Key, Match
from tests.conformance.records.cosmos_stores import CONTAINER, DATABASE, CosmosStore
from tests.conformance.records.harness import drain, everything, put
from tests.fakes.cosmos.client import CosmosControl

FAULTS = [
    "THROTTLED", "RETRY_WITH", "UNAVAILABLE", "UNAVAILABLE_AFTER", "TIMEOUT", "TIMEOUT_AFTER",
    "BROKEN", "BROKEN_AFTER", "WRITE_FORBIDDEN", "GONE", "CUT", "CUT_AFTER",
]  # fmt: skip
HEAD = Key("P#1", "#HEAD")


@dataclass
class Told:
    """What callers heard of their commits, by the name of the row that each would add."""

    done: set[str] = field(default_factory=set)
    lost: set[str] = field(default_factory=set)
    unknown: set[str] = field(default_factory=set)


@pytest.mark.parametrize("seed", [1, 2, 3])
async def test_every_answer_is_true(
    store: CosmosStore, fake: CosmosControl, seed: int
) -> None:
    drivers = [await store.open() for _ in range(3)]
    fake.plan(seeded={
        "seed": seed, "rate": 0.25, "faults": FAULTS, "operations": ["batch", "read", "query"],
    })  # fmt: skip
    told = Told()
    await asyncio.gather(*(_write(driver, f"{at}", told) for at, driver in enumerate(drivers)))
    fake.split(DATABASE, CONTAINER)
    fake.plan()
    rows = {item.key.sk: item for item in await everything(drivers[0])}
    events = {sk for sk in rows if sk != HEAD.sk}
    assert told.done <= events <= told.done | told.unknown
    assert not told.lost & events
    assert json.loads(rows[HEAD.sk].body) == len(events), "an update was lost"
    assert {item.key.sk for item in await drain(drivers[0], None, 10)} == set(rows)
    assert not told.unknown, "each commit has a row that nobody else writes: it can be told"


async def _write(driver: CosmosDriver, name: str, told: Told) -> None:
    """Twelve rows, each beside a counter that all writers share."""
    for number in range(12):
        sk = f"EVENT#{name}-{number}"
        for attempt in range(50):
            try:
                await _add(driver, f"{sk}-{attempt}", told)
            except ConditionFailed:
                told.lost.add(f"{sk}-{attempt}")
                continue
            except DriverUnavailable as error:
                (told.unknown if error.ambiguous else told.lost).add(f"{sk}-{attempt}")
                continue
            break


async def _add(driver: CosmosDriver, sk: str, told: Told) -> None:
    head = await driver.get(HEAD)
    count = json.loads(head.body) if head else 0
    condition = Match(head.token) if head else ABSENT
    await driver.commit(
        "P#1", [put(sk), put(HEAD.sk, json.dumps(count + 1), condition=condition)]
    )
    told.done.add(sk)
