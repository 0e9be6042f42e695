"""Repeating what did not answer, and only that."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import grpc
import grpc.aio
import httpx
import pytest

from services.cli.importing.retry import Busy, Unavailable, with_retries
from services.model.errors import Reason, WorkspaceError
from services.rpc.errors import DETAILS_HEADER, to_status


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


def exhausted(retry_after: float | None) -> grpc.aio.AioRpcError:
    """Too many calls, with the time to wait; or a quota that is used up, without."""
    limit, quota = Reason.ERROR_REASON_LIMIT_EXCEEDED, Reason.ERROR_REASON_QUOTA_EXCEEDED
    reason = limit if retry_after else quota
    status = to_status(WorkspaceError(reason, "no more", retry_after=retry_after), "r-1")
    trailers = grpc.aio.Metadata((DETAILS_HEADER, status.SerializeToString()))
    return grpc.aio.AioRpcError(
        grpc.StatusCode.RESOURCE_EXHAUSTED, grpc.aio.Metadata(), trailers, details="no more"
    )


@pytest.mark.parametrize(
    "error",
    [
        exhausted(0.002),
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
    [
        exhausted(None),
        rpc(grpc.StatusCode.PERMISSION_DENIED),
        rpc(grpc.StatusCode.INTERNAL),
        ValueError("x"),
    ],
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
