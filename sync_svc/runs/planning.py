"""PlanSync: the plan is made once, and its pages are read from what was made.

Making it may take longer than a call may last: it goes on without the caller, and
the same first call again gets it. A plan is known by what it says: a page may be asked
for at another replica, which makes the plan too, and takes it if it is the same.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from typing import Protocol

from workspace.sync.v1.connection_pb2 import Connection
from workspace.sync.v1.plan_pb2 import PlannedOperation, PlanSummary
from workspace.sync.v1.sync_service_pb2 import PlanSyncRequest, PlanSyncResponse

from services.kernel import Kernel
from services.model.errors import Reason, WorkspaceError
from services.rpc.context import current_call, set_current_call
from services.rpc.page_tokens import page_size
from sync_svc.engine.task import Tally, Task
from sync_svc.runs.continued import Continued
from sync_svc.runs.plans import Plan, Plans
from sync_svc.runs.ports import Connections, OpenPair
from sync_svc.runs.starting import require_unchanged

__all__ = ["Planned", "Planner", "Planning", "plan_lost"]

_METHOD = "PlanSync"


class Planned(Protocol):
    """A plan in the making (`sync_svc/engine/plan.py`): the lines in the order of the
    run, then the sum."""

    def operations(self) -> AsyncIterator[PlannedOperation]: ...

    async def summary(self) -> PlanSummary: ...


Planner = Callable[[Task], Planned]


@dataclass(frozen=True, slots=True)
class _Made:
    plan_id: str
    plan: Plan


class Planning:
    """See the module."""

    def __init__(
        self, *, kernel: Kernel, connections: Connections, open_pair: OpenPair,
        planner: Planner, plans: Plans,
    ) -> None:
        self._kernel = kernel
        self._connections = connections
        self._open_pair = open_pair
        self._planner = planner
        self._plans = plans
        self._continued = Continued[_Made]()

    async def plan(self, request: PlanSyncRequest) -> PlanSyncResponse:
        """A page of the plan. Raises PERMISSION_DENIED, SURFACE_CHANGED,
        INVALID_PAGE_TOKEN, CURSOR_LOST, BACKEND_UNAVAILABLE."""
        connection = await self._connections.allowed(request.connection_id)
        tokens, user = self._kernel.page_tokens, current_call().user_id
        position = tokens.open(_METHOD, user, request, request.page_token)
        if position:
            plan_id, _, at = position.rpartition("#")
            made, start = await self._again(connection, request, user, plan_id), int(at)
        else:
            require_unchanged(connection, request.options)
            made, start = await self._made(connection, request, user), 0
        limit = page_size(request)
        answer = PlanSyncResponse(
            summary=made.plan.summary, operations=made.plan.page(start, limit)
        )
        if start + limit < len(made.plan):
            after = f"{made.plan_id}#{start + limit}"
            answer.next_page_token = tokens.issue(_METHOD, user, request, after)
        return answer

    async def run(self) -> None:
        """Until cancelled; then nothing is made or kept any more."""
        try:
            await asyncio.Event().wait()
        finally:
            await self.close()

    async def close(self) -> None:
        """End what is being made, drop what was made."""
        await self._continued.close()
        self._plans.close()

    async def _again(
        self, connection: Connection, request: PlanSyncRequest, user: str, plan_id: str
    ) -> _Made:
        plan = self._plans.find(plan_id)
        if plan is not None:
            return _Made(plan_id, plan)
        require_unchanged(connection, request.options)
        made = await self._made(connection, request, user)
        if made.plan_id != plan_id:
            raise plan_lost()
        return made

    async def _made(
        self, connection: Connection, request: PlanSyncRequest, user: str
    ) -> _Made:
        arguments = PlanSyncRequest()
        arguments.CopyFrom(request)
        arguments.ClearField("page_size")
        arguments.ClearField("page_token")
        key = (user, arguments.SerializeToString(deterministic=True))
        return await self._continued.get(key, lambda: self._make(connection, request))

    async def _make(self, connection: Connection, request: PlanSyncRequest) -> _Made:
        set_current_call(None)
        plan, tally = Plan(), Tally()
        try:
            async with self._open_pair(
                connection, tally=tally, options=request.options, read_only=True
            ) as (local, remote):
                task = Task(
                    run_id="", direction=request.direction, connection=connection,
                    options=request.options, local=local, remote=remote, tally=tally,
                    now_ms=lambda: int(self._kernel.now() * 1000), monotonic=time.monotonic,
                    stop=lambda: False,
                )
                planned = self._planner(task)
                async for operation in planned.operations():
                    plan.add(operation)
                plan.summary.CopyFrom(await planned.summary())
        except BaseException:
            plan.close()
            raise
        return self._kept(plan)

    def _kept(self, plan: Plan) -> _Made:
        """The plan, or the one that says the same and is kept already."""
        plan_id = plan.digest
        former = self._plans.find(plan_id)
        if former is not None:
            former.summary.CopyFrom(plan.summary)
            plan.close()
            return _Made(plan_id, former)
        self._plans.keep(plan_id, plan)
        return _Made(plan_id, plan)


def plan_lost() -> WorkspaceError:
    """The plan of a token is gone, and what would be done is another thing now."""
    return WorkspaceError(
        Reason.ERROR_REASON_CURSOR_LOST,
        "page_token: the plan is not kept any more; start again without a token",
        metadata={"field": "page_token"},
    )
