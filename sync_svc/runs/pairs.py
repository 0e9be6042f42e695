"""Opens both sides of a run: this workspace, and the surface behind a connection."""

from __future__ import annotations

import tempfile
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager

from workspace.sync.v1.connection_pb2 import Connection
from workspace.sync.v1.run_pb2 import SyncOptions

from services.kernel import Kernel
from services.model.errors import Reason, WorkspaceError
from services.records.instance import read_instance
from sync_svc.engine.task import Tally
from sync_svc.surfaces.limited import limited
from sync_svc.surfaces.rates import rates_of
from sync_svc.surfaces.surface import OpenSurface, Surface

__all__ = ["Pairs"]


class Pairs:
    """`OpenPair`. The calls of the remote surface are counted, limited and repeated;
    those of this workspace are not."""

    def __init__(self, *, kernel: Kernel, open_surface: OpenSurface) -> None:
        self._kernel = kernel
        self._open_surface = open_surface

    @asynccontextmanager
    async def __call__(
        self, connection: Connection, *, tally: Tally, options: SyncOptions, read_only: bool = False
    ) -> AsyncIterator[tuple[Surface, Surface]]:
        local = await self._local()
        rates = rates_of(connection, options)
        if options.reinitialise:  # whatever is there now, nothing included
            connection = _as_if_new(connection)
        async with self._opened(connection, read_only=read_only) as remote:
            yield local, limited(remote, tally=tally, rates=rates)

    @asynccontextmanager
    async def _opened(self, connection: Connection, *, read_only: bool) -> AsyncIterator[Surface]:
        async with AsyncExitStack() as stack:
            opening = self._open_surface(connection, read_only=read_only)
            try:
                surface = await stack.enter_async_context(opening)
            except WorkspaceError as error:
                if not (read_only and _never_used(connection, error)):
                    raise
                surface = await stack.enter_async_context(self._nothing())
            yield surface

    @asynccontextmanager
    async def _nothing(self) -> AsyncIterator[Surface]:
        """What a surface is before its first use: empty. A plan may look at it, and
        nothing is written where the real one will be."""
        with tempfile.TemporaryDirectory(prefix="workspace-empty-") as folder:
            empty = Connection(
                connection_id="empty", provider="local", settings={"folder": f"{folder}/surface"}
            )
            async with self._open_surface(empty) as surface:
                yield surface

    async def _local(self) -> Surface:
        instance = await read_instance(self._kernel.records.driver)
        if instance is None:
            raise WorkspaceError(
                Reason.ERROR_REASON_INVALID_STATE,
                "the workspace has no instance record; start the server again",
            )
        return Surface("", instance, self._kernel.records, self._kernel.objects)


def _as_if_new(connection: Connection) -> Connection:
    """The manifest without what was seen behind it before."""
    fresh = Connection()
    fresh.CopyFrom(connection)
    fresh.ClearField("instance")
    return fresh


def _never_used(connection: Connection, error: WorkspaceError) -> bool:
    if connection.instance.instance_id:
        return False
    unavailable = error.reason == Reason.ERROR_REASON_BACKEND_UNAVAILABLE
    return unavailable and error.metadata.get("backend") == "surface"
