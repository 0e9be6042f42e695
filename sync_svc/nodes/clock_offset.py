"""How far the clock of this node is ahead of that of a surface.

Nodes never meet; each compares its clock with that of the place where the objects of
the surface lie, and the difference of two of these is how far the nodes are apart.
"""

from __future__ import annotations

from services.model.errors import WorkspaceError
from sync_svc.collection.store_time import store_time
from sync_svc.engine.task import Task

__all__ = ["clock_offset_ms"]


async def clock_offset_ms(task: Task) -> int | None:
    """Milliseconds, negative when behind; None when the surface does not say. Three
    requests of its object store. No run fails by it."""
    before = task.now_ms()
    try:
        there = await store_time(task.remote.objects)
    except WorkspaceError:
        return None
    return round((before + task.now_ms()) / 2 - there * 1000)
