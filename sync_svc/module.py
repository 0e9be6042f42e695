"""Assembles the services of this package from the kernel and the peers."""

from __future__ import annotations

import os
import secrets

from workspace.sync.v1 import connection_service_pb2_grpc, sync_service_pb2_grpc

from services.kernel import Kernel, Peers, Registration, ServiceModule
from sync_svc.collection.daily import KIND, DailyCollection
from sync_svc.collection.objects import ObjectCollector
from sync_svc.conflicts.module import build_conflicts
from sync_svc.connections.assembly import build_connections
from sync_svc.engine.wiring import run_parts
from sync_svc.nodes.evicting import Evicting
from sync_svc.nodes.listing import NodeListing
from sync_svc.policy import POLICY
from sync_svc.quarantine.listing import QuarantineList
from sync_svc.quarantine.retry import QuarantineRetry
from sync_svc.runs.assembly import build_runs
from sync_svc.runs.rows import RunRows
from sync_svc.servicers.connection import ConnectionServicer
from sync_svc.servicers.sync import SyncServicer

__all__ = ["build"]

_ME = "sync_svc"


def build(kernel: Kernel, peers: Peers) -> ServiceModule:
    """The sync services of one process."""
    rows = RunRows(kernel.records, now=kernel.now)
    parts = build_connections(kernel, peers, active_run=rows.claimed_by)
    connection = ConnectionServicer(manifests=parts.manifests, testing=parts.testing)
    runs = build_runs(
        kernel, rows=rows, connections=parts.connections, open_surface=parts.opener
    )
    sync = SyncServicer(
        runs=runs,
        conflicts=build_conflicts(kernel, peers),
        quarantine=QuarantineList(kernel=kernel, connections=parts.connections),
        retry=QuarantineRetry(
            kernel=kernel, connections=parts.connections, open_pair=runs.open_pair,
            parts=run_parts,
        ),
        nodes=NodeListing(kernel=kernel, access=parts.access),
        evicting=Evicting(kernel=kernel, access=parts.access),
    )
    holder = f"{kernel.instance_id}/{os.getpid()}/{secrets.token_hex(8)}"
    daily = DailyCollection(
        kernel=kernel,
        registered=parts.connections.everything,
        open_surface=parts.opener,
        objects=ObjectCollector(holder=holder, now=kernel.now).run,
    )
    registrations = [
        Registration(
            connection_service_pb2_grpc.add_ConnectionServiceServicer_to_server,
            connection,
            "workspace.sync.v1.ConnectionService",
        ),
        Registration(
            sync_service_pb2_grpc.add_SyncServiceServicer_to_server,
            sync,
            "workspace.sync.v1.SyncService",
        ),
    ]
    return ServiceModule(
        name=_ME, registrations=registrations, policy=POLICY, due={KIND: daily.handle},
        background=runs.background,
        chores=(daily.start,),
    )
