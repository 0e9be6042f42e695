"""The contract as the generated descriptors have it, and calls by method name."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

import grpc
import grpc.aio
from google.api import annotations_pb2
from google.protobuf.descriptor import MethodDescriptor
from google.protobuf.descriptor_pb2 import MethodOptions
from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass

ROOT = Path(__file__).parents[2]
PROTOS = ROOT / "protos"


@dataclass(frozen=True)
class Rpc:
    """One RPC of the contract."""

    descriptor: MethodDescriptor

    @property
    def path(self) -> str:
        """`/package.Service/Method`."""
        service = self.descriptor.containing_service.full_name
        return f"/{service}/{self.descriptor.name}"

    @property
    def name(self) -> str:
        return str(self.descriptor.name)

    @property
    def streams(self) -> bool:
        return bool(self.descriptor.server_streaming)

    @property
    def mutates(self) -> bool:
        level = self.descriptor.GetOptions().idempotency_level
        return bool(level == MethodOptions.IDEMPOTENT)

    @property
    def http(self) -> tuple[str, str]:
        """Verb and path template of the annotation."""
        rule = self.descriptor.GetOptions().Extensions[annotations_pb2.http]
        verb = rule.WhichOneof("pattern") or ""
        return verb.upper(), getattr(rule, verb) if verb else ""

    @property
    def internal(self) -> bool:
        return self.http[1].startswith("/internal/")

    @property
    def request(self) -> type[Message]:
        return GetMessageClass(self.descriptor.input_type)

    @property
    def response(self) -> type[Message]:
        return GetMessageClass(self.descriptor.output_type)

    async def __call__(self, channel: grpc.aio.Channel, request: Message) -> Message:
        """Call over `channel`; of a stream the first message."""
        codec = {
            "request_serializer": self.request.SerializeToString,
            "response_deserializer": self.response.FromString,
        }
        if not self.streams:
            return await channel.unary_unary(self.path, **codec)(request, timeout=30)
        call = channel.unary_stream(self.path, **codec)(request, timeout=30)
        try:
            async for message in call:
                return message
            return self.response()
        finally:
            call.cancel()


def _rpcs() -> Iterator[Rpc]:
    for file in sorted((PROTOS / "workspace").rglob("*_service.proto")):
        name = file.relative_to(PROTOS).with_suffix("").as_posix().replace("/", ".") + "_pb2"
        for service in import_module(name).DESCRIPTOR.services_by_name.values():
            yield from (Rpc(method) for method in service.methods)


CONTRACT: dict[str, Rpc] = {rpc.path: rpc for rpc in _rpcs()}
"""Every RPC of the contract by its full method name."""


def channel_of(stub_of: Any, **who: Any) -> grpc.aio.Channel:
    """The channel that `Workspace.stub` and the like would give a stub."""
    return stub_of(lambda channel: channel, **who)  # type: ignore[no-any-return]
