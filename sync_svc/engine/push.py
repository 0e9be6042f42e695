"""Push: what is here goes to the remote surface, and its answer comes back.

Objects first and verified, intents before them; then records, parents before
children, all changed keys of a partition in one commit when they fit. What the remote
surface has and this workspace has not passes screening and trust like a pull.
"""

from __future__ import annotations

from sync_svc.engine.beginning import whole_run
from sync_svc.engine.task import Task

__all__ = ["push"]


async def push(task: Task) -> None:
    """One push, counted in `task.tally`. Raises MASS_CHANGE with nothing written,
    SURFACE_CHANGED, INVALID_STATE, BACKEND_UNAVAILABLE, STORAGE_FULL; Stopped between
    batches. It may be repeated after whatever happened."""
    await whole_run(task)
