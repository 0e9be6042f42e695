"""Channels to peers: inheritance over a real socket, service configs, refusals."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import grpc
import grpc.aio
import pytest
from google.protobuf.wrappers_pb2 import StringValue

from services.model.errors import WorkspaceError
from services.rpc.channels import load_service_config, open_channel
from services.rpc.context import Call, set_current_call
from services.rpc.server import Listener, RpcServer

KINDS = ["unary_unary", "unary_stream", "stream_unary", "stream_stream"]


class Looker:
    """One method per kind; each notes what it sees of the call."""

    def __init__(self) -> None:
        self.seen: list[tuple[dict[str, Any], float]] = []
        self.attempts = 0

    def note(self, context: Any) -> StringValue:
        self.seen.append((dict(context.invocation_metadata()), context.time_remaining()))
        return StringValue(value="seen")

    async def one(self, request: Any, context: Any) -> StringValue:
        return self.note(context)

    async def many(self, request: Any, context: Any) -> Any:
        yield self.note(context)

    async def flaky(self, request: Any, context: Any) -> StringValue:
        self.attempts += 1
        if self.attempts < 3:
            await context.abort(grpc.StatusCode.UNAVAILABLE, "again")
        return StringValue(value=str(self.attempts))

    def add(self, _servicer: object, server: Any) -> None:
        codec = (StringValue.FromString, StringValue.SerializeToString)
        handlers = {
            "unary_unary": grpc.unary_unary_rpc_method_handler(self.one, *codec),
            "unary_stream": grpc.unary_stream_rpc_method_handler(self.many, *codec),
            "stream_unary": grpc.stream_unary_rpc_method_handler(self.one, *codec),
            "stream_stream": grpc.stream_stream_rpc_method_handler(self.many, *codec),
            "flaky": grpc.unary_unary_rpc_method_handler(self.flaky, *codec),
        }
        server.add_registered_method_handlers("test.v1.Looker", handlers)


@pytest.fixture
async def looker() -> Any:
    looker = Looker()
    server = RpcServer(listeners=[Listener("127.0.0.1:0")])
    looker.add(looker, server._server)
    await server.start()
    yield looker, f"127.0.0.1:{server.ports[0]}"
    set_current_call(None)
    await server.stop()


def _method(channel: Any, kind: str, name: str) -> Any:
    return getattr(channel, kind)(
        f"/test.v1.Looker/{name}",
        request_serializer=StringValue.SerializeToString,
        response_deserializer=StringValue.FromString,
        _registered_method=True,
    )


async def _call(channel: Any, kind: str, **options: Any) -> None:
    request = StringValue()
    call = _method(channel, kind, kind)(
        iter([request]) if kind.startswith("stream") else request, **options
    )
    if kind.endswith("stream"):
        assert [message.value async for message in call] == ["seen"]
    else:
        assert (await call).value == "seen"


@pytest.mark.parametrize("kind", KINDS)
async def test_calls_inherit_bearer_request_id_and_time(
    looker: tuple[Looker, str], kind: str
) -> None:
    servicer, address = looker
    set_current_call(
        Call(request_id="r-1", method="/m", deadline=time.monotonic() + 20, bearer="token")
    )
    async with open_channel(address) as channel:
        await _call(channel, kind, timeout=600, metadata=(("x-own", "1"),))
    metadata, remaining = servicer.seen[0]
    assert metadata["authorization"] == "Bearer token"
    assert metadata["x-request-id"] == "r-1"
    assert metadata["x-own"] == "1"
    assert remaining < 22


@pytest.mark.parametrize(("kind", "most"), list(zip(KINDS, (11, 901, 901, 901), strict=True)))
async def test_every_call_has_a_deadline(looker: tuple[Looker, str], kind: str, most: int) -> None:
    servicer, address = looker
    async with open_channel(address) as channel:
        await _call(channel, kind)
    metadata, remaining = servicer.seen[0]
    assert "authorization" not in metadata
    assert most / 2 < remaining <= most


async def test_no_time_left_means_no_call(looker: tuple[Looker, str]) -> None:
    servicer, address = looker
    set_current_call(Call(request_id="r", method="/m", deadline=time.monotonic() - 1))
    async with open_channel(address) as channel:
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await _call(channel, "unary_unary")
    assert caught.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED
    assert servicer.seen == []


def _config(tmp_path: Path, **change: Any) -> Path:
    policy = {
        "maxAttempts": 4,
        "initialBackoff": "0.01s",
        "maxBackoff": "0.05s",
        "backoffMultiplier": 2,
        "retryableStatusCodes": ["UNAVAILABLE"],
    }
    method = {"name": [{"service": "test.v1.Looker"}], "retryPolicy": policy | change}
    file = tmp_path / "workspace" / "v1" / "looker_service_config.json"
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps({"methodConfig": [method]}))
    return file


async def test_retries_follow_the_service_config(
    looker: tuple[Looker, str], tmp_path: Path
) -> None:
    servicer, address = looker
    _config(tmp_path)
    config = load_service_config([tmp_path])
    async with open_channel(address, service_config=config) as channel:
        answer = await _method(channel, "unary_unary", "flaky")(StringValue())
    assert (answer.value, servicer.attempts) == ("3", 3)


async def test_nothing_is_retried_without_one(looker: tuple[Looker, str]) -> None:
    servicer, address = looker
    async with open_channel(address) as channel:
        with pytest.raises(grpc.aio.AioRpcError):
            await _method(channel, "unary_unary", "flaky")(StringValue())
    assert servicer.attempts == 1


def test_config_balances_and_merges(tmp_path: Path) -> None:
    file = _config(tmp_path)
    config = json.loads(load_service_config([file, tmp_path]))
    assert config["loadBalancingConfig"] == [{"round_robin": {}}]
    assert len(config["methodConfig"]) == 2


def test_unsafe_retries_are_refused(tmp_path: Path) -> None:
    file = _config(tmp_path, retryableStatusCodes=["UNAVAILABLE", "ABORTED"])
    with pytest.raises(WorkspaceError, match="only UNAVAILABLE"):
        load_service_config([file])


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "has to be JSON"),
        ("[]", "has to be JSON"),
        ('{"methodConfig": [{"timeout": "1s"}]}', "deadlines are set per call"),
    ],
)
def test_bad_configs_are_refused(tmp_path: Path, text: str, message: str) -> None:
    file = tmp_path / "x_service_config.json"
    file.write_text(text)
    with pytest.raises(WorkspaceError, match=message):
        load_service_config([file])


async def test_no_bearer_in_the_clear_beyond_this_machine() -> None:
    with pytest.raises(WorkspaceError, match="need TLS"):
        open_channel("dns:///project:50051")
