"""How a transfer of bytes is admitted and how it ends: of our own files (`dataplane`) and of
those of a store behind us (`object_proxy`)."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Iterator
from contextlib import contextmanager

from starlette.requests import ClientDisconnect, Request
from starlette.types import Send

from services.http.limits import ClientGone
from services.http.refusals import RefusedError, overloaded

__all__ = ["ABORT", "CutError", "Slots", "answered"]

_LOG = logging.getLogger(__name__)

ABORT = "workspace.abort"
"""ASGI extension: its `abort` ends the connection at once."""


class CutError(Exception):
    """The answer cannot be completed; the connection must be closed."""


class Slots:
    """Transfers at a time: `count`. More are answered 429."""

    def __init__(self, count: int) -> None:
        self._free = count

    @contextmanager
    def one(self) -> Iterator[None]:
        """Raises RefusedError when none is free."""
        if self._free <= 0:
            raise overloaded()
        self._free -= 1
        try:
            yield
        finally:
            self._free += 1


async def answered(transfer: Awaitable[None], request: Request, send: Send) -> None:
    """Wait for a transfer; one that was refused is answered, and where a body may still be on
    its way the connection is closed."""
    closing = request.method not in ("GET", "HEAD") or _has_body(request)
    try:
        await transfer
    except (ClientGone, ClientDisconnect):
        _LOG.info("transfer ended by the client")
    except CutError:
        await _abort(request)  # an incomplete response: the server closes the connection
    except RefusedError as refusal:
        await refusal.response(close=closing)(request.scope, request.receive, send)


async def _abort(request: Request) -> None:
    """What a client did not take yet is dropped, and the connection with it: one that reads
    nothing would keep both for ever (`protocol.py` offers it)."""
    abort = request.scope.get("extensions", {}).get(ABORT, {}).get("abort")
    if abort is not None:
        abort()
        for _ in range(2):  # the protocol hears of it before we return, by TLS a turn later
            await asyncio.sleep(0)


def _has_body(request: Request) -> bool:
    return request.headers.get("content-length", "0") != "0" or (
        "transfer-encoding" in request.headers
    )
