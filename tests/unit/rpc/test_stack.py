from __future__ import annotations

import asyncio
import io
import json
import logging
import re
import uuid

import grpc
import grpc.aio
import pytest
from hypothesis import given
from hypothesis import strategies as st
from workspace.common.v1.consistency_pb2 import Consistency

from services.model.errors import Reason, WorkspaceError
from services.rpc.context import current_call
from services.rpc.request_id import request_id_of
from services.rpc.stack import ORDER, build_interceptors
from services.rpc.validation import Validator
from services.telemetry.logs import ACCESS_LOGGER, configure_logging
from services.telemetry.metrics import RpcMetrics
from services.telemetry.redaction import redact
from services.telemetry.traces import trace_headers
from tests.unit.rpc.interceptor_harness import GOOD, KINDS, SIGNED_IN, VALID, Echo, reason_of

TRACEPARENT = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"


@pytest.fixture(autouse=True, params=["socket", "local"])
def _transport(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Echo, "local", request.param == "local")


def test_the_order_is_the_documented_one() -> None:
    echo = Echo()
    stack = build_interceptors(
        policy={},
        authenticator=echo.gate,
        admission=echo.gate,
        validator=Validator(),
        metrics=RpcMetrics(echo.registry),
        tracing=echo.tracing,
        services={},
    )
    assert tuple(i.name for i in stack) == ORDER
    assert ORDER == (
        "request_id",
        "telemetry",
        "errors",
        "deadline",
        "addresses",
        "authentication",
        "users",
        "policy",
        "validation",
    )


@pytest.mark.parametrize("kind", [*KINDS, "Writer"])
async def test_all_kinds_serve(kind: str) -> None:
    sent = Consistency(fully_consistent=True)
    async with Echo().running() as echo:
        for _ in range(2):  # the second call takes the remembered wrapping
            assert (await echo.call(kind, sent))[-1] == sent
    assert echo.handled == 2


async def test_the_call_is_known_to_the_handler() -> None:
    seen = []

    async def act(request: object, context: object) -> object:
        call = current_call()
        seen.append((call.request_id, call.method, call.user_id, call.bearer, call.trace_id))
        seen.append(trace_headers())
        assert GOOD not in repr(call)
        return request

    metadata = (*SIGNED_IN, ("x-request-id", "abc-1"), ("traceparent", TRACEPARENT))
    async with Echo(act).running() as echo:
        await echo.call("UnaryUnary", metadata=metadata)
    assert seen == [
        ("abc-1", "/t.Echo/UnaryUnary", "u_1", GOOD, "4bf92f3577b34da6a3ce929d0e0e4736"),
        (("traceparent", TRACEPARENT),),
    ]


@pytest.mark.parametrize("fails", [False, True])
async def test_the_request_id_is_returned(fails: bool) -> None:
    async def act(request: object, context: object) -> object:
        if fails:
            raise WorkspaceError(Reason.ERROR_REASON_NOT_FOUND, "not here")
        return request

    async with Echo(act).running() as echo:
        method = echo.channel.unary_unary("/t.Echo/UnaryUnary")
        metadata = (*SIGNED_IN, ("x-request-id", "abc-2"))
        call = method(VALID.SerializeToString(), metadata=metadata, timeout=20)
        trailers = dict(await call.trailing_metadata())
        assert trailers["x-request-id"] == "abc-2"
        assert (await call.code() is grpc.StatusCode.OK) is not fails


@pytest.mark.parametrize("bad", ["", "a b", "a\n", "x" * 65, "ünï", 'a"b', b"abc"])
def test_an_unsafe_request_id_is_replaced(bad: str | bytes) -> None:
    made = request_id_of((("x-request-id", bad),))
    assert re.fullmatch(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", made)


@pytest.mark.parametrize(
    "secret",
    [
        "eyJhbGciOiJSUzI1NiJ9.eyJzdWIiOiJ4In0.c2lnbmF0dXJl",
        "eyJhbGciOiJSUzI1NiJ9",  # one part of it
        "job-eyJzdWIiOiJ4In0",
        "v1.0a1b2c3d.e30.5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5",  # a signed transfer token
        "AKIAIOSFODNN7EXAMPLE",
        "id-ASIAIOSFODNN7EXAMPLE",
        "person@example.com",
        "sig=abc",
        "https://example.com?token=abc",
    ],
)
async def test_a_request_id_carries_no_secret_into_the_log(secret: str) -> None:
    stream, root = io.StringIO(), logging.getLogger()
    handlers, level = list(root.handlers), root.level
    configure_logging(stream=stream, as_json=True)
    try:
        async with Echo().running() as echo:
            await echo.call("UnaryUnary", metadata=(*SIGNED_IN, ("x-request-id", secret)))
    finally:
        root.handlers[:] = handlers
        root.setLevel(level)
    lines = [json.loads(line) for line in stream.getvalue().splitlines()]
    (line,) = [each for each in lines if each["logger"] == ACCESS_LOGGER]
    assert line["code"] == "OK"
    assert str(uuid.UUID(line["request_id"])) == line["request_id"]
    assert secret not in stream.getvalue()


@given(st.from_regex(r"[A-Za-z0-9-]{1,64}", fullmatch=True))
def test_redaction_finds_nothing_in_a_request_id_that_is_kept(wanted: str) -> None:
    kept = request_id_of((("x-request-id", wanted),))
    assert redact(kept) == kept
    assert kept == wanted or any(mark in wanted for mark in ("eyJ", "AKIA", "ASIA"))


def test_two_request_ids_are_none() -> None:
    assert request_id_of((("x-request-id", "a"), ("x-request-id", "a"))) != "a"
    assert request_id_of((("x-request-id", "x" * 64),)) == "x" * 64


async def _counted(echo: Echo, labels: dict[str, str]) -> None:
    """A refusal is sent before its handler has ended, and stopping the server ends it."""
    sample = echo.registry.get_sample_value
    async with asyncio.timeout(20):
        while sample("workspace_rpc_handled_total", labels) != 1:  # noqa: ASYNC110
            await asyncio.sleep(0.001)


async def test_metrics_and_the_log_line(caplog: pytest.LogCaptureFixture) -> None:
    async def act(request: object, context: object) -> object:
        raise WorkspaceError(Reason.ERROR_REASON_NOT_FOUND, "not here")

    caplog.set_level(logging.INFO, "workspace.rpc.access")
    async with Echo(act).running() as echo:
        for kind in KINDS:
            with pytest.raises(grpc.aio.AioRpcError):
                await echo.call(kind)
        await_end = {"method": "/t.Echo/StreamStream", "kind": "bidi_stream"}
        sample = echo.registry.get_sample_value
        await _counted(echo, {**await_end, "code": "NOT_FOUND"})
    assert sample("workspace_rpc_in_flight", await_end) == 0
    assert sample("workspace_rpc_handled_total", {**await_end, "code": "NOT_FOUND"}) == 1
    assert sample("workspace_rpc_duration_seconds_count", await_end) == 1
    lines = [vars(r) for r in caplog.records if r.name == "workspace.rpc.access"]
    assert [line["method"] for line in lines] == [f"/t.Echo/{kind}" for kind in KINDS]
    for line in lines:
        assert line["code"] == "NOT_FOUND"
        assert line["reason"] == "ERROR_REASON_NOT_FOUND"
        assert line["principal"] == "u_1"
        assert line["duration_ms"] >= 0
        assert GOOD not in str(line)


async def test_an_abort_of_the_handler_itself_is_kept_and_counted() -> None:
    async def act(request: object, context: grpc.aio.ServicerContext) -> object:
        await context.abort(grpc.StatusCode.OUT_OF_RANGE, "by hand")

    labels = {"method": "/t.Echo/UnaryUnary", "kind": "unary", "code": "OUT_OF_RANGE"}
    async with Echo(act).running() as echo:
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await echo.call("UnaryUnary")
        await _counted(echo, labels)
    assert caught.value.code() is grpc.StatusCode.OUT_OF_RANGE
    assert caught.value.details() == "by hand"


@pytest.mark.case("Z16")
@pytest.mark.parametrize(
    "path",
    ["t.Echo/Open", "//t.Echo/Open", "/t.Echo/Open/", "/t.Echo/%4fpen", "/t.echo/Open", "/t.Echo/"],
)
async def test_a_path_that_is_not_canonical_never_reaches_a_handler(path: str) -> None:
    async with Echo().running() as echo:
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await echo.channel.unary_unary(path)(b"", metadata=SIGNED_IN, timeout=20)
    assert caught.value.code() is grpc.StatusCode.UNIMPLEMENTED
    assert echo.handled == 0


async def test_authorisation_comes_before_validation() -> None:
    bad = Consistency(at_least_as_fresh=Consistency.AtLeastAsFresh())
    async with Echo().running() as echo:
        for request in (bad, b"\xff\xff\xff"):
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await echo.call("UnaryUnary", request, metadata=())
            assert reason_of(caught.value) == "UNAUTHENTICATED"
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await echo.call("NoRow", request)
            assert reason_of(caught.value) == "PERMISSION_DENIED"
