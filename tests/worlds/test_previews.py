"""What previews foretell is what happens; each way to get it wrong is noticed."""

from __future__ import annotations

import os
from collections import Counter
from pathlib import Path

import pytest

from tests.harness import Workspace
from tests.worlds.mutants import FORETOLD, FORETOLD_RARELY
from tests.worlds.transplant import changed
from tests.worlds.walk import Walk

STEPS, MOST_WORLDS = 10, 80
LOOKED_FOR = [*FORETOLD, *(FORETOLD_RARELY if os.environ.get("WM_SOAK") == "1" else [])]


async def first_disagreement(ws: Workspace, worlds: int) -> tuple[str, Counter[str]]:
    seen: Counter[str] = Counter()
    for seed in range(900, 900 + worlds):
        walk = Walk(ws, seed)
        await walk.foretell_all(STEPS)
        seen += walk.seen
        if walk.wrong:
            return walk.wrong[0], seen
    return "", seen


async def test_what_is_foretold_happens(tmp_path: Path) -> None:
    async with Workspace.open(tmp_path) as ws:
        wrong, seen = await first_disagreement(ws, worlds=8)
    assert wrong == ""
    assert seen["preview with entries"] >= 10


@pytest.mark.parametrize("mutant", LOOKED_FOR, ids=map(str, range(len(LOOKED_FOR))))
async def test_a_wrong_preview_is_noticed(tmp_path: Path, mutant: tuple[str, str, str]) -> None:
    name, old, new = mutant
    with changed(name, (old, new)):
        async with Workspace.open(tmp_path) as ws:
            wrong, _ = await first_disagreement(ws, MOST_WORLDS)
    assert wrong, f"{old!r} -> {new!r}: not noticed"
