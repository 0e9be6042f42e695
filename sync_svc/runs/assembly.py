"""Runs, plans and statuses, put together from their parts."""

from __future__ import annotations

import os
import secrets
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass

from services.kernel import Kernel
from services.telemetry.sync import SyncMetrics
from sync_svc.engine.plan import Plan as EnginePlan
from sync_svc.engine.pull import pull
from sync_svc.engine.push import push
from sync_svc.engine.sync_state import SyncStates
from sync_svc.engine.task import Task
from sync_svc.engine.wiring import run_parts
from sync_svc.runs.bells import Bells
from sync_svc.runs.comparing import Comparing
from sync_svc.runs.history import History
from sync_svc.runs.housekeeping import Housekeeping
from sync_svc.runs.leftovers import Leftovers
from sync_svc.runs.manager import RunManager
from sync_svc.runs.pairs import Pairs
from sync_svc.runs.planning import Planned, Planning
from sync_svc.runs.plans import Plans
from sync_svc.runs.ports import Connections, Engine
from sync_svc.runs.rows import RunRows
from sync_svc.runs.starting import Starting
from sync_svc.runs.status import SyncStatuses
from sync_svc.runs.watching import Watching
from sync_svc.runs.worker import Parts
from sync_svc.surfaces.surface import OpenSurface

__all__ = ["RunCases", "build_runs"]


@dataclass(frozen=True, slots=True)
class RunCases:
    """What the servicer of SyncService calls, and the loops behind it."""

    starting: Starting
    watching: Watching
    history: History
    planning: Planning
    comparing: Comparing
    open_pair: Pairs
    statuses: SyncStatuses
    background: Sequence[Callable[[], Awaitable[None]]]


def build_runs(
    kernel: Kernel, *, rows: RunRows, connections: Connections, open_surface: OpenSurface
) -> RunCases:
    """The use cases of one process."""
    bells, pairs = Bells(), Pairs(kernel=kernel, open_surface=open_surface)
    metrics, leftovers = SyncMetrics(kernel.metrics), Leftovers(kernel.records)
    parts = Parts(
        kernel=kernel, rows=rows, bells=bells, connections=connections, open_pair=pairs,
        engine=Engine(push=push, pull=pull), leftovers=leftovers.any, ended=metrics.ended,
        holder=f"{kernel.instance_id}/{os.getpid()}/{secrets.token_hex(8)}",
    )
    manager = RunManager(parts)
    starting = Starting(kernel=kernel, rows=rows, manager=manager, connections=connections)
    history = History(
        kernel=kernel, manager=manager, starting=starting, connections=connections
    )
    statuses = SyncStatuses(
        kernel=kernel, rows=rows, history=history, connections=connections,
        states=SyncStates(kernel.records), leftovers=leftovers,
    )
    planning = Planning(
        kernel=kernel, connections=connections, open_pair=pairs, planner=_planned, plans=Plans()
    )
    comparing = Comparing(kernel=kernel, connections=connections, open_pair=pairs)
    keeping = Housekeeping(
        connections=connections, statuses=statuses, history=history, metrics=metrics
    )
    return RunCases(
        starting=starting,
        watching=Watching(
            kernel=kernel, rows=rows, bells=bells, manager=manager, starting=starting
        ),
        history=history,
        planning=planning,
        comparing=comparing,
        open_pair=pairs,
        statuses=statuses,
        background=(manager.run, keeping.run, planning.run, comparing.run),
    )


def _planned(task: Task) -> Planned:
    return EnginePlan(task, run_parts(task))
