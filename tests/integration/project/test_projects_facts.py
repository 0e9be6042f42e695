"""The facts of a decision are of one moment, and warm ones cost little."""

from __future__ import annotations

from typing import Any

import pytest

from project_svc.access.facts import FactsReader
from tests.integration.project.test_grants import give, revoke
from tests.integration.project.test_projects import create
from tests.integration.project.world import World


class _Counting:
    """The records as they are, counting what is asked."""

    def __init__(self, records: Any) -> None:
        self._records = records
        self.asked: list[str] = []

    def __getattr__(self, name: str) -> Any:
        if name in ("get", "query", "head"):
            self.asked.append(name)
        return getattr(self._records, name)


async def test_a_warm_view_costs_one_point_read(world: World) -> None:
    project = await create(world, "ann")
    records = _Counting(world.records)
    facts = FactsReader(records=records, identity=None)  # type: ignore[arg-type]
    first = await facts.project(project.project_id)
    records.asked.clear()
    assert await facts.project(project.project_id) is first
    assert records.asked == ["head"]


async def test_a_commit_of_another_process_is_seen_at_once(world: World) -> None:
    project = await create(world, "ann")
    facts = FactsReader(records=world.records, identity=None)  # type: ignore[arg-type]
    before = await facts.project(project.project_id)
    grant = await give(world, project, "ann", "bob", "VIEW")
    given = await facts.project(project.project_id)
    await revoke(world, grant, "ann")
    taken = (await facts.projects([project.project_id]))[project.project_id]
    assert before is not None
    assert given is not None
    assert [len(view.live) for view in (before, given, taken)] == [1, 2, 1]


async def test_a_commit_between_the_reads_makes_them_again(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Row of one moment and grants of another would be a state that never was."""
    project = await create(world, "ann", account_id="a_one", restricted=False)
    get, moved = world.records.get, []

    async def then_move(*args: Any, **more: Any) -> Any:
        record = await get(*args, **more)
        if not moved:
            moved.append(True)
            await give(world, project, "ann", "bob", "VIEW")
        return record

    facts = FactsReader(records=world.records, identity=None)  # type: ignore[arg-type]
    monkeypatch.setattr(world.records, "get", then_move)
    view = await facts.project(project.project_id)
    assert view is not None
    assert view.head == await world.records.head(f"PROJECT#{project.project_id}")
    assert len(view.live) == 2


async def test_an_absent_project_is_none(world: World) -> None:
    facts = FactsReader(records=world.records, identity=None)  # type: ignore[arg-type]
    assert await facts.project("p_absent") is None
    assert await facts.projects(["p_absent"]) == {}
