from __future__ import annotations

import asyncio
import time

import grpc
import grpc.aio
import pytest

from services.rpc.context import current_call
from services.rpc.deadline import DeadlineLimits, effective_seconds
from tests.unit.rpc.interceptor_harness import KINDS, VALID, Echo, reason_of

LIMITS = DeadlineLimits()


@pytest.fixture(autouse=True, params=["socket", "local"])
def _transport(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Echo, "local", request.param == "local")


@pytest.mark.parametrize(
    ("remaining", "expected"),
    [
        (None, 10.0),
        (9.22e18, 10.0),  # how the sync stack says "none"
        (float("inf"), 10.0),
        (99999999 * 3600.0, 30.0),  # the longest that the wire can carry
        (30.5, 30.0),
        (29.5, 29.5),
        (0.0, 0.0),
        (-3.0, 0.0),
    ],
)
def test_unary_defaults_and_clamp(remaining: float | None, expected: float) -> None:
    found = effective_seconds(remaining, default=LIMITS.default_unary, maximum=LIMITS.max_unary)
    assert found == expected


@pytest.mark.parametrize("kind", [*KINDS, "Writer"])
@pytest.mark.parametrize("timeout", [None, 3600.0])
@pytest.mark.case("A07")
async def test_the_server_enforces_its_own_limit(kind: str, timeout: float | None) -> None:
    ended = asyncio.Event()

    async def act(request: object, context: object) -> object:
        try:
            await asyncio.Event().wait()
        finally:
            ended.set()

    limits = DeadlineLimits(default_unary=0.05, max_unary=0.05, max_stream=0.05)
    async with Echo(act, limits=limits).running() as echo:
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await echo.call(kind, timeout=timeout)
        assert reason_of(caught.value) == "DEADLINE_EXCEEDED"
        assert caught.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED
        await asyncio.wait_for(ended.wait(), 20)


@pytest.mark.parametrize(
    ("kind", "timeout", "least", "most"),
    [
        ("UnaryUnary", None, 0, 10),
        ("UnaryUnary", 20.0, 10, 21),
        ("UnaryUnary", 500.0, 20, 30),
        ("UnaryStream", None, 500, 900),
        ("UnaryStream", 5000.0, 500, 900),
        ("StreamUnary", None, 500, 900),
        ("StreamStream", 100.0, 30, 102),
    ],
)
async def test_the_call_carries_its_deadline(
    kind: str, timeout: float | None, least: float, most: float
) -> None:
    # gRPC rounds a timeout up on the wire, by about one per cent.
    left: list[float] = []

    async def act(request: object, context: object) -> object:
        left.append(current_call().deadline - time.monotonic())
        return request

    async with Echo(act).running() as echo:
        await echo.call(kind, timeout=timeout)
    assert least < left[0] <= most


async def test_a_timeout_of_the_handler_itself_does_not_pass_as_a_late_stream() -> None:
    async def act(request: object, context: object) -> object:
        raise TimeoutError

    async with Echo(act).running() as echo:
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await echo.call("StreamStream", VALID)
    assert caught.value.details() == "The deadline passed before the answer."


async def test_a_stream_may_use_all_of_its_time_between_messages() -> None:
    async def act(request: object, context: object) -> object:
        await asyncio.sleep(0)
        return request

    async with Echo(act).running() as echo:
        assert len(await echo.call("StreamStream", *[VALID] * 200)) == 200
