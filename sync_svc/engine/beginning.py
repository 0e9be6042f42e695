"""A run from its beginning, if need be a second time."""

from __future__ import annotations

from sync_svc.engine.pipeline import Pipeline
from sync_svc.engine.refusal import LivedTwice
from sync_svc.engine.task import Task
from sync_svc.engine.wiring import run_parts

__all__ = ["whole_run"]


async def whole_run(task: Task) -> None:
    """The parts are made anew for each beginning. Raises what the run raises; LivedTwice
    only when that happens once more, which another process of this workspace may do."""
    try:
        await Pipeline(task, run_parts(task)).run()
    except LivedTwice:
        await Pipeline(task, run_parts(task)).run()
