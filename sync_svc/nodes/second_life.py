"""A surface has versions in our name that we did not make.

The handshake tells of a copy of this store only where the copy spoke with the same
surface. What it wrote may come by a third node all the same. Refused for ever, it
would never be seen here; so this store takes a new incarnation, and what it made under
the former one is minted again by the next preflight unless the surface has it, too
(services/records/remint.py). After that the former name is like that of anybody else.
"""

from __future__ import annotations

from services.records.instance import new_incarnation, read_instance
from sync_svc.engine.task import Task
from sync_svc.nodes.handshake import load_handshake

__all__ = ["suspect"]


async def suspect(task: Task) -> bool:
    """Go on under a new incarnation, and say whether that is so. It happens once a
    day: beyond, what has our name stays in quarantine."""
    driver = task.local.records.driver
    own = await read_instance(driver)
    if own is None:
        return False
    if own.actor == task.local.records.actor:
        memory, _ = await load_handshake(task.local.records, task.remote.instance.instance_id)
        bound = memory.hlc if memory.incarnation == own.incarnation else ""
        later = await new_incarnation(
            driver, own.incarnation, unminted_after=bound, suspected_ms=task.now_ms()
        )
        if later.incarnation == own.incarnation:
            return False
        own = later
    await task.local.records.become(own.actor)
    return True
