"""Bytes from a signed URL, verified."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from http import HTTPStatus
from typing import Any

import httpx

from services.cli.failures import CliError
from services.cli.importing.put import UrlRefused, refusal_of
from services.cli.importing.retry import Busy

__all__ = ["CHUNK", "opened", "verify"]

CHUNK = 1 << 20
_BUSY = frozenset(
    {HTTPStatus.TOO_MANY_REQUESTS, HTTPStatus.BAD_GATEWAY, HTTPStatus.SERVICE_UNAVAILABLE}
)


@asynccontextmanager
async def opened(http: httpx.AsyncClient, transfer: Any) -> AsyncIterator[httpx.Response]:
    """The response whose body is the file. Raises UrlRefused, Busy, CliError."""
    headers = {**transfer.headers, "Accept-Encoding": "identity"}
    async with http.stream(transfer.method or "GET", transfer.url, headers=headers) as response:
        if response.status_code == HTTPStatus.FORBIDDEN:
            raise UrlRefused
        if response.status_code in _BUSY:
            raise Busy
        if not response.is_success:
            await response.aread()
            raise CliError(refusal_of(response))
        yield response


def verify(download: Any, size: int, sha256: str) -> None:
    """Raise CliError when the bytes are not the ones announced."""
    if (size, sha256) != (download.size_bytes, download.sha256):
        raise CliError("the bytes received do not have the checksum of the record")
