"""Collection as due work: once a day for this workspace, and for each connection.

Every node that has a connection does it for the surface; whoever comes second finds
nothing to do.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Iterable
from typing import Final

from workspace.sync.v1.connection_pb2 import Connection, ConnectionStatus

from services.kernel import Kernel
from services.model.errors import WorkspaceError
from services.records.store import RecordStore
from sync_svc.collection.tombstones import Purged, purge_tombstones
from sync_svc.surfaces.surface import OpenSurface, Surface

__all__ = ["KIND", "DailyCollection"]

KIND: Final = "sync.collect"
_LOCAL: Final = "local"
_CONNECTION: Final = "connection/"
_DAY: Final = 86_400
_log = logging.getLogger("workspace.sync.collection")

Registered = Callable[[], Awaitable[Iterable[Connection]]]


class DailyCollection:
    """`registered` gives all connections; `objects`, if given, collects the objects of
    a surface afterwards. Lease and retention are those of the settings."""

    def __init__(
        self,
        *,
        kernel: Kernel,
        registered: Registered,
        open_surface: OpenSurface,
        objects: Callable[[Surface], Awaitable[object]] | None = None,
    ) -> None:
        self._kernel = kernel
        self._registered = registered
        self._open_surface = open_surface
        self._objects = objects

    async def start(self) -> None:
        """Have tomorrow's work done; a background loop that ends at once. Connections
        are added by the daily work for the workspace itself."""
        await self._kernel.due.schedule(KIND, _LOCAL, self._tomorrow())

    async def handle(self, subject: str) -> float | None:
        """A due row of `KIND`. The workspace's own comes again every day, and asks for
        those of the connections."""
        if subject == _LOCAL:
            await self._local()
            return self._tomorrow()
        await self._remote(subject.removeprefix(_CONNECTION))
        return None

    async def _local(self) -> None:
        connections = list(await self._registered())
        await self._purge(self._kernel.records, [each.connection_id for each in connections])
        for each in connections:
            if _is_active(each):
                subject = _CONNECTION + each.connection_id
                await self._kernel.due.schedule(KIND, subject, self._kernel.now())

    async def _remote(self, connection_id: str) -> None:
        found = [e for e in await self._registered() if e.connection_id == connection_id]
        if not found or not _is_active(found[0]):
            return
        try:
            async with self._open_surface(found[0]) as surface:
                await self._collect(surface)
        except WorkspaceError as error:
            _log.warning(
                "the surface of %s is not collected today: %s", connection_id, error.message
            )

    async def _collect(self, surface: Surface) -> None:
        if surface.read_only:
            return
        await self._purge(surface.records, [])
        if self._objects is not None:
            await self._objects(surface)

    def _tomorrow(self) -> float:
        """At the same moment for every process, so that it is one row a day."""
        return (int(self._kernel.now()) // _DAY + 1) * _DAY

    async def _purge(self, records: RecordStore, connections: list[str]) -> Purged:
        settings = self._kernel.settings
        return await purge_tombstones(
            records,
            now_ms=int(self._kernel.now() * 1000),
            connections=connections,
            retention_ms=settings.sync_retention_days * _DAY * 1000,
            lease_ms=settings.sync_node_lease_days * _DAY * 1000,
        )


def _is_active(connection: Connection) -> bool:
    return connection.status in (
        ConnectionStatus.CONNECTION_STATUS_UNSPECIFIED,
        ConnectionStatus.CONNECTION_STATUS_ACTIVE,
    )
