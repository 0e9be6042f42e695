"""Every rule of the evaluator, changed alone in a running process, is noticed; so is
what gathers candidates, merges, filters and pages around it."""

from __future__ import annotations

import random
from collections.abc import AsyncIterator, Sequence
from datetime import UTC, datetime
from pathlib import Path

import pytest
from workspace.common.v1.consistency_pb2 import Consistency

from project_svc.access.gate import Access
from tests.chosen_records import in_cloud
from tests.harness import Workspace
from tests.worlds.making import Cast, random_world
from tests.worlds.mutants import LISTS, MUTANTS, SHIELDED, UNFILTERED
from tests.worlds.oracle import World
from tests.worlds.questions import Asker
from tests.worlds.stored import stored_world
from tests.worlds.transplant import changed

# Each mutant asks all worlds again: on an emulator of a cloud that takes a quarter of an hour.
pytestmark = pytest.mark.timeout(1800 if in_cloud() else 120)
SEEDS = range(500, 536)
Mutant = tuple[str, str, str]


class Judge:
    """Worlds, and the first disagreement in them. Their time stands still, at the
    very end of a grant where there is one."""

    def __init__(self, ws: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
        self.ws, self.worlds, self.now = ws, list[tuple[Cast, World, float]](), 0.0
        monkeypatch.setattr(Access, "now", lambda _: datetime.fromtimestamp(self.now, UTC))

    async def make(self) -> None:
        for seed in SEEDS:
            rng = random.Random(seed)
            cast = await random_world(
                self.ws, rng, f"m{seed}", people=3,
                strange=0.4 if seed % 3 == 1 else 0.05, of_teams=seed % 3 == 0,
            )
            world = await stored_world(self.ws, cast)
            ends = [g.ends for p in world.projects.values() for g in p.grants if g.ends]
            self.worlds.append((cast, world, rng.choice(ends) if ends else 1.8e9))

    async def disagreement(self, *, people: bool = False) -> str:
        """Empty if all answers agree. `people`: asked by them as well."""
        for cast, world, now in self.worlds:
            asker = Asker(self.ws, cast, world, random.Random(1))
            asker.now = self.now = now
            async for _ in self._questions(asker, people=people):
                if asker.wrong:
                    return asker.wrong[0]
        return ""

    async def _questions(self, asker: Asker, *, people: bool) -> AsyncIterator[None]:
        level = Consistency()
        yield await asker.batch(level)
        yield await asker.lists(level, every_size=people)
        if people:
            yield await asker.by_oneself(level)
            yield await asker.by_others(level)
        else:
            yield await asker.effective(level)
            yield await asker.explain(level)

    async def survivors(self, mutants: Sequence[Mutant], *, people: bool = False) -> list[Mutant]:
        alive = []
        for name, old, new in mutants:
            with changed(name, (old, new)):
                try:
                    noticed = await self.disagreement(people=people)
                except AssertionError as error:
                    noticed = str(error)
            if not noticed:
                alive.append((name, old, new))
        return alive


async def test_every_mutant_of_the_evaluator_is_noticed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with Workspace.open(tmp_path) as ws:
        judge = Judge(ws, monkeypatch)
        await judge.make()
        assert await judge.disagreement() == "", "without a mutant all agree"
        assert await judge.survivors([each for each in MUTANTS if each not in SHIELDED]) == []


async def test_rules_that_are_kept_twice_are_noticed_where_one_is_off(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with changed(*UNFILTERED):
        async with Workspace.open(tmp_path) as ws:
            judge = Judge(ws, monkeypatch)
            await judge.make()
            assert await judge.disagreement() == "", "the evaluator judges alone"
            assert await judge.survivors(SHIELDED) == []


async def test_every_mutant_around_the_evaluator_is_noticed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with Workspace.open(tmp_path) as ws:
        judge = Judge(ws, monkeypatch)
        await judge.make()
        assert await judge.disagreement(people=True) == "", "without a mutant all agree"
        assert await judge.survivors(LISTS, people=True) == []
