"""StartSync, and how Push and Pull begin: one run a call, one at a time a connection.

Steps, each of which may be repeated: the claim of the connection names the run
(its id comes from the request id); the run is committed, QUEUED; a worker takes
it. A claim without a run is free again after a minute.
"""

from __future__ import annotations

from google.protobuf.message import Message
from workspace.sync.v1.connection_pb2 import Connection, ConnectionStatus
from workspace.sync.v1.run_pb2 import Run, RunStatus, SyncDirection, SyncOptions
from workspace.sync.v1.sync_service_pb2 import (
    CancelRunRequest,
    CancelRunResponse,
    PullRequest,
    PushRequest,
    StartSyncRequest,
    StartSyncResponse,
)

from services.kernel import Kernel
from services.model.errors import Reason, WorkspaceError, permission_denied
from services.records.mutation import require_etag
from services.records.record import Activity, Record, Write
from services.rpc.context import current_call
from sync_svc.runs.manager import RunManager
from sync_svc.runs.ports import Connections
from sync_svc.runs.rows import RUN, RunRows, moment
from sync_svc.runs.states import account_of, has_ended, run_pk
from sync_svc.runs.worker import paused

__all__ = ["PERMISSION", "Starting", "require_unchanged", "require_usable"]

PERMISSION = "sync"
Begins = StartSyncRequest | PushRequest | PullRequest
_S = RunStatus
_NOWHERE = "c_none"
"""No connection: where there is no run, its refusal takes the time of one of others."""


class Starting:
    """Use cases of StartSync and CancelRun, and the beginning of Push and Pull."""

    def __init__(
        self, *, kernel: Kernel, rows: RunRows, manager: RunManager, connections: Connections
    ) -> None:
        self._kernel = kernel
        self._rows = rows
        self._manager = manager
        self._connections = connections

    async def start(
        self, request: Begins, direction: SyncDirection.ValueType
    ) -> StartSyncResponse:
        """The run of this request id, started if it was not. Raises
        PERMISSION_DENIED, INVALID_STATE, SURFACE_CHANGED and RUN_ACTIVE."""
        connection = await self._connections.allowed(request.connection_id)
        mutation = self._kernel.mutations.begin(_payload(request))
        run_id = mutation.new_id("r")
        if done := await mutation.replay(run_pk(run_id), StartSyncResponse):
            return done
        require_usable(connection, request.options)
        await self._rows.claim(connection.connection_id, run_id)
        run = self._new(run_id, request, direction)
        answer = await mutation.commit(
            run_pk(run_id), [Write(RUN, run)],
            activity=Activity(
                "sync.run_started", f"runs/{run_id}", account_id=account_of(connection)
            ),
            answer=lambda records: StartSyncResponse(run=records[0].shown()),
        )
        self._manager.kick(answer.run)
        return answer

    async def cancel(self, request: CancelRunRequest) -> CancelRunResponse:
        """Ask a run to end after its batch. Raises PERMISSION_DENIED, INVALID_STATE,
        ETAG_MISMATCH."""
        record = await self.allowed(request.run_id)
        mutation = self._kernel.mutations.begin(request)
        if done := await mutation.replay(record.key.pk, CancelRunResponse):
            return done
        run = record.edit()
        if run.status in (_S.RUN_STATUS_CANCELLING, _S.RUN_STATUS_CANCELLED):
            return CancelRunResponse(run=(await self._manager.shown(record)).run)
        if has_ended(run):
            raise WorkspaceError(
                Reason.ERROR_REASON_INVALID_STATE,
                f"run {run.run_id} has ended: {_word(run.status)}",
                metadata={"resource": f"runs/{run.run_id}"},
            )
        require_etag(record, request.etag, f"runs/{run.run_id}")
        run.status = _S.RUN_STATUS_CANCELLING
        run.updated_at.CopyFrom(moment(self._kernel.now()))
        connection = await self._connections.read(run.connection_id)
        answer = await mutation.commit(
            record.key.pk, [Write(RUN, run, base=record)],
            activity=Activity(
                "sync.run_cancelled", f"runs/{run.run_id}",
                account_id=account_of(connection) if connection else "",
            ),
            answer=lambda records: CancelRunResponse(run=records[0].shown()),
        )
        self._manager.cancel(answer.run)
        return answer

    async def allowed(self, run_id: str) -> Record[Run]:
        """A run over a connection that the caller may use. Raises PERMISSION_DENIED
        for one that is absent, too."""
        denied = permission_denied(PERMISSION, f"runs/{run_id}")
        record = await self._rows.get(run_id)
        try:
            await self._connections.allowed(record.message.connection_id if record else _NOWHERE)
        except WorkspaceError as error:
            if error.reason != Reason.ERROR_REASON_PERMISSION_DENIED:
                raise
            if not await self._connections.sees_all():
                raise denied from None
        if record is None:
            raise denied
        return record

    def _new(self, run_id: str, request: Begins, direction: SyncDirection.ValueType) -> Run:
        now = moment(self._kernel.now())
        return Run(
            run_id=run_id, connection_id=request.connection_id, direction=direction,
            status=_S.RUN_STATUS_QUEUED, options=request.options,
            created_by=current_call().user_id, created_at=now, updated_at=now,
        )


def require_usable(connection: Connection, options: SyncOptions) -> None:
    """Refuse what the manifest alone says. Raises INVALID_STATE, SURFACE_CHANGED."""
    if connection.status == ConnectionStatus.CONNECTION_STATUS_PAUSED:
        raise paused(connection.connection_id)
    require_unchanged(connection, options)


def require_unchanged(connection: Connection, options: SyncOptions) -> None:
    """Raises SURFACE_CHANGED if the connection waits for `reinitialise`."""
    changed = connection.status == ConnectionStatus.CONNECTION_STATUS_SURFACE_CHANGED
    if changed and not options.reinitialise:
        raise WorkspaceError(
            Reason.ERROR_REASON_SURFACE_CHANGED,
            "the surface behind the connection is not the one that was registered; look at it, "
            "and accept it with `reinitialise`",
            metadata={"connection_id": connection.connection_id},
        )


def _payload(request: Begins) -> Message:
    """The request without its place in the stream: a repeat is further on."""
    copy = type(request)()
    copy.CopyFrom(request)  # type: ignore[arg-type]
    if isinstance(copy, (PushRequest, PullRequest)):
        copy.ClearField("resume_token")
    return copy


def _word(status: RunStatus.ValueType) -> str:
    return RunStatus.Name(status).removeprefix("RUN_STATUS_").lower()
