"""One opening of a surface in a process, shared; and what opening refuses."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, cast

import pytest
from workspace.sync.v1.connection_pb2 import CheckOutcome, Connection

from services.backends import wall_millis
from services.model.errors import Reason, WorkspaceError
from services.objects.store import ObjectStore
from services.records.instance import Instance
from services.records.sql import SqliteDriver
from services.records.store import RecordStore
from sync_svc.connections import testing
from sync_svc.surfaces import opening as opening_module
from sync_svc.surfaces.exclusive import Opened, SharedSurfaces
from sync_svc.surfaces.openers import OPENERS
from sync_svc.surfaces.opening import SurfaceOpener
from sync_svc.surfaces.surface import Surface


@dataclass
class Shelf:
    """Counts openings; at most one may be open at a time."""

    shared: SharedSurfaces = field(default_factory=lambda: SharedSurfaces(wait=0.2))
    open: int = 0
    times: int = 0
    broken: bool = False

    async def opening(self) -> Opened:
        await asyncio.sleep(0)
        if self.broken:
            raise OSError("gone")
        self.open += 1
        self.times += 1
        assert self.open == 1
        instance = Instance("n2", "i", "x")
        surface = Surface(
            "disk", instance, cast("RecordStore", object()), cast("ObjectStore", object())
        )
        return Opened(surface, self.close)

    async def close(self) -> None:
        await asyncio.sleep(0)
        self.open -= 1

    def hold(self, *, read_only: bool = False) -> Any:
        return self.shared.hold("folder:/x", read_only=read_only, opening=self.opening)


async def test_users_share_and_the_last_one_closes() -> None:
    shelf = Shelf()
    async with AsyncExitStack() as stack:
        for read_only in (False, True, False):
            surface = await stack.enter_async_context(shelf.hold(read_only=read_only))
            assert surface.read_only == read_only
        assert (shelf.open, shelf.times) == (1, 1)
    assert shelf.open == 0
    async with shelf.hold():
        assert shelf.times == 2


async def test_many_at_once() -> None:
    shelf = Shelf(SharedSurfaces())

    async def use(number: int) -> None:
        async with shelf.hold(read_only=number % 3 == 0):
            await asyncio.sleep(0)

    await asyncio.gather(*map(use, range(60)))
    assert shelf.open == 0


async def test_a_writer_waits_for_readers_and_not_for_ever() -> None:
    shelf = Shelf()
    async with shelf.hold(read_only=True):
        with pytest.raises(WorkspaceError) as caught:
            async with shelf.hold():
                pass
        assert caught.value.reason == Reason.ERROR_REASON_INVALID_STATE

        async def write() -> bool:
            async with SharedSurfaces.hold(
                patient, "folder:/x", read_only=False, opening=shelf.opening
            ) as surface:
                return not surface.read_only

        patient = shelf.shared
        patient._wait = 30
        writing = asyncio.ensure_future(write())
        await asyncio.sleep(0.01)
        assert not writing.done()
    assert await writing


async def test_an_opening_that_failed_leaves_no_trace() -> None:
    shelf = Shelf(broken=True)
    for _ in range(2):
        with pytest.raises(OSError, match="gone"):
            async with shelf.hold():
                pass
    shelf.broken = False
    async with shelf.hold():
        assert shelf.open == 1


async def test_who_is_cancelled_leaves_it_closed() -> None:
    shelf = Shelf()

    async def use() -> None:
        async with shelf.hold():
            await asyncio.Event().wait()

    task = asyncio.ensure_future(use())
    await asyncio.sleep(0.01)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert shelf.open == 0
    async with shelf.hold():
        assert shelf.times == 2


def opener(tmp_path: Path) -> SurfaceOpener:
    return SurfaceOpener(
        own_instance_id="n1", data_dir=tmp_path / "wm-data", wall_ms=wall_millis
    )


def manifest(tmp_path: Path, **settings: str) -> Connection:
    return Connection(
        connection_id="disk", provider="local",
        settings={"folder": str(tmp_path / "usb"), **settings},
    )  # fmt: skip


async def test_a_manifest_that_was_edited_by_hand_is_checked(tmp_path: Path) -> None:
    for settings in ({"bucket": "b"}, {"folder": str(tmp_path / "wm-data" / "x")}):
        with pytest.raises(WorkspaceError) as caught:
            async with opener(tmp_path)(manifest(tmp_path, **settings)):
                pass
        assert caught.value.reason == Reason.ERROR_REASON_INVALID_FIELD


async def test_a_surface_hands_out_no_urls(tmp_path: Path) -> None:
    from services.objects.port import SignRequest

    async with opener(tmp_path)(manifest(tmp_path)) as surface:
        with pytest.raises(WorkspaceError, match="no URLs"):
            surface.objects.sign(SignRequest("GET", "a/b", 60))
    assert not (tmp_path / "usb" / "keys").exists()


async def test_a_store_where_the_last_writer_wins_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    careless = replace(SqliteDriver.capabilities, last_writer_wins=True)
    monkeypatch.setattr(SqliteDriver, "capabilities", careless)
    tester = testing.Tester(opening=opener(tmp_path), now=lambda: 1.0)
    report = await tester.run(manifest(tmp_path), read_only=False)
    failed = [each for each in report.checks if each.outcome == CheckOutcome.CHECK_OUTCOME_FAILED]
    assert [each.check for each in failed] == ["consistency"]
    assert "one write region" in failed[0].error.message
    assert not report.usable


async def test_whatever_breaks_is_a_failed_check(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def breaks(*_: Any, **__: Any) -> None:
        raise RuntimeError("secret detail")

    broken = replace(OPENERS["local"], objects=breaks)
    monkeypatch.setattr(opening_module, "OPENERS", {"local": broken})
    tester = testing.Tester(opening=opener(tmp_path), now=lambda: 1.0)
    report = await tester.run(manifest(tmp_path), read_only=False)
    assert not report.usable
    assert report.checks[0].outcome == CheckOutcome.CHECK_OUTCOME_FAILED
    assert "secret detail" not in str(report.checks)
    monkeypatch.undo()
    assert (await tester.run(manifest(tmp_path), read_only=False)).checks[0].outcome == (
        CheckOutcome.CHECK_OUTCOME_PASSED
    ), "and it was closed again"
