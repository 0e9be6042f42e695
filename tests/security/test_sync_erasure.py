"""Erased people do not come back by what sync keeps beside the records."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from workspace.identity.v1.user_pb2 import User

from services.records.erasure import Erasure, Person, Position
from tests.unit.sync_svc.engine.world import Clock, World
from tests.unit.sync_svc.quarantine.bench import quarantined, sort, spoil

ANN = Person.of("u_ann12345678", ["ann@example.com"])


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    made = World(tmp_path, Clock())
    await made.open("local", "remote")
    yield made
    await made.close()


async def erase(world: World, person: Person) -> None:
    erasure, position = Erasure(world.surfaces["local"].records, person), Position()
    while not position.done:
        position = await erasure.step(position, rows=1000)


async def test_what_is_kept_aside_is_erased_too(world: World) -> None:
    user = User(user_id=ANN.user_id, name="Ann Archer", email="ann@example.com")
    await world.write(user, on="remote")
    (item,) = await world.rows("remote", "user")
    body = json.loads(item.body) | {"surprise": "x"}
    await spoil(world, item.key, body=json.dumps(body, sort_keys=True))  # no version of its own
    await sort(world, item.key)
    (row,) = await quarantined(world)
    assert "Ann Archer" in json.dumps(row)
    await erase(world, ANN)
    (row,) = await quarantined(world)
    assert "Ann Archer" not in json.dumps(row)
    assert "ann@example.com" not in json.dumps(row)
    assert ANN.user_id in json.dumps(row)
