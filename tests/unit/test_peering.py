"""Whom a process calls, and how: inside, over the network, or not at all."""

from __future__ import annotations

import grpc
import grpc.aio
import pytest
from workspace.storage.v1.storage_service_pb2 import GetHomeUsageRequest
from workspace.storage.v1.storage_service_pb2_grpc import StorageServiceStub

from services.model.errors import WorkspaceError
from services.processes.peering import Peering
from services.processes.targets import SERVICES, Target, Targets
from services.rpc.local import LocalServer
from services.settings import Settings


def peering(target: str, **peers: str) -> Peering:
    settings = Settings(targets=target, **{f"peer_{name}": at for name, at in peers.items()})  # type: ignore[arg-type]
    local = None if target == "gateway" else LocalServer()
    return Peering(settings, Targets.parse(target), local=local)


@pytest.mark.parametrize("target", sorted(set(Target) - {Target.GATEWAY}))
async def test_every_package_is_built_with_the_addresses_of_the_table(target: Target) -> None:
    """A process of sync builds what project is made of too, and never calls storage."""
    called = {str(each): "127.0.0.1:1" for each in Targets.parse(target).peers}
    peers = peering(target, **called)
    for other in sorted(SERVICES - {Target.SYNC}):
        assert peers.channel(other, asking=f"{target}_svc") is not None
    await peers.close()


async def test_who_is_not_called_here_is_not_reached() -> None:
    peers = peering("sync", identity="127.0.0.1:1", project="127.0.0.1:1")
    stub = StorageServiceStub(peers.channel("storage", asking="project_svc"))
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await stub.GetHomeUsage(GetHomeUsageRequest())
    assert caught.value.code() is grpc.StatusCode.UNIMPLEMENTED
    await peers.close()


async def test_who_is_called_needs_an_address() -> None:
    with pytest.raises(WorkspaceError, match="WM_PEER_IDENTITY"):
        peering("sync").channel("identity", asking="sync_svc")
    with pytest.raises(WorkspaceError, match="WM_PEER_STORAGE"):
        peering("gateway").channel("storage", asking="")
