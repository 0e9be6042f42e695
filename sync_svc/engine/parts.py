"""What a run is made of besides the engine itself; a test may give others."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Protocol

from services.model.versions import State
from services.records.port import Key
from services.records.replica import Incoming
from services.records.siblings import Rows
from sync_svc.engine.objects.needed import Moved, NeededObject
from sync_svc.engine.refusal import Refusal
from sync_svc.engine.sync_state import SyncState
from sync_svc.engine.task import Task

__all__ = ["Checked", "Checks", "Intake", "KeepAside", "Mover", "Parts", "Sorted"]


class Sorted(Protocol):
    """What came of screening rows of the remote surface. `take` may be joined here;
    `refused` names those kept in quarantine, with the reason."""

    @property
    def take(self) -> Sequence[Incoming]: ...

    @property
    def refused(self) -> Mapping[Key, Refusal]: ...


class Intake(Protocol):
    """Screening and trust (`sync_svc/engine/incoming.py`)."""

    async def sort(self, task: Task, rows: Sequence[Rows]) -> Sorted:
        """Decide, and keep aside durably what is not taken."""
        ...

    async def preview(self, task: Task, rows: Sequence[Rows]) -> Sorted:
        """The same decisions; nothing is written."""
        ...

    async def agreed(self, task: Task, keys: Sequence[Key]) -> None:
        """These records are the same on both sides: nothing is kept aside of them."""
        ...


class KeepAside(Protocol):
    """Quarantine (`sync_svc/quarantine/rows.py`)."""

    async def put_all(
        self, connection_id: str, run_id: str, refused: Sequence[tuple[Rows, Refusal]]
    ) -> None: ...

    async def clear(
        self, connection_id: str, keys: Iterable[Key], *, outgoing: bool = False
    ) -> int: ...


There = Mapping[Key, State | None]


class Mover(Protocol):
    """Objects (`sync_svc/engine/objects`)."""

    async def waiting(self, task: Task) -> list[Key]: ...

    async def settle(self, task: Task, keys: Iterable[Key]) -> None: ...

    async def fetch_pending(self, task: Task) -> int: ...

    async def send(
        self, task: Task, incoming: Sequence[Incoming], *, there: There | None = None
    ) -> Moved: ...

    async def fetch(
        self, task: Task, incoming: Sequence[Incoming], *, there: There | None = None
    ) -> Moved: ...

    async def needed(
        self, task: Task, incoming: Sequence[Incoming], *, there: There | None = None
    ) -> list[NeededObject]: ...

    async def survey(self, task: Task, needed: Sequence[NeededObject]) -> Moved: ...


class Checked(Protocol):
    """What the preflight found."""

    @property
    def full_reconcile(self) -> bool: ...


class Checks(Protocol):
    """Preflight and handshake (`sync_svc/nodes`)."""

    async def look(self, task: Task, state: SyncState) -> Checked:
        """What `preflight` would find; nothing is written."""
        ...

    async def preflight(self, task: Task, state: SyncState) -> Checked:
        """Raises SURFACE_CHANGED, INVALID_STATE. May store the sync state."""
        ...

    async def announce_export(self, task: Task) -> None:
        """The handshake: before the first write to the remote surface."""
        ...

    async def acknowledge(self, task: Task) -> None:
        """How far this node has read the remote surface: at the end of a pull."""
        ...


class Parts(Protocol):
    """All of them, for one run."""

    @property
    def intake(self) -> Intake: ...

    @property
    def aside(self) -> KeepAside: ...

    @property
    def mover(self) -> Mover: ...

    @property
    def checks(self) -> Checks: ...
