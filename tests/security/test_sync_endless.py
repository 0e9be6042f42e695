"""A surface that never comes to an end: the same page for ever, circles, made-up cursors,
an object that is larger than it can be."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from dataclasses import replace
from itertools import count
from pathlib import Path
from typing import Any

import pytest
from workspace.project.v1.document_pb2 import Document

from services.model.errors import Reason, WorkspaceError
from services.objects.port import ByteRange, ObjectInfo
from services.records.port import ChangePage, Item, ItemPage, Key
from sync_svc.nodes.rows import NodeRow, node_key, node_put, node_rows
from tests.unit.sync_svc.engine.world import (
    Clock,
    CountingDriver,
    World,
    document,
    document_key,
    project_key,
    with_file,
)

_MOST_CALLS = 300
pytestmark = pytest.mark.case("A17")


class Endless(CountingDriver):
    """Counts what it is asked, and stops a run that goes on and on."""

    def _count(self, call: str) -> None:
        super()._count(call)
        assert len(self.calls) < _MOST_CALLS, f"asked for ever: {self.calls[-4:]}"


class SameChanges(Endless):
    async def changes(self, cursor: str | None, limit: int) -> ChangePage:
        self._count("changes")
        page: ChangePage = await self.inner.changes(None, 20)
        return replace(page, complete=False)


class MadeUpCursors(Endless):
    """Another cursor each time, and behind each the same."""

    def __init__(self, inner: Any) -> None:
        super().__init__(inner)
        self._numbers = count()

    async def changes(self, cursor: str | None, limit: int) -> ChangePage:
        self._count("changes")
        page: ChangePage = await self.inner.changes(None, 20)
        return replace(page, cursor=f"made-up-{next(self._numbers)}", complete=False)


class SameRows(Endless):
    async def scan(self, after: Key | None, limit: int) -> Sequence[Item]:
        self._count("scan")
        return await self.inner.scan(None, limit)


class Circle(Endless):
    """Rows in pages of three; after the last comes the first."""

    async def scan(self, after: Key | None, limit: int) -> Sequence[Item]:
        self._count("scan")
        return await self.inner.scan(after, 3) or await self.inner.scan(None, 3)


class SameNodes(Endless):
    async def query(self, *args: Any, **more: Any) -> ItemPage:
        self._count("query")
        page: ItemPage = await self.inner.query(*args, **more | {"after": None})
        return replace(page, next="again")


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    made = World(tmp_path, Clock())
    await made.open("local", "remote")
    yield made
    await made.close()


def behind(world: World, kind: type[Endless]) -> Endless:
    """The remote surface, seen through such a driver from here on."""
    surface = world.surfaces["remote"]
    driver = kind(surface.records.driver)
    world.surfaces["remote"] = surface.with_records(surface.records.through(driver))
    return driver


async def ends(work: Any) -> WorkspaceError:
    """How a run of a surface without an end ends."""
    async with asyncio.timeout(60):
        with pytest.raises(WorkspaceError) as caught:
            await work
    return caught.value


@pytest.mark.parametrize("kind", [SameChanges, MadeUpCursors])
async def test_a_feed_without_an_end_ends_the_run(world: World, kind: type[Endless]) -> None:
    await world.project(on="remote")
    await world.pull()  # a first run has a cursor of the surface
    await world.documents(30, on="remote")
    driver = behind(world, kind)
    error = await ends(world.pull())
    assert error.reason == Reason.ERROR_REASON_INVALID_STATE
    assert "again and again" in error.message
    assert driver.calls.count("changes") < 50
    assert await world.state(project_key("p_1"), on="local")  # what was taken stays


@pytest.mark.parametrize("kind", [SameRows, Circle])
@pytest.mark.parametrize("direction", ["pull", "push"])
async def test_rows_without_an_end_end_the_run(
    world: World, kind: type[Endless], direction: str
) -> None:
    await world.project()
    await world.documents(30)
    await world.push()
    await world.write(document("d_x"), on="remote" if direction == "pull" else "local")
    behind(world, kind)
    run = world.pull if direction == "pull" else world.push
    error = await ends(run(full_reconcile=True))
    assert error.reason == Reason.ERROR_REASON_INVALID_STATE


@pytest.mark.parametrize("rows", [0, 3])
async def test_a_list_of_nodes_without_an_end_ends_too(world: World, rows: int) -> None:
    records = world.surfaces["remote"].records
    for number in range(rows):
        await records.put_row(node_put(node_key(f"n{number}"), NodeRow(f"n{number}"), None))
    driver = behind(world, SameNodes)
    error = await ends(node_rows(world.surfaces["remote"].records))
    assert error.reason == Reason.ERROR_REASON_INVALID_STATE
    assert driver.calls.count("query") < 20


async def test_a_mended_surface_is_taken_again(world: World) -> None:
    await world.project(on="remote")
    await world.pull()
    await world.documents(3, on="remote")
    healthy = world.surfaces["remote"]
    behind(world, SameChanges)
    await ends(world.pull())
    world.surfaces["remote"] = healthy
    await world.project("p_2", on="remote")
    await world.pull()
    for key in (document_key("d_2"), project_key("p_2")):
        assert await world.state(key, on="local")


class Torrent:
    """Objects of the remote surface that never end. `size` is what it says of each."""

    def __init__(self, world: World, patch: pytest.MonkeyPatch, *, size: int | None) -> None:
        self.given = 0
        self._size = size
        remote = world.surfaces["remote"].objects
        self._head = remote.head
        patch.setattr(remote, "head", self.head)
        patch.setattr(remote, "open_read", self.open_read)

    async def head(self, key: str) -> ObjectInfo:
        info = await self._head(key)
        return replace(info, size=self._size or info.size)

    async def open_read(
        self, _key: str, _span: ByteRange | None = None
    ) -> AsyncGenerator[bytes, None]:
        while self.given < 100_000:
            self.given += 1000
            yield b"x" * 1000
        raise AssertionError("read for ever")


async def promised(world: World, size: int) -> Document:
    """A document of the remote surface whose file is said to have so many bytes."""
    data = b"x" * 1000
    await world.project(on="remote")
    made = with_file(document("d_0"), data)
    made.file.size_bytes = size
    await world.put_object(made.storage_key, data, on="remote")
    await world.write(made, on="remote")
    return made


@pytest.mark.parametrize("size", [None, 100 * 2**30], ids=["true size", "100 GiB"])
async def test_an_object_that_never_ends_is_cut_at_the_size_that_was_announced(
    world: World, monkeypatch: pytest.MonkeyPatch, size: int | None
) -> None:
    made = await promised(world, 1000)
    torrent = Torrent(world, monkeypatch, size=size)
    async with asyncio.timeout(60):
        tally = await world.pull()
    assert torrent.given <= 2000
    assert tally.counts.objects_done == 0
    with pytest.raises(WorkspaceError):
        await world.surfaces["local"].objects.head(made.storage_key)


async def test_an_object_that_has_no_room_here_is_not_begun(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All sizes agree; the disk would be full at the end, and everybody's."""
    await promised(world, 2**52)
    torrent = Torrent(world, monkeypatch, size=2**52)
    error = await ends(world.pull())
    assert error.reason == Reason.ERROR_REASON_STORAGE_FULL
    assert torrent.given <= 1000
