"""What runs stand on: the connections, the surfaces, the engine."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import Protocol

from workspace.sync.v1.connection_pb2 import Connection
from workspace.sync.v1.run_pb2 import SyncOptions

from sync_svc.engine.task import Tally, Task
from sync_svc.surfaces.surface import Surface

__all__ = ["Connections", "Engine", "OpenPair"]


class Connections(Protocol):
    """The registered connections, as background work and as the caller sees them."""

    async def read(self, connection_id: str) -> Connection | None:
        """A connection, whoever may use it; None when there is none."""
        ...

    async def everything(self) -> Sequence[Connection]:
        """All connections, by id."""
        ...

    async def allowed(self, connection_id: str) -> Connection:
        """A connection that the caller may use. Raises PERMISSION_DENIED for one that
        is absent, too."""
        ...

    async def visible(self) -> Sequence[Connection]:
        """The connections that the caller may use, by id."""
        ...

    async def sees_all(self) -> bool:
        """Whether the caller may use every connection, deleted ones included."""
        ...

    async def note(self, connection: Connection, *, changed: bool, surface: Surface | None) -> None:
        """Remember that the surface answered (`surface`), or that it is not the one
        that was registered (`changed`)."""
        ...


class OpenPair(Protocol):
    """Opens this workspace and the surface of a connection for one piece of work."""

    def __call__(
        self, connection: Connection, *, tally: Tally, options: SyncOptions, read_only: bool = False
    ) -> AbstractAsyncContextManager[tuple[Surface, Surface]]:
        """(local, remote), the remote one limited as the options say. Raises what
        OpenSurface raises."""
        ...


@dataclass(frozen=True, slots=True)
class Engine:
    """The work itself. Both raise WorkspaceError and Stopped, and write the tally."""

    push: Callable[[Task], Awaitable[None]]
    pull: Callable[[Task], Awaitable[None]]
