"""Who may call which RPC of this package at all; the use cases decide the rest.

One row for each RPC that is served, none by default: a new RPC without a row
cannot be called, and `tests/contract/test_served.py` says so.
"""

from __future__ import annotations

from services.rpc.policy import USER, Policy, rows

__all__ = ["POLICY"]

POLICY: Policy = {
    **rows(
        "workspace.sync.v1.ConnectionService",
        USER,
        "CreateConnection",
        "GetConnection",
        "ListConnections",
        "UpdateConnection",
        "DeleteConnection",
        "TestConnection",
    ),
    **rows(
        "workspace.sync.v1.SyncService",
        USER,
        "Push",
        "Pull",
        "StartSync",
        "GetRun",
        "ListRuns",
        "CancelRun",
        "WatchRun",
        "PlanSync",
        "CompareSurfaces",
        "GetSyncStatus",
        "ListConflicts",
        "GetConflict",
        "ResolveConflict",
        "ResolveProjectConflicts",
        "ListQuarantine",
        "RetryQuarantined",
        "ListNodes",
        "EvictNode",
    ),
}
