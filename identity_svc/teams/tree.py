"""Moves in a tree of teams, one at a time: no two make a cycle together.

Teams lie in partitions of their own, so a condition on one says nothing about
another. Who moves a team claims the tree of its account or workspace (the row
`TREE#{home}`), reads the tree, commits, and lets go. A claim that its holder left
behind is taken over after a minute; the team that was being moved is touched
first, so that its commit, should it still come, is refused.
"""

from __future__ import annotations

import json
import secrets
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Final

from workspace.identity.v1.team_pb2 import Team

from identity_svc.directory import Directory, team_pk
from identity_svc.teams.rules import check_parent
from services.kernel import Kernel
from services.model.errors import Reason, WorkspaceError
from services.records.port import ABSENT, ConditionFailed, Item, Key, Match, Put

__all__ = ["TeamTree"]

_LEFT_SECONDS: Final = 60.0
"""Longer than a call lasts."""


class TeamTree:
    """See the module."""

    def __init__(self, kernel: Kernel, directory: Directory) -> None:
        self._kernel = kernel
        self._records = kernel.records
        self._directory = directory

    @asynccontextmanager
    async def place(self, team: Team) -> AsyncIterator[None]:
        """Commit the team's new parent inside, on a head that was read before.
        Raises INVALID_STATE for a parent that does not do, CONFLICTING_WRITE while
        another team of the same home is being moved. Without parent nothing is
        claimed: such a team is in nobody's way."""
        if not team.parent_team_id:
            yield
            return
        key = Key(f"TREE#{team.account_id or team.workspace_id}", "MOVE")
        nonce = await self._claim(key, team.team_id)
        try:
            await check_parent(self._directory, team)
            yield
        finally:
            await self._let_go(key, nonce)

    async def _claim(self, key: Key, team_id: str) -> str:
        row, now = await self._records.get_row(key), self._kernel.now()
        held = json.loads(row.body) if row else {}
        if held.get("team_id"):
            if now < held["at"] + _LEFT_SECONDS:
                raise _busy()
            await self._records.touch(team_pk(held["team_id"]))
        nonce = secrets.token_hex(8)
        try:
            await self._put(key, row, {"team_id": team_id, "nonce": nonce, "at": now})
        except ConditionFailed:
            raise _busy() from None
        return nonce

    async def _let_go(self, key: Key, nonce: str) -> None:
        row = await self._records.get_row(key)
        if row is None or json.loads(row.body).get("nonce") != nonce:
            return  # taken over
        with suppress(ConditionFailed):
            await self._put(key, row, {})

    async def _put(self, key: Key, row: Item | None, body: dict[str, object]) -> None:
        condition = Match(row.token) if row else ABSENT
        await self._records.put_row(Put(key, condition, "team_tree", json.dumps(body)))


def _busy() -> WorkspaceError:
    return WorkspaceError(
        Reason.ERROR_REASON_CONFLICTING_WRITE,
        "another team of the same home is being moved; repeat the call",
        retry_after=0.1,
    )
