"""Byte order out of a store that may count in UTF-16.

Names compare alike by UTF-8 bytes and by UTF-16 units, but where a character from U+E000
up meets one beyond U+FFFF. Of all names with the same beginning, those that go on with
either kind stand together at the end in both orders: such a run is sorted here.
Which order Azure has is not documented; Azurite has that of UTF-16.
"""

from __future__ import annotations

import re
from collections.abc import AsyncGenerator, AsyncIterator

from services.objects.port import ObjectInfo

__all__ = ["in_byte_order", "start_of"]

_HIGH = re.compile("[\ue000-\U0010ffff]")


def start_of(after: str) -> str:
    """Where to begin in either order so that nothing behind `after` is missed."""
    found = _HIGH.search(after)
    return after[: found.start()] if found else after


async def in_byte_order(found: AsyncIterator[ObjectInfo]) -> AsyncGenerator[ObjectInfo, None]:
    """Objects in order of the bytes of their keys, from either order."""
    run: list[ObjectInfo] = []
    beginning: str | None = None
    async for info in found:
        high = _HIGH.search(info.key)
        start = info.key[: high.start()] if high else None
        if run and start != beginning:
            for each in _sorted(run):
                yield each
            run = []
        beginning = start
        if start is None:
            yield info
        else:
            run.append(info)
    for each in _sorted(run):
        yield each


def _sorted(run: list[ObjectInfo]) -> list[ObjectInfo]:
    return sorted(run, key=lambda info: info.key.encode())
