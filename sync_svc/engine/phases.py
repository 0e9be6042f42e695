"""Which phase a run is in, and the time that each took."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from workspace.sync.v1.run_pb2 import RunPhase

from sync_svc.engine.task import Task

__all__ = ["phase"]


@contextmanager
def phase(task: Task, which: RunPhase.ValueType) -> Iterator[None]:
    """Be in a phase; the one before comes back at the end, unless an error ends the run
    in this one. Its time is its own: that of a phase inside it is not counted twice."""
    tally, before = task.tally, task.tally.phase
    begin = task.monotonic()
    inside = sum(tally.seconds.values())
    tally.phase, ended = which, False
    try:
        yield
        ended = True
    finally:
        spent = task.monotonic() - begin - (sum(tally.seconds.values()) - inside)
        tally.seconds[which] = tally.seconds.get(which, 0.0) + spent
        if ended:
            tally.phase = before or which
