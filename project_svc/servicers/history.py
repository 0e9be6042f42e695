"""The gRPC surface of history."""

# ruff: noqa: N802 - the contract names the methods

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Any

from workspace.project.v1 import history_service_pb2 as pb
from workspace.project.v1.history_service_pb2_grpc import HistoryServiceServicer

from project_svc.history.activity import ActivityLists
from project_svc.history.history import History
from project_svc.history.verify_activity import ActivityCheck
from project_svc.history.watch_events import WatchedEvents
from project_svc.history.webhooks import Webhooks

__all__ = ["HistoryServicer"]


class HistoryServicer(HistoryServiceServicer):
    """Answers HistoryService from the use cases."""

    def __init__(
        self,
        *,
        history: History,
        activity: ActivityLists,
        check: ActivityCheck,
        watched: WatchedEvents,
        webhooks: Webhooks,
    ) -> None:
        self._history = history
        self._activity = activity
        self._check = check
        self._watched = watched
        self._webhooks = webhooks

    async def ListMetadataRecords(
        self, request: pb.ListMetadataRecordsRequest, _: Any
    ) -> pb.ListMetadataRecordsResponse:
        return await self._history.records(request)

    async def AppendMetadataRecord(
        self, request: pb.AppendMetadataRecordRequest, _: Any
    ) -> pb.AppendMetadataRecordResponse:
        return await self._history.append(request)

    async def CreateWriteEvent(
        self, request: pb.CreateWriteEventRequest, _: Any
    ) -> pb.CreateWriteEventResponse:
        return await self._history.write(request)

    async def ListWriteEvents(
        self, request: pb.ListWriteEventsRequest, _: Any
    ) -> pb.ListWriteEventsResponse:
        return await self._history.writes(request)

    async def ListActivity(
        self, request: pb.ListActivityRequest, _: Any
    ) -> pb.ListActivityResponse:
        return await self._activity.list(request)

    async def VerifyActivity(
        self, request: pb.VerifyActivityRequest, _: Any
    ) -> pb.VerifyActivityResponse:
        return await self._check.verify(request)

    async def ListActivityCheckpoints(
        self, request: pb.ListActivityCheckpointsRequest, _: Any
    ) -> pb.ListActivityCheckpointsResponse:
        return await self._check.checkpoints(request)

    async def ListActivityProofs(
        self, request: pb.ListActivityProofsRequest, _: Any
    ) -> pb.ListActivityProofsResponse:
        return await self._check.proofs(request)

    async def WatchEvents(
        self, request: pb.WatchEventsRequest, _: Any
    ) -> AsyncGenerator[pb.WatchEventsResponse, None]:
        async with aclosing(self._watched.watch(request)) as messages:
            async for message in messages:
                yield message

    async def CreateWebhook(
        self, request: pb.CreateWebhookRequest, _: Any
    ) -> pb.CreateWebhookResponse:
        return await self._webhooks.create(request)

    async def ListWebhooks(
        self, request: pb.ListWebhooksRequest, _: Any
    ) -> pb.ListWebhooksResponse:
        return await self._webhooks.list(request)

    async def DeleteWebhook(
        self, request: pb.DeleteWebhookRequest, _: Any
    ) -> pb.DeleteWebhookResponse:
        return await self._webhooks.delete(request)
