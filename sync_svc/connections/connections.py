"""The registered connections: for callers, and for runs and due work."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence

from google.protobuf.timestamp_pb2 import Timestamp
from workspace.sync.v1.connection_pb2 import Connection, ConnectionStatus, SurfaceInstance

from services.records.instance import Instance
from sync_svc.connections.access import ConnectionAccess, denied
from sync_svc.connections.registry import ConnectionRegistry, Stored
from sync_svc.surfaces.surface import Surface

__all__ = ["ActiveRun", "Connections", "moment", "surface_instance"]

ActiveRun = Callable[[str], Awaitable[str]]
"""The run that has a connection and has not ended; '' when none."""

_ACTIVE = ConnectionStatus.CONNECTION_STATUS_ACTIVE
_CHANGED = ConnectionStatus.CONNECTION_STATUS_SURFACE_CHANGED


def moment(seconds: float) -> Timestamp:
    """Unix seconds as a timestamp of whole microseconds."""
    return Timestamp(seconds=int(seconds), nanos=int(seconds % 1 * 1_000_000) * 1000)


def surface_instance(instance: Instance) -> SurfaceInstance:
    """The identity of a surface as the contract tells it."""
    return SurfaceInstance(
        instance_id=instance.instance_id,
        provider_identity=instance.provider_identity,
        generation=instance.generation,
        format_version=instance.format,
        min_reader=instance.min_reader,
        min_writer=instance.min_writer,
    )


class Connections:
    """See the module. `now` is unix seconds."""

    def __init__(
        self, *, registry: ConnectionRegistry, access: ConnectionAccess, now: Callable[[], float]
    ) -> None:
        self._registry = registry
        self._access = access
        self._now = now

    async def read(self, connection_id: str) -> Connection | None:
        """A connection, whoever may use it; None when there is none."""
        found = await self._registry.get(connection_id)
        return found.edit() if found else None

    async def everything(self) -> Sequence[Connection]:
        """All connections, by id."""
        return [each.edit() for each in await self._registry.everything()]

    async def found(self, connection_id: str) -> Stored:
        """A connection that the caller may use, as it is stored. Raises
        PERMISSION_DENIED for one that is absent, too."""
        found = await self._registry.get(connection_id)
        await self._access.require(found.connection.scope if found else None, connection_id)
        if found is None:
            raise denied(connection_id)
        return found

    async def allowed(self, connection_id: str) -> Connection:
        """`found`, as a copy."""
        return (await self.found(connection_id)).edit()

    async def visible(self) -> Sequence[Connection]:
        """The connections that the caller may use, by id."""
        everything = await self.everything()
        if await self._access.is_platform_admin():
            return everything
        return [each for each in everything if await self._access.owns(each.scope)]

    async def sees_all(self) -> bool:
        """Whether the caller may use every connection, deleted ones included."""
        return await self._access.is_platform_admin()

    async def note(self, connection: Connection, *, changed: bool, surface: Surface | None) -> None:
        """Remember that the surface answered (`surface`), or that it is not the one
        that was registered (`changed`). A surface that a run went on with is the
        registered one from then on."""
        instance = surface.instance if surface else None
        await self.remember(connection.connection_id, changed=changed, instance=instance)

    async def remember(
        self, connection_id: str, *, changed: bool, instance: Instance | None
    ) -> Stored | None:
        """`note`, of what is known of the surface; the connection as it is then."""
        reached = moment(self._now())

        def edit(connection: Connection) -> None:
            if instance is not None:
                connection.last_reached_at.CopyFrom(reached)
            if changed:
                connection.status = _CHANGED if connection.status == _ACTIVE else connection.status
            elif instance is not None:
                _recognise(connection, instance)

        return await self._registry.note(connection_id, edit)


def _recognise(connection: Connection, instance: Instance) -> None:
    if connection.instance.instance_id != instance.instance_id:
        connection.instance.CopyFrom(surface_instance(instance))
    if connection.status == _CHANGED:
        connection.status = _ACTIVE
