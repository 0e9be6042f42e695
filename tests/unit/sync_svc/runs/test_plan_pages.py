"""The pages of a plan, asked for at several replicas in turn."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from types import SimpleNamespace
from typing import Any

import pytest
from workspace.sync.v1.connection_pb2 import Connection
from workspace.sync.v1.plan_pb2 import PlannedOperation, PlanSummary
from workspace.sync.v1.sync_service_pb2 import PlanSyncRequest, PlanSyncResponse

from services.model.errors import Reason, WorkspaceError
from services.rpc.context import Call, Caller, set_current_call
from services.rpc.sealed_tokens import SealedPageTokens
from sync_svc.runs.planning import Planning
from sync_svc.runs.plans import Plans

CONNECTION = Connection(connection_id="backup")


class Lines:
    """What a run would do now."""

    def __init__(self, names: list[str]) -> None:
        self.names = names
        self.made = 0

    def __call__(self, _: Any) -> Lines:
        self.made += 1
        return self

    async def operations(self) -> AsyncIterator[PlannedOperation]:
        for name in self.names:
            yield PlannedOperation(name=name)

    async def summary(self) -> PlanSummary:
        return PlanSummary()


class _Connections:
    async def allowed(self, _: str) -> Connection:
        return CONNECTION


@asynccontextmanager
async def _pair(*_: Any, **__: Any) -> AsyncIterator[tuple[None, None]]:
    yield None, None


def replica(lines: Lines) -> Planning:
    kernel: Any = SimpleNamespace(page_tokens=SealedPageTokens(b"k" * 32), now=time.time)
    pair: Any = _pair
    connections: Any = _Connections()
    return Planning(
        kernel=kernel, connections=connections, open_pair=pair, planner=lines, plans=Plans()
    )


async def asked(planning: Planning, token: str = "", size: int = 2) -> PlanSyncResponse:
    set_current_call(Call("r", "PlanSync", 0.0, Caller("u_1", "i", "s")))
    request = PlanSyncRequest(connection_id="backup", page_size=size, page_token=token)
    return await planning.plan(request)


def names(answer: PlanSyncResponse) -> list[str]:
    return [each.name for each in answer.operations]


async def test_each_page_may_be_asked_for_at_another_replica() -> None:
    lines = Lines(["a", "b", "c", "d", "e"])
    first, second = replica(lines), replica(lines)
    one = await asked(first)
    two = await asked(second, one.next_page_token)
    three = await asked(first, two.next_page_token)
    assert [*names(one), *names(two), *names(three)] == lines.names
    assert three.next_page_token == ""
    assert lines.made == 2, "once at each"
    await first.close()
    await second.close()


async def test_a_plan_of_other_lines_is_not_gone_on_with() -> None:
    first, second = replica(Lines(["a", "b", "c"])), replica(Lines(["a", "x", "c"]))
    token = (await asked(first)).next_page_token
    with pytest.raises(WorkspaceError) as caught:
        await asked(second, token)
    assert caught.value.reason == Reason.ERROR_REASON_CURSOR_LOST
    await first.close()
    await second.close()


async def test_the_same_plan_again_leaves_the_tokens_of_the_first_good() -> None:
    planning = replica(Lines(["a", "b", "c"]))
    token = (await asked(planning)).next_page_token
    await asked(planning)
    assert names(await asked(planning, token)) == ["c"]
    await planning.close()


async def test_lines_are_told_apart_by_where_they_end() -> None:
    plans = []
    for given in (["ab", "c"], ["a", "bc"], ["ab", "c"]):
        planning = replica(Lines(given))
        plans.append((await asked(planning, size=1)).next_page_token)
        await planning.close()
    planning = replica(Lines(["ab", "c"]))
    assert names(await asked(planning, plans[2], size=1)) == ["c"]
    with pytest.raises(WorkspaceError):
        await asked(planning, plans[1], size=1)
    await planning.close()
