"""Limits of the gateway, and reading a body within them."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from http import HTTPStatus

from starlette.types import Receive, Scope

from services.http.errors import HttpError, bad_request
from services.model.errors import Reason, WorkspaceError
from services.rpc.deadline import DeadlineLimits

__all__ = ["ClientGone", "HttpLimits", "read_body"]

_MIB = 1024 * 1024
_LENGTH = re.compile(rb"[0-9]{1,15}")
_MEDIA_TYPE = re.compile(
    rb'application/json[ \t]*(?:;[ \t]*charset="?utf-8"?[ \t]*)?;?[ \t]*', re.IGNORECASE
)


@dataclass(frozen=True, slots=True, kw_only=True)
class HttpLimits:
    """Sizes in bytes, times in seconds."""

    max_body_bytes: int = 4 * _MIB
    """Of a JSON body; the same as gRPC's message limit."""
    max_head_bytes: int = 64 * 1024
    """Request line and header fields together; a 200-group token is 12 KiB."""
    head_timeout: float = 10.0
    """From the connection, or the first byte of a request, to its last header field."""
    body_timeout: float = 30.0
    """For all of a JSON body (slow senders)."""
    keep_alive: float = 30.0
    """How long a connection may be idle between requests."""
    offload_bytes: int = 64 * 1024
    """Bodies and answers above this are transcoded in a thread."""
    max_in_flight: int = 1000
    """API requests being served; more are answered 503 at once."""
    stream_head_wait: float = 2.0
    """How long a stream waits for its first message before it says 200."""
    stream_write_timeout: float = 30.0
    """How long a client of a stream may refuse to read one message."""
    deadlines: DeadlineLimits = field(default_factory=DeadlineLimits)


class ClientGone(Exception):
    """The client closed the connection: nobody waits for an answer."""


async def read_body(scope: Scope, receive: Receive, limits: HttpLimits) -> bytes:
    """The whole body, which has to be JSON by its headers.

    Raises HttpError 400 (length), 413 (size, before anything is parsed), 415
    (type or encoding), 408 (too slow); ClientGone.
    """
    headers: list[tuple[bytes, bytes]] = list(scope["headers"])
    _refuse_encoding(headers)
    declared = _declared_length(headers)
    if declared is not None and declared > limits.max_body_bytes:
        raise _too_large(limits)
    try:
        async with asyncio.timeout(limits.body_timeout):
            body = await _collect(receive, limits)
    except TimeoutError:
        raise HttpError(
            WorkspaceError(
                Reason.ERROR_REASON_DEADLINE_EXCEEDED,
                f"The body did not arrive within {limits.body_timeout:g} s; repeat the call.",
            ),
            status=HTTPStatus.REQUEST_TIMEOUT,
            headers={"Connection": "close"},
        ) from None
    if body:
        _require_json(headers)
    return body


async def _collect(receive: Receive, limits: HttpLimits) -> bytes:
    chunks: list[bytes] = []
    size = 0
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise ClientGone
        chunk = message.get("body", b"")
        size += len(chunk)
        if size > limits.max_body_bytes:
            raise _too_large(limits)
        chunks.append(chunk)
        if not message.get("more_body", False):
            return b"".join(chunks)


def _values(headers: Sequence[tuple[bytes, bytes]], name: bytes) -> list[bytes]:
    return [value for key, value in headers if key == name]


def _refuse_encoding(headers: Sequence[tuple[bytes, bytes]]) -> None:
    for value in _values(headers, b"content-encoding"):
        if value.strip().lower() != b"identity":
            raise bad_request(
                "content-encoding",
                "is not supported; send the body as it is",
                status=HTTPStatus.UNSUPPORTED_MEDIA_TYPE,
            )


def _declared_length(headers: Sequence[tuple[bytes, bytes]]) -> int | None:
    found = _values(headers, b"content-length")
    if not found:
        return None
    if len(found) > 1 or not _LENGTH.fullmatch(found[0]):
        raise bad_request("content-length", "must be one decimal number")
    return int(found[0])


def _require_json(headers: Sequence[tuple[bytes, bytes]]) -> None:
    found = _values(headers, b"content-type")
    if len(found) != 1 or not _MEDIA_TYPE.fullmatch(found[0].strip()):
        raise bad_request(
            "content-type",
            "must be application/json (UTF-8)",
            status=HTTPStatus.UNSUPPORTED_MEDIA_TYPE,
        )


def _too_large(limits: HttpLimits) -> HttpError:
    maximum = limits.max_body_bytes
    return HttpError(
        WorkspaceError(
            Reason.ERROR_REASON_LIMIT_EXCEEDED,
            f"The body is larger than {maximum} bytes; files travel by upload URLs.",
            metadata={"limit": "body_bytes", "maximum": str(maximum)},
        ),
        status=HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
        headers={"Connection": "close"},
    )
