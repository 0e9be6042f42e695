"""Prometheus metrics of served calls, in a registry that is passed in.

`workspace_rpc_started_total{method,kind}`,
`workspace_rpc_handled_total{method,kind,code}`,
`workspace_rpc_in_flight{method,kind}`,
`workspace_rpc_duration_seconds{method,kind}`. Labels hold registered methods
only, so their number is bounded.
"""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

__all__ = ["DURATION_BUCKETS", "MethodMetrics", "RpcMetrics"]

# Seconds. From a point read over the local channel to the longest stream.
DURATION_BUCKETS = (
    0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 120, 900,
)  # fmt: skip


class MethodMetrics:
    """The children of one method, looked up once."""

    __slots__ = ("_codes", "_duration", "_handled", "_in_flight", "_labels", "_started")

    def __init__(self, metrics: RpcMetrics, method: str, kind: str) -> None:
        self._labels = (method, kind)
        self._started = metrics.started.labels(method, kind)
        self._in_flight = metrics.in_flight.labels(method, kind)
        self._duration = metrics.duration.labels(method, kind)
        self._handled = metrics.handled
        self._codes: dict[str, Counter] = {}

    def started(self) -> None:
        """A call began."""
        self._started.inc()
        self._in_flight.inc()

    def finished(self, code: str, seconds: float) -> None:
        """A call ended with a status code name after `seconds`."""
        self._in_flight.dec()
        self._duration.observe(seconds)
        handled = self._codes.get(code)
        if handled is None:
            handled = self._codes[code] = self._handled.labels(*self._labels, code)
        handled.inc()


class RpcMetrics:
    """The metric families of served calls. One per registry."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.started = Counter(
            "workspace_rpc_started", "Calls begun.", ("method", "kind"), registry=registry
        )
        self.handled = Counter(
            "workspace_rpc_handled",
            "Calls ended, by status code.",
            ("method", "kind", "code"),
            registry=registry,
        )
        self.in_flight = Gauge(
            "workspace_rpc_in_flight",
            "Calls being served now.",
            ("method", "kind"),
            registry=registry,
        )
        self.duration = Histogram(
            "workspace_rpc_duration_seconds",
            "Time from begin to end of a call.",
            ("method", "kind"),
            buckets=DURATION_BUCKETS,
            registry=registry,
        )
        self._methods: dict[tuple[str, str], MethodMetrics] = {}

    def method(self, method: str, kind: str) -> MethodMetrics:
        """The metrics of one method; `kind` is unary, server_stream, ..."""
        key = (method, kind)
        if key not in self._methods:
            self._methods[key] = MethodMetrics(self, method, kind)
        return self._methods[key]
