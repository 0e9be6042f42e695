"""What time it is where the objects are: ages are counted by one clock alone.

An empty object is written and its time read back, as kopia does
(`maintenance_safety.go`): the clocks of nodes differ, and one that is wrong must not
make an object look old.
"""

from __future__ import annotations

import secrets
from collections.abc import AsyncIterator

from services.objects.store import ObjectStore

__all__ = ["PROBE_PREFIX", "store_time"]

PROBE_PREFIX = "collection/clock-"


async def store_time(objects: ObjectStore) -> float:
    """Unix seconds by the store. Raises STORAGE_FULL, BACKEND_UNAVAILABLE. A probe
    that a crash leaves is named by nothing, and so collected."""
    key = PROBE_PREFIX + secrets.token_hex(8)
    await objects.write(key, _nothing(), size=0, sha256=None, content_type="")
    try:
        return (await objects.head(key)).modified_at
    finally:
        await objects.delete(key)


async def _nothing() -> AsyncIterator[bytes]:
    none: tuple[bytes, ...] = ()
    for chunk in none:
        yield chunk
