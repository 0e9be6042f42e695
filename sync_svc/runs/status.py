"""GetSyncStatus: where sync stands, from what this node knows. No surface is opened."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from datetime import timedelta

from google.protobuf.duration_pb2 import Duration
from workspace.sync.v1.connection_pb2 import Connection, ConnectionStatus
from workspace.sync.v1.run_pb2 import Run, RunStatus, SyncDirection
from workspace.sync.v1.status_pb2 import ConnectionSyncStatus, SyncHealth
from workspace.sync.v1.sync_service_pb2 import GetSyncStatusRequest, GetSyncStatusResponse

from services.kernel import Kernel
from services.rpc.context import current_call
from services.rpc.page_tokens import page_size
from sync_svc.engine.sync_state import SyncState, SyncStates
from sync_svc.runs.backlog import Backlog, backlog_of
from sync_svc.runs.history import History
from sync_svc.runs.leftovers import Left, Leftovers
from sync_svc.runs.ports import Connections
from sync_svc.runs.rows import RunRows, moment
from sync_svc.runs.states import has_ended

__all__ = ["SyncStatuses", "health_of", "worst"]

_PUSH, _PULL = SyncDirection.SYNC_DIRECTION_PUSH, SyncDirection.SYNC_DIRECTION_PULL
_H = SyncHealth
_LAG = timedelta(hours=24)
"""Older than this, what waits for a push, or the last pull, needs a look."""
_ORDER = (
    _H.SYNC_HEALTH_RED, _H.SYNC_HEALTH_YELLOW, _H.SYNC_HEALTH_GREEN, _H.SYNC_HEALTH_GREY,
)  # fmt: skip


class SyncStatuses:
    """See the module."""

    def __init__(
        self, *, kernel: Kernel, rows: RunRows, history: History, connections: Connections,
        states: SyncStates, leftovers: Leftovers,
    ) -> None:
        self._kernel = kernel
        self._rows = rows
        self._history = history
        self._connections = connections
        self._states = states
        self._leftovers = leftovers

    async def get(self, request: GetSyncStatusRequest) -> GetSyncStatusResponse:
        """The status of one connection, or a page of all that the caller may use;
        `health` is always that of all of them. Raises PERMISSION_DENIED,
        INVALID_PAGE_TOKEN."""
        call, tokens = current_call(), self._kernel.page_tokens
        after = tokens.open(call.method, call.user_id, request, request.page_token)
        if request.connection_id:
            visible: Sequence[Connection] = [
                await self._connections.allowed(request.connection_id)
            ]
        else:
            visible = await self._connections.visible()
        found = await self.of(visible)
        answer = GetSyncStatusResponse(health=worst([each.health for each in found]))
        answer.observed_at.CopyFrom(moment(self._kernel.now()))
        left = [each for each in found if each.connection_id > after]
        limit = page_size(request)
        answer.connections.extend(left[:limit])
        if len(left) > limit:
            answer.next_page_token = tokens.issue(
                call.method, call.user_id, request, left[limit - 1].connection_id
            )
        return answer

    async def everything(self) -> list[ConnectionSyncStatus]:
        """The status of every connection, for metrics."""
        return await self.of(await self._connections.everything())

    async def of(self, connections: Sequence[Connection]) -> list[ConnectionSyncStatus]:
        """Statuses in the order of the connections."""
        conflicts = await self._leftovers.open_conflicts()
        return [await self._of(each, conflicts) for each in connections]

    async def _of(self, connection: Connection, conflicts: Counter[str]) -> ConnectionSyncStatus:
        connection_id = connection.connection_id
        state = await self._states.load(connection_id)
        left = await self._leftovers.of(connection_id, conflicts)
        behind = await backlog_of(self._kernel.records, connection, state)
        status = ConnectionSyncStatus(
            connection_id=connection_id, name=connection.name,
            connection_status=connection.status, records_to_push=behind.records,
            open_conflicts=left.conflicts, quarantined=left.quarantined,
            bytes_pending=left.pending, active_run_id=await self._rows.claimed_by(connection_id),
        )
        self._add_times(status, state, behind)
        await self._add_runs(status)
        status.health = health_of(status, left)
        return status

    def _add_times(
        self, status: ConnectionSyncStatus, state: SyncState, behind: Backlog
    ) -> None:
        now_ms = int(self._kernel.now() * 1000)
        if behind.records:
            _since(status.push_lag, behind.oldest_ms, now_ms)
        if state.last_pull_ms:
            _since(status.pull_lag, state.last_pull_ms, now_ms)
        if state.in_step_ms:
            status.in_step_at.FromMilliseconds(state.in_step_ms)
        reconciled = max(state.push_reconciled_ms, state.pull_reconciled_ms)
        if reconciled:
            status.reconciled_at.FromMilliseconds(reconciled)

    async def _add_runs(self, status: ConnectionSyncStatus) -> None:
        runs = [r for r in await self._history.latest(status.connection_id) if has_ended(r)]
        for direction, field in ((_PUSH, status.last_push), (_PULL, status.last_pull)):
            of_it = [run for run in runs if run.direction == direction]
            if of_it:
                field.CopyFrom(of_it[0])
        judged = [r for r in runs if r.status != RunStatus.RUN_STATUS_CANCELLED]
        if judged and judged[0].HasField("error"):
            status.last_error.CopyFrom(judged[0].error)


def health_of(status: ConnectionSyncStatus, left: Left) -> SyncHealth.ValueType:
    """At a glance. RED: runs are refused, or the last one of either direction failed.
    GREY: paused, or no run has ended. YELLOW: something is left, or lags by a day."""
    changed = ConnectionStatus.CONNECTION_STATUS_SURFACE_CHANGED
    last: list[Run] = [status.last_push, status.last_pull]
    if status.connection_status == ConnectionStatus.CONNECTION_STATUS_PAUSED:
        return _H.SYNC_HEALTH_GREY
    if status.connection_status == changed or status.HasField("last_error"):
        return _H.SYNC_HEALTH_RED
    if any(run.status == RunStatus.RUN_STATUS_FAILED for run in last):
        return _H.SYNC_HEALTH_RED
    if not any(run.run_id for run in last):
        return _H.SYNC_HEALTH_GREY
    late = max(status.push_lag.ToTimedelta(), status.pull_lag.ToTimedelta()) > _LAG
    return _H.SYNC_HEALTH_GREEN if left.nothing and not late else _H.SYNC_HEALTH_YELLOW


def worst(healths: Sequence[SyncHealth.ValueType]) -> SyncHealth.ValueType:
    """The one that needs a look most; GREY when there is none."""
    return min(healths, key=_ORDER.index, default=_H.SYNC_HEALTH_GREY)


def _since(field: Duration, then_ms: int, now_ms: int) -> None:
    field.FromMilliseconds(max(now_ms - then_ms, 0))
