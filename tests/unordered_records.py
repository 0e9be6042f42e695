"""A record driver whose scans promise no more than the port does, as DynamoDB's:
partitions in the order of a hash, and short pages."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from services.records.port import Capabilities, Item, Key, RecordDriver

__all__ = ["UnorderedRecords"]

_PAGE = 1000


class UnorderedRecords:
    """Any driver of few rows; all calls but `scan` are its own."""

    def __init__(self, inner: RecordDriver) -> None:
        self.inner = inner

    def __getattr__(self, name: str) -> Any:
        return getattr(self.inner, name)

    @property
    def capabilities(self) -> Capabilities:
        return replace(self.inner.capabilities, ordered_scan=False)

    async def scan(self, after: Key | None, limit: int) -> Sequence[Item]:
        """Every other page is short."""
        rows: list[Item] = []
        while page := await self.inner.scan(rows[-1].key if rows else None, _PAGE):
            rows.extend(page)
        number = _hash(f"{after}")[0]
        limit = min(limit, 1 + number % 7) if number & 8 else limit
        place = _place(after) if after is not None else (b"", Key("", ""))
        rows.sort(key=lambda item: _place(item.key))
        return [item for item in rows if _place(item.key) > place][:limit]


def _place(key: Key) -> tuple[bytes, Key]:
    return _hash(key.pk), key


def _hash(text: str) -> bytes:
    return hashlib.sha256(text.encode()).digest()
