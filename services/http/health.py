"""Probes: `/healthz` (the process lives) and `/readyz` (new work is welcome)."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from http import HTTPStatus

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

__all__ = ["health_routes"]

_log = logging.getLogger("workspace.http")
_READY_SECONDS = 5.0


def health_routes(
    ready: Callable[[], Awaitable[bool]], *, timeout: float = _READY_SECONDS
) -> list[Route]:
    """200 or 503 with `{"status": ...}`. A `ready` that raises, or takes longer
    than `timeout` seconds, is "not ready"."""

    async def healthz(_: Request) -> Response:
        return JSONResponse({"status": "ok"})

    async def readyz(_: Request) -> Response:
        if await _answer(ready, timeout):
            return JSONResponse({"status": "ready"})
        return JSONResponse({"status": "not_ready"}, HTTPStatus.SERVICE_UNAVAILABLE)

    return [
        Route("/healthz", healthz, methods=["GET"]),
        Route("/readyz", readyz, methods=["GET"]),
    ]


async def _answer(ready: Callable[[], Awaitable[bool]], timeout: float) -> bool:
    try:
        async with asyncio.timeout(timeout):
            return await ready()
    except Exception:
        _log.exception("the readiness check failed")
        return False
