"""Pull: what the remote surface has is joined here.

Nothing is taken unscreened, nothing deleted because it is absent there, and what
cannot be applied goes to quarantine and blocks nothing else. Own writes in the feed
of the surface are read like all others.
"""

from __future__ import annotations

from sync_svc.engine.beginning import whole_run
from sync_svc.engine.task import Task

__all__ = ["pull"]


async def pull(task: Task) -> None:
    """One pull, counted in `task.tally`. Raises like `push`."""
    await whole_run(task)
