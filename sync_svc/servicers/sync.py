"""SyncService: requests in, use cases called, answers out."""

# ruff: noqa: N802 - the contract names the methods

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import aclosing
from typing import Any

from workspace.sync.v1 import sync_service_pb2 as pb
from workspace.sync.v1.sync_service_pb2_grpc import SyncServiceServicer

from sync_svc.conflicts.module import ConflictCases
from sync_svc.nodes.evicting import Evicting
from sync_svc.nodes.listing import NodeListing
from sync_svc.quarantine.listing import QuarantineList
from sync_svc.quarantine.retry import QuarantineRetry
from sync_svc.runs.assembly import RunCases

__all__ = ["SyncServicer"]


class SyncServicer(SyncServiceServicer):
    """Each method is a call of a use case."""

    def __init__(
        self, *, runs: RunCases, conflicts: ConflictCases, quarantine: QuarantineList,
        retry: QuarantineRetry, nodes: NodeListing, evicting: Evicting,
    ) -> None:  # fmt: skip
        self._runs = runs
        self._conflicts = conflicts
        self._quarantine = quarantine
        self._retry = retry
        self._nodes = nodes
        self._evicting = evicting

    async def Push(self, request: pb.PushRequest, _: Any) -> AsyncIterator[pb.PushResponse]:
        async with aclosing(self._runs.watching.push(request)) as messages:
            async for message in messages:
                yield message

    async def Pull(self, request: pb.PullRequest, _: Any) -> AsyncIterator[pb.PullResponse]:
        async with aclosing(self._runs.watching.pull(request)) as messages:
            async for message in messages:
                yield message

    async def StartSync(self, request: pb.StartSyncRequest, _: Any) -> pb.StartSyncResponse:
        return await self._runs.starting.start(request, request.direction)

    async def GetRun(self, request: pb.GetRunRequest, _: Any) -> pb.GetRunResponse:
        return await self._runs.history.get(request)

    async def ListRuns(self, request: pb.ListRunsRequest, _: Any) -> pb.ListRunsResponse:
        return await self._runs.history.list(request)

    async def CancelRun(self, request: pb.CancelRunRequest, _: Any) -> pb.CancelRunResponse:
        return await self._runs.starting.cancel(request)

    async def WatchRun(
        self, request: pb.WatchRunRequest, _: Any
    ) -> AsyncIterator[pb.WatchRunResponse]:
        async with aclosing(self._runs.watching.watch(request)) as messages:
            async for message in messages:
                yield message

    async def PlanSync(self, request: pb.PlanSyncRequest, _: Any) -> pb.PlanSyncResponse:
        return await self._runs.planning.plan(request)

    async def CompareSurfaces(
        self, request: pb.CompareSurfacesRequest, _: Any
    ) -> pb.CompareSurfacesResponse:
        return await self._runs.comparing.compare(request)

    async def GetSyncStatus(
        self, request: pb.GetSyncStatusRequest, _: Any
    ) -> pb.GetSyncStatusResponse:
        return await self._runs.statuses.get(request)

    async def ListQuarantine(
        self, request: pb.ListQuarantineRequest, _: Any
    ) -> pb.ListQuarantineResponse:
        return await self._quarantine.list(request)

    async def RetryQuarantined(
        self, request: pb.RetryQuarantinedRequest, _: Any
    ) -> pb.RetryQuarantinedResponse:
        return await self._retry.retry(request)

    async def ListNodes(self, request: pb.ListNodesRequest, _: Any) -> pb.ListNodesResponse:
        return await self._nodes.list(request)

    async def EvictNode(self, request: pb.EvictNodeRequest, _: Any) -> pb.EvictNodeResponse:
        return await self._evicting.evict(request)

    async def ListConflicts(
        self, request: pb.ListConflictsRequest, _: Any
    ) -> pb.ListConflictsResponse:
        return await self._conflicts.conflicts.page(request)

    async def GetConflict(self, request: pb.GetConflictRequest, _: Any) -> pb.GetConflictResponse:
        return await self._conflicts.conflicts.get(request)

    async def ResolveConflict(
        self, request: pb.ResolveConflictRequest, _: Any
    ) -> pb.ResolveConflictResponse:
        return await self._conflicts.resolving.resolve(request)

    async def ResolveProjectConflicts(
        self, request: pb.ResolveProjectConflictsRequest, _: Any
    ) -> pb.ResolveProjectConflictsResponse:
        return await self._conflicts.project.resolve(request)
