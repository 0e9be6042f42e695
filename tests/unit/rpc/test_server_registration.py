"""Registration: only what is built, nothing misspelled."""

from __future__ import annotations

from typing import Any

import grpc
import grpc.aio
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from services.rpc.local import LocalChannel, LocalServer
from services.rpc.registration import contract_methods, register, registered_methods

ADD = health_pb2_grpc.add_HealthServicer_to_server
CHECK, LIST, WATCH = (f"/grpc.health.v1.Health/{name}" for name in ("Check", "List", "Watch"))


class OnlyCheck(health_pb2_grpc.HealthServicer):
    async def Check(self, request: Any, context: Any) -> Any:  # noqa: N802
        return health_pb2.HealthCheckResponse(status=1)


class Inherits(OnlyCheck):
    async def List(self, request: Any, context: Any) -> Any:  # noqa: N802
        return health_pb2.HealthListResponse()


class Misspelled(OnlyCheck):
    async def Wach(self, request: Any, context: Any) -> Any:  # noqa: N802
        return None


def test_only_implemented_methods_are_listed() -> None:
    assert registered_methods(ADD, OnlyCheck()) == (CHECK,)
    assert registered_methods(ADD, OnlyCheck) == (CHECK,)
    assert registered_methods(ADD, Inherits) == (CHECK, LIST)
    assert registered_methods(ADD, health_pb2_grpc.HealthServicer) == ()
    assert contract_methods(ADD, OnlyCheck) == (CHECK, LIST, WATCH)


def test_misspelled_method_is_refused() -> None:
    with pytest.raises(TypeError, match=r"Misspelled\.Wach"):
        registered_methods(ADD, Misspelled)


@pytest.mark.parametrize("local", [True, False])
async def test_unbuilt_method_is_unimplemented_by_grpc_itself(local: bool) -> None:
    server: Any = LocalServer() if local else grpc.aio.server(options=[("grpc.so_reuseport", 0)])
    assert register(server, ADD, OnlyCheck()) == (CHECK,)
    port = 0 if local else server.add_insecure_port("127.0.0.1:0")
    await server.start()
    channel = (
        LocalChannel(server, service="")
        if local
        else grpc.aio.insecure_channel(f"127.0.0.1:{port}")
    )
    async with channel:
        stub = health_pb2_grpc.HealthStub(channel)
        assert (await stub.Check(health_pb2.HealthCheckRequest())).status == 1
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await stub.List(health_pb2.HealthListRequest())
    await server.stop(None)
    assert caught.value.code() is grpc.StatusCode.UNIMPLEMENTED
    assert caught.value.details() == "Method not found!"
