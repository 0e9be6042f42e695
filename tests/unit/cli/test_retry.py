"""Repeating what did not answer, and only that."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import grpc
import grpc.aio
import httpx
import pytest

from services.cli.importing.retry import Busy, Unavailable, with_retries


def failing(*errors: Exception) -> tuple[Callable[[], Awaitable[str]], list[int]]:
    left = list(errors)
    calls: list[int] = []

    async def call() -> str:
        calls.append(1)
        if left:
            raise left.pop(0)
        return "done"

    return call, calls


def rpc(code: grpc.StatusCode) -> grpc.aio.AioRpcError:
    return grpc.aio.AioRpcError(code, grpc.aio.Metadata(), grpc.aio.Metadata())


@pytest.mark.parametrize(
    "error",
    [
        rpc(grpc.StatusCode.UNAVAILABLE),
        rpc(grpc.StatusCode.DEADLINE_EXCEEDED),
        rpc(grpc.StatusCode.ABORTED),
        httpx.ConnectError("refused"),
        httpx.ReadError("cut"),
        Busy(),
    ],
    ids=lambda e: type(e).__name__,
)
async def test_what_may_pass_is_repeated(error: Exception) -> None:
    call, calls = failing(error, error)
    assert await with_retries(call, patience=60) == "done"
    assert len(calls) == 3


@pytest.mark.parametrize(
    "error",
    [rpc(grpc.StatusCode.PERMISSION_DENIED), rpc(grpc.StatusCode.INTERNAL), ValueError("x")],
    ids=str,
)
async def test_what_will_not_pass_is_raised_at_once(error: Exception) -> None:
    call, calls = failing(error)
    with pytest.raises(type(error)):
        await with_retries(call, patience=60)
    assert len(calls) == 1


async def test_patience_ends() -> None:
    call, calls = failing(*[rpc(grpc.StatusCode.UNAVAILABLE) for _ in range(5)])
    with pytest.raises(Unavailable):
        await with_retries(call, patience=0)
    assert len(calls) == 1
