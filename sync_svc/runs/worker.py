"""Works on one run, under a lease, until it has ended or this process stops."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from google.rpc.status_pb2 import Status
from workspace.sync.v1.connection_pb2 import Connection, ConnectionStatus
from workspace.sync.v1.run_pb2 import Progress, Run, RunPhase, RunStatus, SyncDirection

from services.kernel import Kernel
from services.model.errors import Reason, WorkspaceError
from services.records.lease import LEASE_SECONDS, Lease
from services.records.port import Key
from services.records.record import Activity
from services.rpc.context import set_current_call
from services.rpc.errors import to_status
from sync_svc.engine.task import Stopped, Tally, Task
from sync_svc.nodes.rows import DAY_MS
from sync_svc.runs.bells import Bells
from sync_svc.runs.meter import Meter
from sync_svc.runs.ports import Connections, Engine, OpenPair
from sync_svc.runs.rows import RunRows, moment, run_active
from sync_svc.runs.states import account_of, has_ended, kept_error
from sync_svc.surfaces.surface import Surface

__all__ = ["Parts", "Worker", "paused"]

_SAMPLE_SECONDS = 0.25
_SAVE_SECONDS = 2.0
_log = logging.getLogger("workspace.sync.runs")
_S = RunStatus


@dataclass(frozen=True, slots=True)
class Parts:
    """What every worker stands on. `holder` is unique to this process. `leftovers`
    says whether conflicts, quarantine or pending bytes of a connection are left;
    `ended` is told of every run that ended."""

    kernel: Kernel
    rows: RunRows
    bells: Bells
    connections: Connections
    open_pair: OpenPair
    engine: Engine
    leftovers: Callable[[str], Awaitable[bool]]
    ended: Callable[[Run], None]
    holder: str
    lease_seconds: float = LEASE_SECONDS


class Worker:
    """See the module. `before` is what earlier processes did."""

    def __init__(self, parts: Parts, run_id: str, connection_id: str) -> None:
        self._parts = parts
        self._run_id = run_id
        self._connection_id = connection_id
        self._tally = Tally()
        self._meter: Meter | None = None
        self._stopping = False
        self._cancelled = False
        self._instance_id = ""
        self.progress: Progress | None = None

    def cancel(self) -> None:
        """Somebody asked the run to end."""
        self._cancelled = True

    def stop(self) -> None:
        """This process stops; another one goes on with the run."""
        self._stopping = True

    async def work(self) -> None:
        """Until the run has ended, its lease is somebody else's, or `stop`. What goes
        wrong here leaves the run to the next worker."""
        set_current_call(None)
        parts = self._parts
        lease = Lease(
            parts.kernel.records, Key(f"SYNC#{self._connection_id}", "LEASE"),
            holder=parts.holder, now=parts.kernel.now, seconds=parts.lease_seconds,
        )
        try:
            await lease.hold(lambda: self._work(lease))
        except WorkspaceError as error:
            _log.warning("a run waits: %s", Reason.Name(error.reason))
        except Exception:
            _log.exception("a run was interrupted; it goes on later")
        finally:
            parts.bells.ring(self._run_id)

    async def _work(self, lease: Lease) -> None:
        rows = self._parts.rows
        record = await rows.get(self._run_id)
        if record is None or has_ended(record.message):
            return
        before = await rows.load_progress(self._run_id)
        self._meter = Meter(
            self._tally, before=before, now=self._parts.kernel.now, monotonic=time.monotonic
        )
        self._cancelled |= record.message.status == _S.RUN_STATUS_CANCELLING
        keeping = asyncio.ensure_future(self._keep())
        error, stopped = None, False
        try:
            error = await self._run(record.message)
        except Stopped:
            stopped = True
        finally:
            keeping.cancel()
            await asyncio.gather(keeping, return_exceptions=True)
        if await lease.is_taken():
            # This process slept, or was cut off. The error is most likely that the other
            # one goes on with the run: its end is for that one to say.
            _log.warning("a run was taken over by another process")
        elif stopped and not self._cancelled:
            await self._save()  # the next process goes on
        else:
            await self._end(error, stopped=stopped)

    async def _run(self, run: Run) -> Status | None:
        """Runs the engine; the error that ended it. Raises Stopped."""
        connection: Connection | None = None
        if self._cancelled:
            raise Stopped
        try:
            connection = await self._usable(run)
            await self._engine(run, connection)
        except (Stopped, asyncio.CancelledError):
            raise
        except Exception as error:
            if _changed(error) and connection is not None:
                await self._note(connection, changed=True)
            if not isinstance(error, WorkspaceError):
                _log.exception("a run failed")
            return kept_error(to_status(error, self._run_id))
        return None

    async def _usable(self, run: Run) -> Connection:
        """The connection, if this run still has it and may use it."""
        holder = await self._parts.rows.claimed_by(run.connection_id)
        if holder != run.run_id:
            raise run_active(holder)
        connection = await self._parts.connections.read(run.connection_id)
        if connection is None:
            raise WorkspaceError(
                Reason.ERROR_REASON_INVALID_STATE, "the connection was removed",
                metadata={"resource": f"connections/{run.connection_id}"},
            )
        if connection.status == ConnectionStatus.CONNECTION_STATUS_PAUSED:
            raise paused(connection.connection_id)
        return connection

    async def _engine(self, run: Run, connection: Connection) -> None:
        parts, push = self._parts, run.direction == SyncDirection.SYNC_DIRECTION_PUSH
        async with parts.open_pair(
            connection, tally=self._tally, options=run.options
        ) as (local, remote):
            self._instance_id = remote.instance.instance_id
            task = Task(
                run_id=run.run_id, direction=run.direction, connection=connection,
                options=run.options, local=local, remote=remote, tally=self._tally,
                now_ms=lambda: int(parts.kernel.now() * 1000), monotonic=time.monotonic,
                stop=self._must_stop,
                lease_ms=parts.kernel.settings.sync_node_lease_days * DAY_MS,
            )
            await (parts.engine.push(task) if push else parts.engine.pull(task))
            await self._note(connection, surface=remote)

    async def _note(
        self, connection: Connection, *, changed: bool = False, surface: Surface | None = None
    ) -> None:
        """For people to see; a run neither fails nor succeeds by it."""
        try:
            await self._parts.connections.note(connection, changed=changed, surface=surface)
        except WorkspaceError as error:
            _log.warning("a connection is not updated: %s", Reason.Name(error.reason))

    def _must_stop(self) -> bool:
        return self._cancelled or self._stopping

    async def _keep(self) -> None:
        """Show progress, write it down now and then, and look whether other
        processes want the run to stop."""
        saved, last = -_SAVE_SECONDS, None
        while True:
            progress = self._sampled()
            if progress != last:
                last = progress
                self._parts.bells.ring(self._run_id)
            if time.monotonic() - saved >= _SAVE_SECONDS:
                saved = time.monotonic()
                await self._save_quietly()
            await asyncio.sleep(_SAMPLE_SECONDS)

    async def _save_quietly(self) -> None:
        try:
            await self._save()
            record = await self._parts.rows.get(self._run_id)
        except WorkspaceError:
            return  # the next time
        if record is not None and record.message.status == _S.RUN_STATUS_CANCELLING:
            self._cancelled = True

    def _sampled(self) -> Progress:
        assert self._meter is not None, "sampled before the work began"
        progress, now = self._meter.sample(), self._parts.kernel.now()
        progress.run.status = _S.RUN_STATUS_RUNNING
        progress.run.node_id = self._parts.kernel.instance_id
        progress.run.instance_id = self._instance_id
        progress.run.updated_at.CopyFrom(moment(now))
        progress.run.lease_expires_at.CopyFrom(moment(now + self._parts.lease_seconds))
        self.progress = progress
        return progress

    async def _save(self) -> None:
        await self._parts.rows.save_progress(self._run_id, self._sampled())

    async def _end(self, error: Status | None, *, stopped: bool) -> None:
        """The last commit of the run; then others may have the connection."""
        parts, now = self._parts, self._parts.kernel.now()
        connection = await parts.connections.read(self._connection_id)
        status = _S.RUN_STATUS_CANCELLED if stopped else await self._outcome(error)
        ended: list[bool] = []

        def edit(run: Run) -> bool:
            ended.append(not has_ended(run))
            if not ended[-1]:
                return False
            assert self._meter is not None, "ended before the work began"
            self._meter.fill(run)
            run.status, run.node_id = status, parts.kernel.instance_id
            run.instance_id = self._instance_id
            run.finished_at.CopyFrom(moment(now))
            run.ClearField("lease_expires_at")
            if error is not None:
                run.error.CopyFrom(error)
            elif not stopped:
                run.phase = RunPhase.RUN_PHASE_CURSOR  # the last one
            return True

        days = parts.kernel.settings.sync_history_days
        record = await parts.rows.change(
            self._run_id, edit, _finished(self._run_id, connection),
            expires_at=int(now) + days * 86_400,
        )
        await parts.rows.release(self._connection_id, self._run_id)
        await parts.rows.drop_progress(self._run_id)
        if record is not None and ended[-1]:
            parts.ended(record.message)

    async def _outcome(self, error: Status | None) -> RunStatus.ValueType:
        if error is not None:
            return _S.RUN_STATUS_FAILED
        assert self._meter is not None, "ended before the work began"
        counts = self._meter.counts
        found = counts.conflicts or counts.quarantined or counts.bytes_pending
        if found or await self._parts.leftovers(self._connection_id):
            return _S.RUN_STATUS_SUCCEEDED_WITH_ISSUES
        return _S.RUN_STATUS_SUCCEEDED


def paused(connection_id: str) -> WorkspaceError:
    """INVALID_STATE of a connection that a person switched off."""
    return WorkspaceError(
        Reason.ERROR_REASON_INVALID_STATE,
        "the connection is paused; resume it (wm connections resume) and repeat",
        metadata={"resource": f"connections/{connection_id}"},
    )


def _changed(error: Exception) -> bool:
    return (
        isinstance(error, WorkspaceError)
        and error.reason == Reason.ERROR_REASON_SURFACE_CHANGED
    )


def _finished(run_id: str, connection: Connection | None) -> Activity:
    account = account_of(connection) if connection is not None else ""
    return Activity("sync.run_finished", f"runs/{run_id}", account_id=account)
