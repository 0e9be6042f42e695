"""Prometheus metrics of sync, in a registry that is passed in.

By connection id: how far each is (`workspace_sync_records_to_push`,
`..._push_lag_seconds`, `..._pull_lag_seconds`, `..._open_conflicts`,
`..._quarantined`, `..._pending_bytes`, `..._last_success_timestamp_seconds`), and
what runs did (`workspace_sync_runs_total`, `..._records_total`, `..._bytes_total`,
`..._retries_total`). Names of connections and people are no labels.
"""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
from workspace.sync.v1.run_pb2 import Run, RunStatus, SyncDirection
from workspace.sync.v1.status_pb2 import ConnectionSyncStatus, SyncHealth

__all__ = ["SyncMetrics"]

_SECONDS = (0.1, 0.5, 1, 5, 15, 60, 300, 1800, 7200, 43_200)
_SUCCEEDED = frozenset(
    {RunStatus.RUN_STATUS_SUCCEEDED, RunStatus.RUN_STATUS_SUCCEEDED_WITH_ISSUES}
)


class SyncMetrics:
    """See the module. One per registry."""

    def __init__(self, registry: CollectorRegistry) -> None:
        by, way = ("connection",), ("connection", "direction")

        def gauge(name: str, text: str, labels: tuple[str, ...] = by) -> Gauge:
            return Gauge(f"workspace_sync_{name}", text, labels, registry=registry)

        def counter(name: str, text: str, labels: tuple[str, ...] = way) -> Counter:
            return Counter(f"workspace_sync_{name}", text, labels, registry=registry)

        self.to_push = gauge("records_to_push", "Records changed here and not pushed yet.")
        self.push_lag = gauge("push_lag_seconds", "Age of the oldest record to push.")
        self.pull_lag = gauge("pull_lag_seconds", "Time since the last complete pull.")
        self.conflicts = gauge("open_conflicts", "Conflicts that wait for a decision.")
        self.quarantined = gauge("quarantined", "Records in quarantine.")
        self.pending = gauge("pending_bytes", "Versions whose objects are still to come.")
        self.health = gauge("health", "1 for the health that a connection has.", (*by, "health"))
        self.success = gauge("last_success_timestamp_seconds", "End of the last good run.", way)
        self.runs = counter("runs", "Runs that ended.", (*way, "outcome"))
        self.records = counter("records", "Records written on the target.")
        self.bytes = counter("bytes", "Bytes of objects moved.")
        self.retries = counter("retries", "Provider calls repeated.")
        self.seconds = Histogram(
            "workspace_sync_run_seconds", "Time of a run.", ("direction", "outcome"),
            buckets=_SECONDS, registry=registry,
        )
        self._known: set[str] = set()

    def ended(self, run: Run) -> None:
        """A run ended in this process."""
        direction = _word(SyncDirection.Name(run.direction), "SYNC_DIRECTION_")
        outcome = _word(RunStatus.Name(run.status), "RUN_STATUS_")
        labels = (run.connection_id, direction)
        self.runs.labels(*labels, outcome).inc()
        self.records.labels(*labels).inc(run.counts.records_written)
        self.bytes.labels(*labels).inc(run.counts.bytes_done)
        self.retries.labels(*labels).inc(run.counts.retries)
        spent = run.finished_at.ToNanoseconds() - run.started_at.ToNanoseconds()
        self.seconds.labels(direction, outcome).observe(max(spent, 0) / 1e9)
        if run.status in _SUCCEEDED:
            self.success.labels(*labels).set(run.finished_at.ToNanoseconds() / 1e9)

    def observed(self, statuses: list[ConnectionSyncStatus]) -> None:
        """Where all connections stand; those that are gone are shown no more."""
        for each in statuses:
            self._observe(each)
        here = {each.connection_id for each in statuses}
        for gone in self._known - here:
            self._forget(gone)
        self._known = here

    def _observe(self, status: ConnectionSyncStatus) -> None:
        connection = status.connection_id
        self.to_push.labels(connection).set(status.records_to_push)
        self.push_lag.labels(connection).set(status.push_lag.ToNanoseconds() / 1e9)
        self.pull_lag.labels(connection).set(status.pull_lag.ToNanoseconds() / 1e9)
        self.conflicts.labels(connection).set(status.open_conflicts)
        self.quarantined.labels(connection).set(status.quarantined)
        self.pending.labels(connection).set(status.bytes_pending)
        for number in SyncHealth.values():
            if number:
                word = _word(SyncHealth.Name(number), "SYNC_HEALTH_")
                self.health.labels(connection, word).set(status.health == number)

    def _forget(self, connection: str) -> None:
        for gauge in (
            self.to_push, self.push_lag, self.pull_lag, self.conflicts, self.quarantined,
            self.pending, self.health, self.success,
        ):  # fmt: skip
            gauge.remove_by_labels({"connection": connection})


def _word(name: str, prefix: str) -> str:
    return name.removeprefix(prefix).lower()
