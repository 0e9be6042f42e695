"""The gRPC surface of history."""

# ruff: noqa: N802 - the contract names the methods

from __future__ import annotations

from typing import Any

from workspace.project.v1 import history_service_pb2 as pb
from workspace.project.v1.history_service_pb2_grpc import HistoryServiceServicer

from project_svc.activity import ActivityLists
from project_svc.history import History

__all__ = ["HistoryServicer"]


class HistoryServicer(HistoryServiceServicer):
    """Answers HistoryService from the use cases."""

    def __init__(self, *, history: History, activity: ActivityLists) -> None:
        self._history = history
        self._activity = activity

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
