"""The world of the project tests: three people, two accounts, three teams."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.integration.project.world import (
    ACCOUNT_SCOPE,
    STANDALONE,
    WORKSPACE_SCOPE,
    Role,
    World,
    open_world,
)


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    """ann owns a_one and a_two; eve edits in a_one; bob has only his own workspace.
    t_one is in a_one (eve), t_ann in ann's workspace (bob), t_free stands alone (bob)."""
    async with open_world(tmp_path) as opened:
        people = opened.people
        for user_id in ("ann", "bob", "eve", "zoe"):
            people.user(user_id)
        for account_id in ("a_one", "a_two"):
            people.account(account_id)
            people.member(account_id, "ann", Role.ACCOUNT_ROLE_OWNER)
        people.member("a_one", "eve", Role.ACCOUNT_ROLE_EDITOR)
        people.team("t_one", "eve", scope=ACCOUNT_SCOPE, home="a_one")
        people.team("t_ann", "ann", "bob", scope=WORKSPACE_SCOPE, home="w_ann")
        people.team("t_free", "ann", "bob", scope=STANDALONE)
        yield opened
