"""A surface with rows of every bad kind spoils nothing but those rows."""

from __future__ import annotations

import json
import sqlite3

import pytest

from tests.unit.sync_svc.engine.world import World, document, document_key

_STAMPS = (
    "", "broken", "[]", "{}", "null", '{"a":[],"c":[],"d":[0,1],"v":[],"f":{},"h":"","g":""}',
    '{"a":["x"],"c":[[0,"many"]],"d":[0,"many"],"v":[],"f":{},"h":3,"g":4}',
    '{"a":["x"],"c":[[0,1]],"d":[0,1],"v":[[0,1]],"f":{},"h":"0","g":"0","s":[[0,1],[0,2]]}',
)
_BODIES = ("", "[]", "nonsense", "null", '{"project_id":[1],"account_id":{}}', '{"name":3}')
_FAMILIES = ("document", "sibling", "head", "from_the_future", "sync_run")


@pytest.mark.parametrize("family", _FAMILIES)
async def test_bad_rows(world: World, family: str) -> None:
    await world.project()
    cases = [(stamp, body) for stamp in _STAMPS for body in _BODIES]
    await world.documents(len(cases) + 1)
    await world.push()
    for number, (stamp, body) in enumerate(cases):
        _replace(world, f"d_{number}", family, stamp, body)
    await world.reopen("remote")  # a driver keeps what it wrote
    good = f"d_{len(cases)}"
    await world.write(document(good, "edited there"), on="remote")
    await world.pull()
    await world.pull(full_reconcile=True)
    here = await world.state(document_key(good), on="local")
    assert here is not None
    assert json.loads(next(iter(here.versions.values())).body)["name"] == "edited there"
    for number in range(len(cases)):
        state = await world.state(document_key(f"d_{number}"), on="local")
        assert state is not None
        assert not state.deleted
        await world.write(document(f"d_{number}", "edited here"))
    await world.write(document(good, "edited here"))
    await world.push(force=True)
    there = await world.state(document_key(good), on="remote")
    assert there is not None
    assert json.loads(next(iter(there.versions.values())).body)["name"] == "edited here"


def _replace(world: World, document_id: str, family: str, stamp: str, body: str) -> None:
    path = world.folder / "remote" / "workspace.sqlite"
    with sqlite3.connect(path) as connection:
        connection.execute(
            "UPDATE items SET family = ?, stamp = ?, body = ?, seq = seq + 100000 WHERE sk = ?",
            (family, stamp, body, f"ARTIFACT#{document_id}"),
        )
    connection.close()
