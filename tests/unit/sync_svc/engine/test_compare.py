"""Two surfaces compared record by record."""

from __future__ import annotations

import sqlite3
from contextlib import aclosing
from typing import Any

import pytest
from workspace.sync.v1.plan_pb2 import Difference, DifferenceKind

from services.records.port import Key
from sync_svc.engine.compare import compare
from tests.unit.sync_svc.engine.world import PUSH, World, document, with_file
from tests.unordered_records import UnorderedRecords


@pytest.fixture(params=[False, True], ids=["ordered", "unordered"])
def unordered(request: pytest.FixtureRequest) -> bool:
    return bool(request.param)


async def _differences(world: World, **more: Any) -> list[Difference]:
    options = more.pop("options", {})
    return [each async for each in compare(world.task(PUSH, **options), **more)]


def _of_documents(found: list[Difference]) -> dict[str, str]:
    return {
        each.key.pk.removeprefix("DOCUMENT#"): DifferenceKind.Name(each.kind).rpartition("KIND_")[2]
        for each in found
        if each.key.sk.startswith("ARTIFACT")
    }


async def test_each_kind_of_difference(world: World, unordered: bool) -> None:
    await world.project()
    await world.documents(6)
    await world.push()
    assert await _differences(world) == []
    await world.write(document("d_1", "here"))
    await world.write(document("d_2", "there"), on="remote")
    await world.write(document("d_3", "here"))
    await world.write(document("d_3", "there"), on="remote")
    await world.write(document("d_here"))
    await world.write(document("d_there"), on="remote")
    _edit_behind_our_back(world, "d_4")
    if unordered:  # looked up there, and what was read once may be kept in memory
        await world.reopen("remote")
    found = await _differences(world)
    assert _of_documents(found) == {
        "d_1": "LOCAL_AHEAD", "d_2": "REMOTE_AHEAD", "d_3": "CONCURRENT",
        "d_here": "LOCAL_ONLY", "d_there": "REMOTE_ONLY", "d_4": "DIGEST",
    }
    keys = [Key(each.key.pk, each.key.sk) for each in found]
    assert unordered or keys == sorted(keys)
    assert all(each.project_id == "p_1" for each in found if each.key.sk.startswith("ARTI"))


async def test_it_goes_on_after_a_key(world: World) -> None:
    await world.project()
    await world.documents(5)
    task = world.task(PUSH)
    whole = [each async for each in compare(task)]
    for at in range(len(whole)):
        key = Key(whole[at].key.pk, whole[at].key.sk)
        assert [each async for each in compare(task, after=key)] == whole[at + 1 :]


@pytest.mark.parametrize("rows_a_read", [2, 1000])
async def test_it_goes_on_where_it_stopped(
    world: World, monkeypatch: Any, rows_a_read: int
) -> None:
    """Each record is compared and each difference told once, wherever it was cut."""
    monkeypatch.setattr("sync_svc.engine.compare._ROWS_A_READ", rows_a_read)
    await world.project()
    await world.documents(3)
    await world.push()
    await world.write(document("d_here"))
    await world.write(document("d_there"), on="remote")
    await world.write(document("d_1", "ahead"), on="remote")
    task = world.task(PUSH)
    whole = compare(task)
    found = [each async for each in whole.by_key()]
    told = [each for several in found for each in several]
    assert len(told) >= 3
    for stop in range(1, len(found) + 1):
        first, seen = compare(task), list[Difference]()
        async with aclosing(first.by_key()) as records:
            for _ in range(stop):
                seen += await anext(records)
        rest = compare(task, after=first.after, second_walk=first.second_walk)
        seen += [each async for each in rest]
        assert seen == told
        assert first.records + rest.records == whole.records


async def test_one_side_without_order(world: World) -> None:
    await world.project()
    await world.documents(3)
    await world.push()
    await world.write(document("d_here"))
    await world.write(document("d_there"), on="remote")
    whole = await _differences(world)
    surface = world.surfaces["remote"]
    driver: Any = UnorderedRecords(surface.records.driver)
    world.surfaces["remote"] = surface.with_records(surface.records.through(driver))
    again = await _differences(world)
    assert sorted(map(str, again)) == sorted(map(str, whole))


async def test_pages_of_one_side_do_not_matter(world: World, monkeypatch: Any) -> None:
    await world.project()
    await world.documents(4)
    await world.push()
    for number in range(4, 9):
        await world.write(document(f"d_{number}"), on="remote")
    whole = await _differences(world)
    monkeypatch.setattr("sync_svc.engine.compare._ROWS_A_READ", 3)
    assert await _differences(world) == whole
    assert len(whole) == 10


async def test_objects_are_looked_at_when_asked(world: World) -> None:
    await world.project()
    made = with_file(document("d_1"), b"bytes")
    await world.put_object(made.storage_key, b"bytes")
    await world.write(made)
    await world.push()
    path = world.folder / "remote" / "objects" / made.storage_key
    path.chmod(0o600)
    path.unlink()
    assert await _differences(world) == []
    for read_bytes in (False, True):
        found = await _differences(world, include_objects=True, read_bytes=read_bytes)
        assert [each.storage_key for each in found] == [made.storage_key]
        assert found[0].kind == DifferenceKind.DIFFERENCE_KIND_OBJECT


async def test_only_projects_asked_for(world: World) -> None:
    for project in ("p_1", "p_2"):
        await world.project(project)
        await world.write(document(f"d_{project}", project_id=project))
    found = await _differences(world, options={"project_ids": ["p_2"]})
    assert {each.key.pk for each in found} == {"PROJECT#p_2", "DOCUMENT#d_p_2"}


def _edit_behind_our_back(world: World, document_id: str) -> None:
    path = world.folder / "remote" / "workspace.sqlite"
    with sqlite3.connect(path) as connection:
        connection.execute(
            "UPDATE items SET body = replace(body, ?, 'edited') WHERE sk = ?",
            (document_id, f"ARTIFACT#{document_id}"),
        )
    connection.close()
