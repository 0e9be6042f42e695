"""Repeating what failed because something did not answer."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import TypeVar

import grpc
import grpc.aio
import httpx

from services.cli.failures import CliError
from services.cli.trust import certificate_failure_of

__all__ = ["Busy", "Unavailable", "with_retries"]

T = TypeVar("T")
_FIRST = 0.1
_LONGEST = 3.0
_CODES = frozenset(
    {grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED, grpc.StatusCode.ABORTED}
)


class Busy(Exception):
    """The data plane asked to come back later (408, 429, 503)."""


class Unavailable(Exception):
    """Nothing answered for as long as was allowed."""


async def with_retries(call: Callable[[], Awaitable[T]], *, patience: float) -> T:
    """`call()`, repeated with backoff (full jitter) for `patience` seconds.

    The call must be safe to repeat. Raises Unavailable at the end; any other
    failure at once.
    """
    end = time.monotonic() + patience
    pause = _FIRST
    while True:
        try:
            return await call()
        except (grpc.aio.AioRpcError, httpx.TransportError, Busy) as error:
            if isinstance(error, grpc.aio.AioRpcError) and not _may_pass(error):
                raise
            if isinstance(error, httpx.TransportError):
                _refuse_certificate(error)
            if time.monotonic() >= end:
                raise Unavailable(_why(error)) from error
        await asyncio.sleep(pause * (0.5 + random.random() / 2))  # noqa: S311 - no secret
        pause = min(pause * 2, _LONGEST)


def _may_pass(error: grpc.aio.AioRpcError) -> bool:
    """Whether the same call may be answered later: too many calls are, and say so; a
    quota that is used up is not."""
    if error.code() is not grpc.StatusCode.RESOURCE_EXHAUSTED:
        return error.code() in _CODES
    from services.rpc.errors import peer_status

    status = peer_status(error)
    kinds = [each.TypeName() for each in status.details] if status is not None else []
    return "google.rpc.RetryInfo" in kinds


def _refuse_certificate(error: httpx.TransportError) -> None:
    """Raise CliError where the certificate of the other side is no good: it stays so."""
    with suppress(RuntimeError):
        failure = certificate_failure_of(error, error.request.url.host)
        if failure is not None:
            raise CliError(failure.message, remedy=failure.remedy, exit_code=failure.exit_code)


def _why(error: Exception) -> str:
    """Who did not answer: what the workspace says of a store behind it, the store that
    files are sent to, or the workspace itself."""
    from services.rpc.errors import peer_status

    ours = peer_status(error) if isinstance(error, grpc.aio.AioRpcError) else None
    if ours is not None and ours.message:
        return ours.message
    if isinstance(error, httpx.TransportError):
        with suppress(RuntimeError):  # no request was made
            return f"{error.request.url.host} does not answer"
    return "the workspace does not answer"
