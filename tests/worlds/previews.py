"""What previews say of a change, compared with what the change then does."""

from __future__ import annotations

import random
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import grpc.aio
from workspace.project.v1 import grant_service_pb2 as gs
from workspace.project.v1.grant_service_pb2_grpc import GrantServiceStub

from tests.harness import Workspace
from tests.worlds import oracle
from tests.worlds.changes import Change
from tests.worlds.making import Cast
from tests.worlds.oracle import World
from tests.worlds.questions import every_page, names

__all__ = ["Foretold", "difference", "foretell"]

Turns = Mapping[tuple[str, str], tuple[frozenset[str], frozenset[str]]]
"""By (user, project): what is gained and what is lost."""


@dataclass
class Foretold:
    """One preview: entries by (user, project), and the counts. `refusal`: it was
    refused like this. `of_project`, `of_user`: what it is about ('': all)."""

    what: str
    of_project: str = ""
    of_user: str = ""
    refusal: str = ""
    entries: dict[tuple[str, str], tuple[frozenset[str], frozenset[str]]] = field(
        default_factory=dict
    )
    gaining: int = 0
    losing: int = 0
    hidden: int = 0

    def compared(self, turns: Turns) -> list[str]:
        """Where it differs from what happened."""
        mine = {
            key: turn
            for key, turn in turns.items()
            if self.of_user in ("", key[0]) and self.of_project in ("", key[1])
        }
        wrong = [
            f"{self.what} {key}: said {said}, was {mine.get(key)}"
            for key, said in self.entries.items()
            if said != mine.get(key)
        ]
        gaining = sum(bool(gained) for gained, _ in mine.values())
        losing = sum(bool(lost) for _, lost in mine.values())
        counted = (self.gaining, self.losing, self.hidden + len(self.entries))
        if counted != (gaining, losing, len(mine)):
            wrong.append(f"{self.what}: counted {counted}, was {mine}")
        return wrong


async def foretell(
    ws: Workspace, cast: Cast, world: World, change: Change, rng: random.Random, now: float
) -> list[Foretold]:
    """The previews that the actor may ask for."""
    stub = ws.stub(GrantServiceStub, as_=cast.people[change.actor])
    if change.project_id:
        return [await _access(stub, cast, change, change.project_id, rng)]
    managed = [
        project
        for project in cast.projects
        if "manage_access" in oracle.rights(world, change.actor, project, now)
    ]
    found = [await _access(stub, cast, change, each, rng) for each in managed]
    if change.user_id:
        found.append(await _membership(stub, cast, change, rng))
    return found


async def _access(
    stub: Any, cast: Cast, change: Change, project_id: str, rng: random.Random
) -> Foretold:
    of_user = "" if change.project_id else change.user_id
    found = Foretold("access preview", of_project=project_id, of_user=of_user)
    request = change.access_preview(project_id)
    async for answer in _pages(found, stub.PreviewAccessChange, request, cast, rng):
        for each in answer.entries:
            key = (each.user_id, project_id)
            assert key not in found.entries, "somebody twice"
            found.entries[key] = (names(each.gained), names(each.lost))
    return found


async def _membership(stub: Any, cast: Cast, change: Change, rng: random.Random) -> Foretold:
    found = Foretold("membership preview", of_user=change.user_id)
    request = gs.PreviewMembershipChangeRequest(change=change.proposed())
    async for answer in _pages(found, stub.PreviewMembershipChange, request, cast, rng):
        for each in answer.entries:
            key = (each.user_id, each.project_id)
            assert key not in found.entries, "a project twice"
            found.entries[key] = (names(each.gained), names(each.lost))
    return found


async def _pages(
    found: Foretold, call: Any, request: Any, cast: Cast, rng: random.Random
) -> Any:
    try:
        answers = await every_page(call, request, cast.ids, rng.choice([1, 2, 3, 50]))
    except grpc.aio.AioRpcError as error:
        found.refusal = f"{error.code().name}: {error.details()}"
        return
    for answer in answers:
        found.gaining += answer.gaining_count
        found.losing += answer.losing_count
        found.hidden += answer.hidden_count
        yield answer


def difference(before: World, after: World, now: float) -> Turns:
    """Who gained and lost what."""
    turns = {}
    for user in after.users:
        for project in after.projects:
            old = oracle.rights(before, user, project, now)
            new = oracle.rights(after, user, project, now)
            if old != new:
                turns[user, project] = (new - old, old - new)
    return turns
