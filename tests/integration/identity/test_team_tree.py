"""Moves of teams at the same moment: never a cycle, and nobody is stuck."""

from __future__ import annotations

import asyncio
import json
import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import grpc.aio
import pytest
from workspace.identity.v1 import team_pb2 as tm
from workspace.identity.v1 import team_service_pb2 as tms

from identity_svc.teams.rules import check_parent
from identity_svc.teams.tree import TeamTree
from services.model.families import FAMILIES
from services.records.port import ABSENT, Key, Match, Put
from services.records.record import Activity, Write
from tests.harness import Workspace
from tests.integration.identity.people import ANN, People, reason_of


def _move(team_id: str, parent: str) -> tms.UpdateTeamRequest:
    request = tms.UpdateTeamRequest(team=tm.Team(team_id=team_id, parent_team_id=parent))
    request.update_mask.paths.append("parent_team_id")
    return request


async def _parents(ws: Workspace, teams: list[str]) -> dict[str, str]:
    keys = [Key(f"TEAM#{team}", f"TEAM#{team}") for team in teams]
    rows = await ws.records.batch_get(FAMILIES["team"], keys)
    return {row.message.team_id: row.message.parent_team_id for row in rows}


def _has_cycle(parents: dict[str, str]) -> bool:
    for team in parents:
        seen, at = set[str](), team
        while at:
            if at in seen:
                return True
            seen.add(at)
            at = parents.get(at, "")
    return False


async def _shuffle(people: People, teams: list[str]) -> None:
    """Everybody moves somewhere, all at once."""

    async def one(team: str) -> None:
        try:
            await people.teams(ANN).UpdateTeam(
                _move(team, random.choice([t for t in teams if t != team]))
            )
        except grpc.aio.AioRpcError as error:
            if reason_of(error) != "INVALID_STATE":
                raise

    await asyncio.gather(*map(one, teams))


@pytest.mark.case("G11")
async def test_many_moves_at_once_never_make_a_cycle(ws: Workspace) -> None:
    people = People(ws)
    await people.sign_in(ANN)
    account_id = await people.account(ANN)
    teams = [await people.team(ANN, account_id=account_id) for _ in range(5)]
    for _ in range(12):
        await _shuffle(people, teams)
        assert not _has_cycle(await _parents(ws, teams))


async def test_without_the_claim_they_do(ws: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    @asynccontextmanager
    async def unclaimed(self: TeamTree, team: tm.Team) -> AsyncIterator[None]:
        await check_parent(self._directory, team)
        yield

    monkeypatch.setattr(TeamTree, "place", unclaimed)
    people = People(ws)
    await people.sign_in(ANN)
    account_id = await people.account(ANN)
    for _ in range(50):
        teams = [await people.team(ANN, account_id=account_id) for _ in range(2)]
        await _shuffle(people, teams)
        if _has_cycle(await _parents(ws, teams)):
            return
    pytest.fail("the test above cannot fail")


async def test_a_claim_that_was_left_behind_is_taken_over_and_its_holder_refused(
    ws: Workspace,
) -> None:
    people = People(ws)
    await people.sign_in(ANN)
    account_id = await people.account(ANN)
    one, two = [await people.team(ANN, account_id=account_id) for _ in range(2)]
    key = Key(f"TREE#{account_id}", "MOVE")
    old_head = await ws.records.head(f"TEAM#{one}")
    base = await ws.records.get(FAMILIES["team"], Key(f"TEAM#{one}", f"TEAM#{one}"))
    body = {"team_id": one, "nonce": "dead", "at": ws.process.kernel.now()}
    await ws.records.put_row(Put(key, ABSENT, "team_tree", json.dumps(body)))
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await people.teams(ANN).UpdateTeam(_move(two, one))
    assert reason_of(refused.value) == "CONFLICTING_WRITE"
    row = await ws.records.get_row(key)
    assert row is not None
    aged = json.dumps(body | {"at": ws.process.kernel.now() - 61})
    await ws.records.put_row(Put(key, Match(row.token), "team_tree", aged))
    await people.teams(ANN).UpdateTeam(_move(two, one))
    late = base.edit()
    late.parent_team_id = two
    with pytest.raises(Exception, match="changed meanwhile"):
        await ws.records.commit(
            f"TEAM#{one}", [Write(FAMILIES["team"], late, base)],
            activity=Activity("team.updated", "x"), if_head=old_head,
        )
