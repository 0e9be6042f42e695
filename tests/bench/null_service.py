"""The null RPC: Empty in, Empty out, so that what is measured is the way there.

The same service runs bare (the control) and behind our interceptors. It has no
.proto file, since it is no part of the contract.
"""

from __future__ import annotations

from typing import Any

import grpc
from google.protobuf import descriptor_pb2, descriptor_pool, empty_pb2

__all__ = ["FULL_NAME", "METHOD", "NullServicer", "add_null_service", "declare"]

FULL_NAME = "workspace.bench.v1.NullService"
METHOD = f"/{FULL_NAME}/Null"
_FILE = "workspace/bench/v1/null_service.proto"


class NullServicer:
    """Does nothing."""

    async def Null(self, request: empty_pb2.Empty, context: Any) -> empty_pb2.Empty:  # noqa: N802
        return empty_pb2.Empty()


def declare() -> None:
    """Put the service into the default descriptor pool (once)."""
    pool = descriptor_pool.Default()
    file = descriptor_pb2.FileDescriptorProto(
        name=_FILE, package="workspace.bench.v1", syntax="proto3",
        dependency=[empty_pb2.DESCRIPTOR.name],
    )
    service = file.service.add(name="NullService")
    empty = f".{empty_pb2.Empty.DESCRIPTOR.full_name}"
    service.method.add(name="Null", input_type=empty, output_type=empty)
    pool.AddSerializedFile(file.SerializeToString())


def add_null_service(servicer: Any, server: Any) -> None:
    """As a generated `add_..._to_server` does it."""
    handlers = {
        "Null": grpc.unary_unary_rpc_method_handler(
            servicer.Null,
            request_deserializer=empty_pb2.Empty.FromString,
            response_serializer=empty_pb2.Empty.SerializeToString,
        )
    }
    server.add_generic_rpc_handlers(
        (grpc.method_handlers_generic_handler(FULL_NAME, handlers),)
    )
    server.add_registered_method_handlers(FULL_NAME, handlers)
