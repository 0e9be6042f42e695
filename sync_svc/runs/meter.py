"""How fast a run is, and how long it will take: samples of its tally."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from datetime import timedelta

from google.protobuf.timestamp_pb2 import Timestamp
from workspace.sync.v1.run_pb2 import PhaseTiming, Progress, Run, RunCounts, RunPhase

from sync_svc.engine.task import Tally
from sync_svc.runs.rows import moment
from sync_svc.runs.states import summed

__all__ = ["Meter"]

_WINDOW_SECONDS = 5.0


class Meter:
    """Makes Progress of a tally. `before` is how far the run was when an earlier
    process left it; `now` is unix seconds, `monotonic` seconds that never jump."""

    def __init__(
        self,
        tally: Tally,
        *,
        before: Progress | None,
        now: Callable[[], float],
        monotonic: Callable[[], float],
    ) -> None:
        self._tally = tally
        self._before = before.run if before is not None else Run()
        self._now = now
        self._monotonic = monotonic
        self._samples: deque[tuple[float, int, int]] = deque()
        self._first_seen: dict[int, Timestamp] = {
            each.phase: each.started_at for each in self._before.timings
        }
        self._began = self._before.started_at
        if not self._before.HasField("started_at"):
            self._began = moment(now())

    @property
    def started_at(self) -> Timestamp:
        """When the first process began to work on the run."""
        return self._began

    @property
    def counts(self) -> RunCounts:
        """What the run did, in all processes."""
        return summed(self._before.counts, self._tally.counts)

    def fill(self, run: Run) -> None:
        """Set what is measured on `run`."""
        run.phase = self._tally.phase or self._before.phase
        run.counts.CopyFrom(self.counts)
        run.started_at.CopyFrom(self._began)
        del run.timings[:]
        run.timings.extend(self._timings())

    def sample(self) -> Progress:
        """How far it is now. Call it a few times a second."""
        tally, at = self._tally, self._monotonic()
        if tally.phase and tally.phase not in self._first_seen:
            self._first_seen[tally.phase] = moment(self._now())
        done, size = tally.counts.records_done, tally.counts.bytes_done
        self._samples.append((at, done, size))
        while len(self._samples) > 2 and at - self._samples[0][0] > _WINDOW_SECONDS:
            self._samples.popleft()
        progress = Progress()
        self.fill(progress.run)
        since = at - self._samples[0][0]
        if since > 0:
            progress.records_per_second = (done - self._samples[0][1]) / since
            progress.bytes_per_second = (size - self._samples[0][2]) / since
        self._estimate(progress)
        return progress

    def _estimate(self, progress: Progress) -> None:
        counts, left = progress.run.counts, []
        records = counts.records_planned - counts.records_done
        size = counts.bytes_planned - counts.bytes_done
        for amount, rate in (
            (records, progress.records_per_second), (size, progress.bytes_per_second)
        ):  # fmt: skip
            if amount > 0 and rate <= 0:
                return
            if amount > 0:
                left.append(amount / rate)
        if left:
            progress.remaining.FromTimedelta(timedelta(seconds=round(max(left), 1)))

    def _timings(self) -> list[PhaseTiming]:
        seconds = {each.phase: each.duration.ToTimedelta() for each in self._before.timings}
        for phase, spent in self._tally.seconds.items():
            seconds[phase] = seconds.get(phase, timedelta()) + timedelta(seconds=spent)
        timings = []
        for phase in sorted(seconds):
            if phase == RunPhase.RUN_PHASE_UNSPECIFIED:
                continue
            timing = PhaseTiming(phase=phase, started_at=self._first_seen.get(phase))
            timing.duration.FromTimedelta(seconds[phase])
            timings.append(timing)
        return timings
