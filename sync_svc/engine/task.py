"""One run as the engine sees it: what to do, between what, and what came of it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from workspace.sync.v1.connection_pb2 import Connection
from workspace.sync.v1.run_pb2 import RunCounts, RunPhase, SyncDirection, SyncOptions

from sync_svc.nodes.rows import LEASE_MS
from sync_svc.surfaces.surface import Surface

__all__ = ["Stopped", "Tally", "Task"]


class Stopped(Exception):
    """The run was asked to stop; what was committed stays."""


@dataclass(slots=True)
class Tally:
    """Written by the engine, read by whoever shows progress. `seconds` per phase.
    `pending` and `waiting`: versions whose objects are still to come."""

    counts: RunCounts = field(default_factory=RunCounts)
    phase: RunPhase.ValueType = RunPhase.RUN_PHASE_UNSPECIFIED
    seconds: dict[RunPhase.ValueType, float] = field(default_factory=dict)
    full_reconcile: bool = False


@dataclass(frozen=True, slots=True)
class Task:
    """See the module. `now_ms` is unix milliseconds, `monotonic` seconds of a clock
    that never jumps; `stop` says whether the run was asked to end. `lease_ms`: how long
    collection waits for an incarnation of a node that another one followed."""

    run_id: str
    direction: SyncDirection.ValueType
    connection: Connection
    options: SyncOptions
    local: Surface
    remote: Surface
    tally: Tally
    now_ms: Callable[[], int]
    monotonic: Callable[[], float]
    stop: Callable[[], bool]
    lease_ms: int = LEASE_MS

    @property
    def source(self) -> Surface:
        """Where versions come from."""
        push = self.direction == SyncDirection.SYNC_DIRECTION_PUSH
        return self.local if push else self.remote

    @property
    def target(self) -> Surface:
        """Where versions go."""
        push = self.direction == SyncDirection.SYNC_DIRECTION_PUSH
        return self.remote if push else self.local

    def check(self) -> None:
        """Raises Stopped when the run was asked to end; call it between batches."""
        if self.stop():
            raise Stopped
