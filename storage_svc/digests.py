"""The SHA-256 of a stored object, also where the store keeps none."""

from __future__ import annotations

import hashlib
from contextlib import aclosing

from services.objects.port import ObjectInfo
from services.objects.store import ObjectStore

__all__ = ["digest_of"]


async def digest_of(objects: ObjectStore, info: ObjectInfo) -> str:
    """In hex, as the store keeps it; else of all bytes, which are read for it."""
    if info.sha256:
        return info.sha256
    digest = hashlib.sha256()
    async with aclosing(objects.open_read(info.key)) as chunks:
        async for chunk in chunks:
            digest.update(chunk)
    return digest.hexdigest()
