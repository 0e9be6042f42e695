"""ConnectionService: requests in, use cases called, answers out."""

# ruff: noqa: N802 - the contract names the methods

from __future__ import annotations

from typing import Any

from workspace.sync.v1 import connection_service_pb2 as pb
from workspace.sync.v1.connection_service_pb2_grpc import ConnectionServiceServicer

from sync_svc.connections.manifests import Manifests
from sync_svc.connections.testing import Testing

__all__ = ["ConnectionServicer"]


class ConnectionServicer(ConnectionServiceServicer):
    """Each method is a call of a use case."""

    def __init__(self, *, manifests: Manifests, testing: Testing) -> None:
        self._manifests = manifests
        self._testing = testing

    async def CreateConnection(
        self, request: pb.CreateConnectionRequest, _: Any
    ) -> pb.CreateConnectionResponse:
        return await self._manifests.create(request)

    async def GetConnection(
        self, request: pb.GetConnectionRequest, _: Any
    ) -> pb.GetConnectionResponse:
        return await self._manifests.get(request)

    async def ListConnections(
        self, request: pb.ListConnectionsRequest, _: Any
    ) -> pb.ListConnectionsResponse:
        return await self._manifests.list(request)

    async def UpdateConnection(
        self, request: pb.UpdateConnectionRequest, _: Any
    ) -> pb.UpdateConnectionResponse:
        return await self._manifests.update(request)

    async def DeleteConnection(
        self, request: pb.DeleteConnectionRequest, _: Any
    ) -> pb.DeleteConnectionResponse:
        return await self._manifests.delete(request)

    async def TestConnection(
        self, request: pb.TestConnectionRequest, _: Any
    ) -> pb.TestConnectionResponse:
        return await self._testing.test(request)
