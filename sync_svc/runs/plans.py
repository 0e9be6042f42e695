"""Finished plans, kept for a while so that their pages can be read.

A plan may have as many lines as there are records: it lies in a file without a name
(gone with the process), with eight bytes of memory a line.
"""

from __future__ import annotations

import hashlib
import os
import tempfile
import time
from array import array
from collections import OrderedDict
from collections.abc import Callable, Sequence

from workspace.sync.v1.plan_pb2 import PlannedOperation, PlanSummary

__all__ = ["Plan", "Plans"]

_KEPT_SECONDS = 600.0
_MOST_PLANS = 32


class Plan:
    """The lines of one plan. Add all, set the summary, then read."""

    def __init__(self) -> None:
        self._file = tempfile.TemporaryFile(prefix="workspace-plan-")  # noqa: SIM115 - closed by close
        self._ends = array("Q")
        self._lines = hashlib.sha256()
        self.summary = PlanSummary()

    def __len__(self) -> int:
        return len(self._ends)

    def add(self, operation: PlannedOperation) -> None:
        """One more line, in the order of the run."""
        data = operation.SerializeToString(deterministic=True)
        self._lines.update(len(data).to_bytes(8, "big") + data)
        self._file.write(data)
        self._ends.append((self._ends[-1] if self._ends else 0) + len(data))

    @property
    def digest(self) -> str:
        """What plans of the same lines have in common, and no others: hex."""
        return self._lines.hexdigest()

    def page(self, at: int, count: int) -> list[PlannedOperation]:
        """Lines from number `at` on."""
        ends = self._ends[at : at + count]
        if not ends:
            return []
        self._file.flush()
        start = self._ends[at - 1] if at else 0
        data = os.pread(self._file.fileno(), ends[-1] - start, start)
        cuts = [0, *(end - start for end in ends)]
        return [
            PlannedOperation.FromString(data[cuts[i] : cuts[i + 1]]) for i in range(len(ends))
        ]

    def close(self) -> None:
        """Let go of the file."""
        self._file.close()


class Plans:
    """The latest plans by id, each for some minutes after its last use. `monotonic`
    is in seconds."""

    def __init__(
        self,
        *,
        kept_seconds: float = _KEPT_SECONDS,
        most: int = _MOST_PLANS,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._kept_seconds = kept_seconds
        self._most = most
        self._monotonic = monotonic
        self._plans: OrderedDict[str, tuple[Plan, float]] = OrderedDict()

    def keep(self, plan_id: str, plan: Plan) -> None:
        """Keep a plan; older ones may go for it."""
        self._plans[plan_id] = (plan, self._monotonic())
        while len(self._plans) > self._most:
            self._drop(next(iter(self._plans)))
        self._drop_old()

    def find(self, plan_id: str) -> Plan | None:
        """The plan, if it is still here."""
        self._drop_old()
        found = self._plans.get(plan_id)
        if found is None:
            return None
        self._plans[plan_id] = (found[0], self._monotonic())
        self._plans.move_to_end(plan_id)
        return found[0]

    def close(self) -> None:
        """Drop all."""
        for plan_id in list(self._plans):
            self._drop(plan_id)

    def _drop_old(self) -> None:
        too_old = self._monotonic() - self._kept_seconds
        old: Sequence[str] = [name for name, (_, used) in self._plans.items() if used < too_old]
        for name in old:
            self._drop(name)

    def _drop(self, plan_id: str) -> None:
        plan, _ = self._plans.pop(plan_id)
        plan.close()
