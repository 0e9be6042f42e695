from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import pytest

from tests.unit.sync_svc.nodes.lives import Clock, Store

Open = Callable[..., Awaitable[Store]]


@pytest.fixture
async def stores(tmp_path: Path) -> AsyncIterator[Open]:
    """Opens a node (`await stores("ann")`) or a surface (`passive=True`)."""
    opened: list[Store] = []
    clock = Clock()

    async def open_(name: str, *, passive: bool = False, file: Path | None = None) -> Store:
        store = Store(name, file or tmp_path / f"{name}.sqlite", clock, passive)
        opened.append(await store.open())
        return store

    yield open_
    for store in opened:
        await store.close()
