"""Random worlds and what becomes of them: every answer equals the oracle's.

`WM_SOAK=1` walks through many more, from a seed of its own (`WM_SEED` repeats one).
"""

from __future__ import annotations

import os
import random
from collections import Counter
from pathlib import Path

import pytest

from tests.harness import Workspace
from tests.worlds.walk import Walk

SOAK = os.environ.get("WM_SOAK") == "1"
SOAK_WORLDS, SOAK_STEPS = int(os.environ.get("WM_SOAK_WORLDS", "200")), 15


async def walked(ws: Workspace, seeds: range, steps: int) -> Counter[str]:
    """What happened in the walks; nothing may disagree."""
    seen: Counter[str] = Counter()
    for seed in seeds:
        walk = Walk(ws, seed)
        await walk.run(steps)
        assert walk.wrong == [], "\n".join(walk.wrong[:10])
        seen += walk.seen
    return seen


@pytest.mark.case("Z07", "G12")
async def test_worlds_agree_with_the_oracle(tmp_path: Path) -> None:
    async with Workspace.open(tmp_path) as ws:
        seen = await walked(ws, range(1, 7), steps=7)
    # The walks are worth something: things happened, and were foretold.
    assert seen["direct"] >= 8
    assert seen["preview with entries"] >= 5
    assert sum(count for what, count in seen.items() if what.endswith(" turns")) >= 6
    assert sum(count for what, count in seen.items() if what.endswith(" refused")) >= 6


@pytest.mark.case("Z07", "G12")
async def test_worlds_agree_without_caches(tmp_path: Path) -> None:
    async with Workspace.open(tmp_path, permission_cache=False) as ws:
        await walked(ws, range(20, 22), steps=5)


async def test_a_wrong_answer_would_be_reported(tmp_path: Path) -> None:
    async with Workspace.open(tmp_path) as ws:
        walk = Walk(ws, 30)
        world = await walk.begin()
        project = world.projects[walk.cast.projects[0]]
        project.account_id, project.workspace_id = "", "a_nowhere"
        for each in world.users:
            world.users[each] = "disabled"
        await walk.ask(world)
        assert walk.wrong


@pytest.mark.skipif(not SOAK, reason="WM_SOAK=1: many more worlds")
@pytest.mark.timeout(7200)
@pytest.mark.parametrize("cache", [True, False], ids=["cached", "uncached"])
async def test_soak(tmp_path: Path, cache: bool) -> None:
    first = int(os.environ.get("WM_SEED") or random.SystemRandom().randrange(10**6, 10**9))
    async with Workspace.open(tmp_path, permission_cache=cache) as ws:
        seen = await walked(ws, range(first, first + SOAK_WORLDS), SOAK_STEPS)
    print(f"seeds from {first}: {dict(sorted(seen.items()))}")
