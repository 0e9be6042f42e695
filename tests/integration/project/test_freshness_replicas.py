"""Two processes on one PostgreSQL: what one takes away ends in the other's cache."""

from __future__ import annotations

import shutil
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.chosen_records import postgres_of
from tests.harness import Workspace
from tests.integration.project.test_freshness import ANN, BOB, EVE, Scene, eventually


@pytest.fixture
async def replicas(tmp_path: Path) -> AsyncIterator[tuple[Scene, Scene]]:
    """The same scene, seen through two processes that share store and keys."""
    settings = postgres_of(tmp_path)
    async with Workspace.open(tmp_path / "one", **settings) as one:
        scene = await Scene.make(one)
        shutil.copytree(tmp_path / "one/wm-data/keys", tmp_path / "two/wm-data/keys")
        async with Workspace.open(tmp_path / "two", **settings) as two:
            for who in (ANN, BOB, EVE):
                await two.sign_in(who)
            other = Scene(two)
            other.project_id = scene.project_id
            yield scene, other


async def test_a_commit_of_the_other_process_ends_what_is_cached(
    replicas: tuple[Scene, Scene],
) -> None:
    here, there = replicas
    assert await there.allowed()
    gone = await here.remove_from_team(here.bob)
    fresh = {"at_least_as_fresh": {"tokens": [gone.consistency_token]}}
    assert not await there.allowed(**fresh)
    assert not await there.allowed(fully_consistent=True)
    await eventually(there.allowed, False)
    assert not await here.allowed(), "the process of the commit knows at once"
    back = await here.add_to_team(here.bob)
    fresh = {"at_least_as_fresh": {"tokens": [back.consistency_token]}}
    assert await there.allowed(**fresh)
    await eventually(there.allowed, True)
