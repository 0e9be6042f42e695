"""The engine under test, as a run of the product calls it."""

from __future__ import annotations

from workspace.sync.v1.run_pb2 import SyncDirection

from sync_svc.engine.pull import pull
from sync_svc.engine.push import push
from sync_svc.engine.task import Task

__all__ = ["RealEngine"]


class RealEngine:
    """Push or pull, with all parts of the product."""

    async def run(self, task: Task) -> None:
        if task.direction == SyncDirection.SYNC_DIRECTION_PUSH:
            await push(task)
        else:
            await pull(task)
