"""No page token tells an id: the last row that was looked at may be a hidden one.

Here a call looks at one candidate, so that pages end at projects and users that the
caller may not see.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from workspace.common.v1.consistency_pb2 import Consistency

from project_svc.access import project_users, visible
from project_svc.previews import memberships as preview_memberships
from project_svc.previews import preview
from services.rpc.sealed_tokens import SealedPageTokens
from tests.harness import Workspace
from tests.worlds.making import random_world
from tests.worlds.questions import Asker
from tests.worlds.stored import stored_world
from tests.worlds.walk import Walk


@pytest.fixture(autouse=True)
def one_candidate_a_call(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(visible, "_MOST_EXAMINED", 1)
    for module in (project_users, preview, preview_memberships):
        monkeypatch.setattr(module, "MOST_EXAMINED", 1)


@contextmanager
def unsealed() -> Iterator[None]:
    """Positions as they are."""
    with pytest.MonkeyPatch.context() as monkeypatch:
        monkeypatch.setattr(SealedPageTokens, "_pack", lambda _, where: where)
        monkeypatch.setattr(SealedPageTokens, "_unpack", lambda _, packed: packed)
        yield


async def ask(ws: Workspace, seed: int) -> list[str]:
    rng = random.Random(seed)
    cast = await random_world(ws, rng, f"t{seed}", people=3)
    asker = Asker(ws, cast, await stored_world(ws, cast), rng)
    await asker.lists(Consistency(), every_size=True)
    await asker.by_oneself(Consistency())
    await asker.by_others(Consistency())
    return asker.wrong


@pytest.mark.case("Z07", "Z08")
async def test_lists_are_complete_and_their_tokens_tell_nothing(tmp_path: Path) -> None:
    async with Workspace.open(tmp_path) as ws:
        for seed in (1, 2, 3):
            assert await ask(ws, seed) == []


async def test_previews_are_complete_and_their_tokens_tell_nothing(tmp_path: Path) -> None:
    async with Workspace.open(tmp_path) as ws:
        walk = Walk(ws, 5)
        await walk.run(12)
        assert walk.wrong == []
        assert walk.seen["preview"], "something was foretold"


async def test_a_plain_position_would_be_noticed(tmp_path: Path) -> None:
    with unsealed():
        async with Workspace.open(tmp_path) as ws:
            with pytest.raises(AssertionError, match=r"the page token of .* tells"):
                await ask(ws, 1)
