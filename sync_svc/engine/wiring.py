"""The parts of a run as they are: made anew for each, since they remember things."""

from __future__ import annotations

from dataclasses import dataclass

from sync_svc.engine.incoming import Intake
from sync_svc.engine.objects import ObjectMover
from sync_svc.engine.parts import Parts
from sync_svc.engine.task import Task
from sync_svc.nodes.checks import NodeChecks
from sync_svc.nodes.second_life import suspect
from sync_svc.quarantine.rows import Quarantine

__all__ = ["RunParts", "run_parts"]


@dataclass(frozen=True, slots=True)
class RunParts:
    """See `sync_svc/engine/parts.py`."""

    intake: Intake
    aside: Quarantine
    mover: ObjectMover
    checks: NodeChecks


def run_parts(task: Task) -> Parts:
    """The parts of one run."""
    aside = Quarantine(task.local.records, task.now_ms())
    return RunParts(Intake(aside, suspect=suspect), aside, ObjectMover(), NodeChecks())
