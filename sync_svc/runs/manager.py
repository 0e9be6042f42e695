"""The runs of this process: takes those that nobody works on, and works on them.

A run needs no call that waits for it. Whoever starts one kicks the manager; a
loop looks at the claims of all connections, so that a run whose process died, or
was told to stop, is gone on with: at most one batch of it is repeated.
"""

from __future__ import annotations

import asyncio
import logging
import time

from workspace.sync.v1.run_pb2 import Progress, Run

from services.model.errors import Reason, WorkspaceError
from services.records.record import Record
from services.rpc.context import set_current_call
from sync_svc.runs.states import has_ended, with_progress
from sync_svc.runs.worker import Parts, Worker

__all__ = ["RunManager"]

_LOOK_SECONDS = 5.0
_STOP_SECONDS = 20.0
_log = logging.getLogger("workspace.sync.runs")


class RunManager:
    """See the module. `look_seconds` is how often the claims are looked at,
    `stop_seconds` how long the end of a batch is waited for when the process stops."""

    def __init__(
        self,
        parts: Parts,
        *,
        look_seconds: float = _LOOK_SECONDS,
        stop_seconds: float = _STOP_SECONDS,
    ) -> None:
        self._parts = parts
        self._look_seconds = look_seconds
        self._stop_seconds = stop_seconds
        self._workers: dict[str, Worker] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._stopping = False

    async def run(self) -> None:
        """Until cancelled; then every run of this process stops after its batch."""
        set_current_call(None)
        try:
            while True:
                try:
                    await self.look()
                except WorkspaceError as error:
                    _log.warning("runs wait: %s", Reason.Name(error.reason))
                except Exception:
                    _log.exception("looking for runs failed; it goes on")
                await asyncio.sleep(self._look_seconds)
        finally:
            await self.close()

    async def look(self) -> None:
        """Take every run that has a connection and no worker."""
        rows = self._parts.rows
        everything = await self._parts.connections.everything()
        for run_id in await rows.claims([each.connection_id for each in everything]):
            if run_id in self._workers:
                continue
            record = await rows.get(run_id)
            if record is not None and not has_ended(record.message):
                self.kick(record.message)

    def kick(self, run: Run) -> None:
        """Have a worker of this process take the run, if nobody has it."""
        if self._stopping or run.run_id in self._workers:
            return
        worker = Worker(self._parts, run.run_id, run.connection_id)
        self._workers[run.run_id] = worker
        task = asyncio.ensure_future(worker.work())
        self._tasks.add(task)
        task.add_done_callback(lambda done: self._left(run.run_id, done))

    def cancel(self, run: Run) -> None:
        """The run was asked to end: tell its worker, or have one end it."""
        worker = self._workers.get(run.run_id)
        if worker is not None:
            worker.cancel()
        else:
            self.kick(run)
        self._parts.bells.ring(run.run_id)

    async def shown(self, record: Record[Run]) -> Progress:
        """How far a run is: what its worker here knows, else what is written down."""
        worker = self._workers.get(record.message.run_id)
        if worker is not None and worker.progress is not None:
            return with_progress(record.shown(), worker.progress)
        return (await self._parts.rows.shown([record]))[0]

    async def close(self) -> None:
        """Stop the workers after their batches, and cancel those that take too long.
        Cancelled again meanwhile, it goes on: a process that stops is impatient."""
        self._stopping = True
        for worker in self._workers.values():
            worker.stop()
        deadline = time.monotonic() + self._stop_seconds
        while self._tasks and (left := deadline - time.monotonic()) > 0:
            try:
                await asyncio.wait(set(self._tasks), timeout=left)
            except asyncio.CancelledError:
                continue
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def _left(self, run_id: str, task: asyncio.Task[None]) -> None:
        self._workers.pop(run_id, None)
        self._tasks.discard(task)
