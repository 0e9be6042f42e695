"""Opens what a manifest describes."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path

from workspace.sync.v1.connection_pb2 import Connection

from services.model.clocks import HybridClock
from services.model.errors import Reason, WorkspaceError
from services.records.instance import (
    Instance,
    check_readable,
    check_writable,
    create_instance,
    read_instance,
)
from services.records.port import RecordDriver
from services.records.store import RecordStore
from sync_svc.connections.providers import normalise, place_of
from sync_svc.surfaces.exclusive import Opened, SharedSurfaces
from sync_svc.surfaces.openers import OPENERS
from sync_svc.surfaces.surface import Surface
from sync_svc.surfaces.unused import never_used

__all__ = ["SurfaceOpener"]


class SurfaceOpener:
    """`OpenSurface`, for the surfaces of `PROVIDERS`.

    `own_instance_id` and `data_dir` are this workspace's: neither itself nor a copy
    of it is a surface, nor are the stores `own`. `wall_ms`: unix milliseconds.
    """

    def __init__(
        self, *, own_instance_id: str, data_dir: Path, wall_ms: Callable[[], int],
        shared: SharedSurfaces | None = None, own: frozenset[str] = frozenset(),
    ) -> None:  # fmt: skip
        self._own = own_instance_id
        self._own_stores = own
        self._data_dir = data_dir.absolute()
        self._wall_ms = wall_ms
        self._shared = shared or SharedSurfaces()

    @asynccontextmanager
    async def __call__(
        self, connection: Connection, *, read_only: bool = False
    ) -> AsyncIterator[Surface]:
        """As `OpenSurface`. With `read_only` nothing is written there, and a surface
        that was never used is BACKEND_UNAVAILABLE."""
        checked = Connection()
        checked.CopyFrom(connection)  # a manifest may have been edited by hand
        base, own = self._data_dir.parent, self._own_stores
        normalise(checked, base=base, data_dir=self._data_dir, own=own)

        async def opening() -> Opened:
            return await self._open(checked, read_only=read_only)

        place = place_of(checked)
        async with self._shared.hold(place, read_only=read_only, opening=opening) as surface:
            yield surface

    async def _open(self, connection: Connection, *, read_only: bool) -> Opened:
        openers = OPENERS[connection.provider]
        driver = await openers.records(connection, read_only=read_only)
        closers: list[Callable[[], Awaitable[None]]] = [driver.close]
        try:
            _require_capable(driver)
            with openers.reading(connection):
                instance = await self._instance(driver, read_only=read_only)
            objects = await openers.objects(connection, read_only=read_only)
            closers.append(objects.close)
        except BaseException:
            await _close(closers)
            raise
        records = RecordStore(driver, actor=instance.actor, clock=HybridClock(self._wall_ms))
        surface = Surface(connection.connection_id, instance, records, objects, read_only)
        return Opened(surface, lambda: _close(closers))

    async def _instance(self, driver: RecordDriver, *, read_only: bool) -> Instance:
        """Who it is. Opening a surface is no new generation of it."""
        instance = await read_instance(driver)
        if instance is not None:
            _check_format(instance, read_only=read_only)
        if not read_only:
            instance = await create_instance(driver)
        if instance is None:
            raise never_used()
        if instance.instance_id == self._own:
            raise WorkspaceError(
                Reason.ERROR_REASON_INVALID_STATE,
                "the surface is this workspace itself or a copy of its data folder; begin with "
                "an empty folder, database or table",
                metadata={"instance_id": instance.instance_id},
            )
        return instance


async def _close(closers: list[Callable[[], Awaitable[None]]]) -> None:
    """All of them, the last opened first."""
    while closers:
        closer = closers.pop()
        try:
            await closer()
        finally:
            await _close(closers)


def _check_format(instance: Instance, *, read_only: bool) -> None:
    try:
        (check_readable if read_only else check_writable)(instance)
    except WorkspaceError as error:
        error.metadata["format"] = str(instance.format)
        raise


def _require_capable(driver: RecordDriver) -> None:
    if driver.capabilities.last_writer_wins:
        raise WorkspaceError(
            Reason.ERROR_REASON_INVALID_STATE,
            f"the {driver.name} store merges the writes of several regions by time, so that an "
            "acknowledged change may vanish: use one write region",
            metadata={"capability": "last_writer_wins"},
        )
