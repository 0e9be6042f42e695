from __future__ import annotations

import pytest
from prometheus_client import REGISTRY, CollectorRegistry

from services.telemetry.metrics import RpcMetrics

LABELS = {"method": "/t.T/M", "kind": "unary"}


def test_a_call_is_counted_from_begin_to_end() -> None:
    registry = CollectorRegistry()
    calls = RpcMetrics(registry).method("/t.T/M", "unary")
    calls.started()
    calls.started()
    calls.finished("OK", 0.2)
    sample = registry.get_sample_value
    assert sample("workspace_rpc_started_total", LABELS) == 2
    assert sample("workspace_rpc_in_flight", LABELS) == 1
    assert sample("workspace_rpc_handled_total", {**LABELS, "code": "OK"}) == 1
    assert sample("workspace_rpc_duration_seconds_sum", LABELS) == pytest.approx(0.2)
    assert sample("workspace_rpc_duration_seconds_bucket", {**LABELS, "le": "0.1"}) == 0
    assert sample("workspace_rpc_duration_seconds_bucket", {**LABELS, "le": "0.25"}) == 1


def test_registries_are_apart_and_none_is_global() -> None:
    first, second = CollectorRegistry(), CollectorRegistry()
    RpcMetrics(first).method("/t.T/M", "unary").started()
    RpcMetrics(second)
    assert first.get_sample_value("workspace_rpc_started_total", LABELS) == 1
    assert second.get_sample_value("workspace_rpc_started_total", LABELS) is None
    assert not [f.name for f in REGISTRY.collect() if f.name.startswith("workspace_")]
