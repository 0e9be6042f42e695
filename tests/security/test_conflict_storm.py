"""Conflicts by the hundred cost as much more as there are more, and leave little behind."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from services.records.conflict_rows import CONFLICT
from services.records.siblings import SIBLING
from tests.unit.sync_svc.engine.world import Clock, World, document, document_key

pytestmark = pytest.mark.case("A18")


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    made = World(tmp_path, Clock())
    await made.open("local", "remote")
    yield made
    await made.close()


async def edited(world: World, numbers: range, name: str) -> None:
    """The same documents, edited on both sides while they do not see each other."""
    for side in ("local", "remote"):
        for number in numbers:
            await world.write(document(f"d_{number}", f"{name} {side} {number}"), on=side)


async def calls_of(world: World, numbers: range) -> int:
    """What a pull that finds so many new conflicts asks of both stores."""
    for number in numbers:
        await world.write(document(f"d_{number}"))
    await world.push()
    await world.pull()
    await edited(world, numbers, "storm")
    plain = dict(world.surfaces)
    drivers = [world.count(side) for side in plain]
    before = await open_conflicts(world)
    await world.pull(force=True)
    world.surfaces.update(plain)
    assert await open_conflicts(world) - before == len(numbers)
    return sum(len(driver.calls) for driver in drivers)


async def open_conflicts(world: World) -> int:
    rows = await world.rows("local", CONFLICT)
    return sum("CONFLICT#open#" in str(row.indexes) for row in rows)


async def test_the_cost_grows_with_the_conflicts_and_not_faster(world: World) -> None:
    await world.project()
    few = await calls_of(world, range(20))
    more = await calls_of(world, range(100, 140))
    many = await calls_of(world, range(200, 280))
    assert few < more < many
    assert many - more <= 1.25 * 2 * (more - few)  # of a quadratic cost it would be the double


async def test_a_document_that_is_contested_again_and_again_stays_small(world: World) -> None:
    await world.project()
    await world.write(document("d_0"))
    await world.push()
    for number in range(12):
        await edited(world, range(1), f"round {number}")
        await world.pull()
    state = await world.state(document_key("d_0"), on="local")
    assert state is not None
    assert len(state.versions) <= 2
    beside = [row for row in await world.rows("local", SIBLING) if "d_0" in row.key.pk]
    assert len(beside) <= 2
    assert await open_conflicts(world) <= 1
    stamp = await world.surfaces["local"].records.get_row(document_key("d_0"))
    assert stamp is not None
    assert len(stamp.stamp) < 1000
