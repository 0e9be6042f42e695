"""A real server on a real socket with the whole stack, and four kinds of handlers."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, ClassVar

import grpc
import grpc.aio
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory
from google.rpc import error_details_pb2, status_pb2
from prometheus_client import CollectorRegistry
from workspace.common.v1.consistency_pb2 import Consistency

from services.model.errors import Reason, WorkspaceError
from services.rpc.context import Caller
from services.rpc.deadline import DeadlineLimits
from services.rpc.errors import DETAILS_HEADER
from services.rpc.local import LocalChannel, LocalServer
from services.rpc.policy import PUBLIC, USER, Policy, service, user_or_service
from services.rpc.rates import CallRates
from services.rpc.stack import build_interceptors
from services.rpc.validation import Validator
from services.telemetry.metrics import RpcMetrics
from services.telemetry.traces import Tracing

GOOD = "good-token"
SIGNED_IN = (("authorization", f"Bearer {GOOD}"),)
KINDS = ("UnaryUnary", "UnaryStream", "StreamUnary", "StreamStream")
VALID = Consistency(minimize_latency=True)
POLICY: Policy = {
    **{f"/t.Echo/{kind}": USER for kind in KINDS},
    "/t.Echo/Open": PUBLIC,
    "/t.Echo/Writer": USER,
    "/t.Echo/Internal": service("project_svc"),
    "/t.Echo/Either": user_or_service("project_svc"),
}


class Gate:
    """An authenticator and an admission whose answers a test decides."""

    def __init__(self) -> None:
        self.seen: list[str] = []
        self.error: Exception | None = None
        self.refusal: Exception | None = None
        self.answer: Any = Caller("u_1", "https://issuer.test", "subject-1")

    async def authenticate(self, bearer: str) -> Caller:
        self.seen.append(bearer)
        if self.error is not None:
            raise self.error
        if bearer != GOOD:
            raise WorkspaceError(Reason.ERROR_REASON_UNAUTHENTICATED, "the signature is wrong")
        answer: Caller = self.answer
        return answer

    async def admit(self, caller: Caller) -> None:
        if self.refusal is not None:
            raise self.refusal


Act = Callable[[Any, Any], Awaitable[Any]]


async def echo(request: Any, context: Any) -> Any:
    return request


@dataclass
class Echo:
    """The server under test. `act` is what the handlers do with each message."""

    act: Act = echo
    gate: Gate = field(default_factory=Gate)
    registry: CollectorRegistry = field(default_factory=CollectorRegistry)
    tracing: Tracing = field(default_factory=Tracing)
    limits: DeadlineLimits = field(default_factory=DeadlineLimits)
    policy: Policy = field(default_factory=lambda: POLICY)
    services: Mapping[str, str] = field(default_factory=dict)
    rates: CallRates | None = None
    handled: int = 0
    channel: Any = None
    local: ClassVar[bool] = False  # over the in-process channel instead of a socket

    async def _one(self, request: Any, context: Any) -> Any:
        self.handled += 1
        return await self.act(request, context)

    async def _many(self, request: Any, context: Any) -> Any:
        self.handled += 1
        yield VALID
        yield await self.act(request, context)

    async def _collect(self, requests: Any, context: Any) -> Any:
        self.handled += 1
        last = VALID
        async for request in requests:
            last = request
        return await self.act(last, context)

    async def _each(self, requests: Any, context: Any) -> Any:
        self.handled += 1
        async for request in requests:
            yield await self.act(request, context)

    async def _writer(self, request: Any, context: Any) -> None:
        self.handled += 1
        await context.write(VALID)
        await context.write(await self.act(request, context))

    def _handlers(self) -> dict[str, Any]:
        codec = (Consistency.FromString, Consistency.SerializeToString)
        one = grpc.unary_unary_rpc_method_handler
        return {
            "UnaryUnary": one(self._one, *codec),
            "Open": one(self._one, *codec),
            "Internal": one(self._one, *codec),
            "Either": one(self._one, *codec),
            "NoRow": one(self._one, *codec),
            "UnaryStream": grpc.unary_stream_rpc_method_handler(self._many, *codec),
            "NoRowStream": grpc.unary_stream_rpc_method_handler(self._many, *codec),
            "Writer": grpc.unary_stream_rpc_method_handler(self._writer, *codec),
            "StreamUnary": grpc.stream_unary_rpc_method_handler(self._collect, *codec),
            "StreamStream": grpc.stream_stream_rpc_method_handler(self._each, *codec),
        }

    @asynccontextmanager
    async def running(
        self,
        *,
        server_credentials: grpc.ServerCredentials | None = None,
        channel_credentials: grpc.ChannelCredentials | None = None,
    ) -> AsyncIterator[Echo]:
        stack = build_interceptors(
            policy=self.policy,
            authenticator=self.gate,
            admission=self.gate,
            validator=Validator(),
            metrics=RpcMetrics(self.registry),
            tracing=self.tracing,
            services=self.services,
            limits=self.limits,
            rates=self.rates,
        )
        server: Any
        if self.local and server_credentials is None:
            server = LocalServer(interceptors=stack)
        else:
            server = grpc.aio.server(interceptors=stack, options=(("grpc.so_reuseport", 0),))
        handlers = grpc.method_handlers_generic_handler("t.Echo", self._handlers())
        server.add_generic_rpc_handlers((handlers,))
        if isinstance(server, LocalServer):
            self.channel = LocalChannel(server, service="")
        elif server_credentials is None:
            port = server.add_insecure_port("127.0.0.1:0")
            self.channel = grpc.aio.insecure_channel(f"127.0.0.1:{port}")
        else:
            assert channel_credentials is not None
            port = server.add_secure_port("127.0.0.1:0", server_credentials)
            self.channel = grpc.aio.secure_channel(f"localhost:{port}", channel_credentials)
        await server.start()
        try:
            yield self
        finally:
            await self.channel.close()
            await server.stop(None)

    async def call(
        self,
        kind: str,
        *requests: Any,
        metadata: Any = SIGNED_IN,
        timeout: float | None = 20,
    ) -> list[Any]:
        """All answers of one call; bytes are sent as they are."""
        codec = {"request_serializer": _encode, "response_deserializer": Consistency.FromString}
        path = f"/t.Echo/{kind}"
        options = {"metadata": metadata, "timeout": timeout}
        first = requests[0] if requests else VALID
        match kind:
            case "UnaryStream" | "NoRowStream" | "Writer":
                stream = self.channel.unary_stream(path, **codec)(first, **options)
                return [item async for item in stream]
            case "StreamUnary":
                method = self.channel.stream_unary(path, **codec)
                return [await method(iter(requests or (VALID,)), **options)]
            case "StreamStream":
                method = self.channel.stream_stream(path, **codec)
                return [item async for item in method(iter(requests or (VALID,)), **options)]
            case _:
                return [await self.channel.unary_unary(path, **codec)(first, **options)]


def _encode(request: Any) -> bytes:
    return request if isinstance(request, bytes) else request.SerializeToString()


def status_of(error: grpc.aio.AioRpcError) -> status_pb2.Status:
    values = dict(error.trailing_metadata() or ())
    return status_pb2.Status.FromString(values[DETAILS_HEADER])


def detail(status: status_pb2.Status, kind: Any) -> Any:
    """The detail message of one type; fails when there is not exactly one."""
    (found,) = [d for d in status.details if d.Is(kind.DESCRIPTOR)]
    message = kind()
    assert found.Unpack(message)
    return message


def reason_of(error: grpc.aio.AioRpcError) -> str:
    info: error_details_pb2.ErrorInfo = detail(status_of(error), error_details_pb2.ErrorInfo)
    assert info.domain == "workspace"
    return info.reason.removeprefix("ERROR_REASON_")


_SCALARS = {"string": 9, "int32": 5, "message": 11}


def _field(message: Any, name: str, kind: str, type_name: str = "", many: bool = False) -> None:
    message.field.add(
        name=name,
        number=len(message.field) + 1,
        type=_SCALARS[kind],
        label=3 if many else 1,
        type_name=type_name or None,
    )


def ticket_class() -> Any:
    """A message type with nested, repeated, map and text fields, in a pool of its own."""
    file = descriptor_pb2.FileDescriptorProto(name="t/ticket.proto", package="t", syntax="proto3")
    owner = file.message_type.add(name="Owner")
    _field(owner, "name", "string")
    _field(owner, "role", "string")
    ticket = file.message_type.add(name="Ticket")
    for name in ("name", "description", "etag", "created_by", "page_token"):
        _field(ticket, name, "string")
    _field(ticket, "page_size", "int32")
    _field(ticket, "owner", "message", ".t.Owner")
    _field(ticket, "owners", "message", ".t.Owner", many=True)
    _field(ticket, "tags", "string", many=True)
    entry = ticket.nested_type.add(name="LabelsEntry")
    entry.options.map_entry = True
    _field(entry, "key", "string")
    _field(entry, "value", "string")
    _field(ticket, "labels", "message", ".t.Ticket.LabelsEntry", many=True)
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return message_factory.GetMessageClass(pool.FindMessageTypeByName("t.Ticket"))
