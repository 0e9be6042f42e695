"""Pull: what the remote surface has is joined here.

Nothing is taken unscreened, nothing deleted because it is absent there, and what
cannot be applied goes to quarantine and blocks nothing else. Own writes in the feed
of the surface are read like all others.
"""

from __future__ import annotations

from sync_svc.engine.pipeline import Pipeline
from sync_svc.engine.task import Task
from sync_svc.engine.wiring import run_parts

__all__ = ["pull"]


async def pull(task: Task) -> None:
    """One pull, counted in `task.tally`. Raises like `push`."""
    await Pipeline(task, run_parts(task)).run()
