"""The object store behind the gateway: signed requests for one bucket are passed on.

For stores that clients do not reach themselves. Signed URLs begin with the gateway's
address (`WM_AWS_S3_PUBLIC_ENDPOINT`), the store verifies them: this keeps no key. See
`signed_requests.py` for what is passed on. Bodies are streamed both ways, one chunk at a
time, and never held whole; whoever goes away first ends the other side, so that a
transfer that broke is never taken for a short one that is complete.

The bucket is the first segment of the path (path style). The server must not log query
strings; `httpx.AsyncClient` does, so its transport alone is used here.
"""

from __future__ import annotations

import asyncio
import logging
import os
import ssl
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing
from dataclasses import dataclass
from http import HTTPStatus

import httpx
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.routing import Route
from starlette.types import Receive, Scope, Send

from services.http.calls import while_connected
from services.http.edge import ROUTE_KEY
from services.http.refusals import FIXED_HEADERS, too_slow, unavailable
from services.http.signed_requests import (
    METHODS,
    SignedRequest,
    is_signed,
    nominated,
    signed_request,
)
from services.http.transfers import CutError, Slots, answered

__all__ = ["ObjectProxy", "ObjectProxyLimits"]

_LOG = logging.getLogger("workspace.http.objects")
_LABEL = "/{bucket}/{key}"
_ALLOW = ", ".join(METHODS)
_NOT_PASSED = frozenset(
    {
        b"connection", b"keep-alive", b"proxy-authenticate", b"proxy-connection", b"te",
        b"trailer", b"transfer-encoding", b"upgrade",
        # The gateway's own, or of the store's host alone.
        b"alt-svc", b"date", b"location", b"server", b"set-cookie",
        b"strict-transport-security",
    }
)  # fmt: skip
_FIXED = [(name.lower().encode(), value.encode()) for name, value in FIXED_HEADERS.items()]
_FIXED_NAMES = frozenset(name for name, _ in _FIXED)
_NO_LENGTH = 64 * 1024 * 1024
"""What an answer is taken for that does not say how long it is."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ObjectProxyLimits:
    """Times in seconds. A transfer may take `grace` plus its length at
    `min_bytes_per_second`, and may stand still for `idle`."""

    max_in_flight: int = 64
    """Transfers at a time; more are answered 429."""
    connect: float = 3.0
    idle: float = 60.0
    grace: float = 60.0
    min_bytes_per_second: int = 16 * 1024
    kept_connections: int = 32
    """Idle connections to the store."""


class ObjectProxy:
    """`origin` is the URL of the store (scheme, host, port) as this process reaches it;
    `bucket` the only one that is served. `AWS_CA_BUNDLE` names its authorities, as for
    the driver. Construct it in a running loop and `close` it."""

    def __init__(
        self, *, origin: str, bucket: str, limits: ObjectProxyLimits | None = None
    ) -> None:
        self._origin = origin
        self._bucket = bucket
        self._limits = limits or ObjectProxyLimits()
        self._slots = Slots(self._limits.max_in_flight)
        self._store = httpx.AsyncHTTPTransport(
            verify=_authorities(),
            trust_env=False,
            limits=httpx.Limits(
                max_connections=self._limits.max_in_flight,
                max_keepalive_connections=self._limits.kept_connections,
            ),
        )

    @property
    def routes(self) -> list[Route]:
        """For the gateway's application: `/{bucket}/{key}`. Whatever has no signature is
        answered 404 there."""
        return [Route(f"/{self._bucket}/{{key:path}}", endpoint=self, include_in_schema=False)]

    async def close(self) -> None:
        """End the connections to the store."""
        await self._store.aclose()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        scope[ROUTE_KEY] = _LABEL
        request = Request(scope, receive)
        if not is_signed(scope["query_string"]):
            raise HTTPException(HTTPStatus.NOT_FOUND)
        if request.method not in METHODS:
            raise HTTPException(HTTPStatus.METHOD_NOT_ALLOWED, headers={"Allow": _ALLOW})
        await answered(self._admit(request, send), request, send)

    async def _admit(self, request: Request, send: Send) -> None:
        with self._slots.one():
            signed = signed_request(
                request.method,
                path=bytes(request.scope["raw_path"]),
                query=bytes(request.scope["query_string"]),
                headers=request.scope["headers"],
                bucket=self._bucket,
            )
            if signed.method == "PUT":
                await self._put(request, signed, send)
            else:
                await while_connected(request.receive, self._get(signed, send))

    async def _put(self, request: Request, signed: SignedRequest, send: Send) -> None:
        patience = self._patience(signed.size)
        body = _Body(request, patience)
        try:
            async with patience.timeout:
                answer = await self._ask(signed, body)
        except TimeoutError:
            raise too_slow() from None
        await self._pass_on(answer, send, close=not body.complete)

    async def _get(self, signed: SignedRequest, send: Send) -> None:
        answer = await self._ask(signed, None)
        await self._pass_on(answer, send)

    async def _ask(self, signed: SignedRequest, body: _Body | None) -> httpx.Response:
        """The head of the store's answer. Raises RefusedError, ClientDisconnect."""
        try:
            answer = await self._store.handle_async_request(self._request(signed, body))
        except httpx.TransportError as error:
            _LOG.warning("the object store does not answer: %s", type(error).__name__)
            raise unavailable() from None
        if answer.has_redirect_location or answer.status_code < HTTPStatus.OK:
            await answer.aclose()
            _LOG.warning("the object store sends clients elsewhere: %d", answer.status_code)
            raise unavailable()
        return answer

    def _request(self, signed: SignedRequest, body: _Body | None) -> httpx.Request:
        idle, connect = self._limits.idle, self._limits.connect
        timeout = {"connect": connect, "read": idle, "write": idle, "pool": connect}
        return httpx.Request(
            signed.method,
            self._origin,
            headers=signed.headers,
            content=body.chunks() if body is not None else None,
            extensions={"target": signed.target, "timeout": timeout},
        )

    async def _pass_on(self, answer: httpx.Response, send: Send, *, close: bool = False) -> None:
        patience = self._patience(int(answer.headers.get("content-length", _NO_LENGTH)))
        async with aclosing(answer):
            try:
                async with patience.timeout:
                    await self._send(answer, send, patience, close=close)
            except (httpx.TransportError, TimeoutError) as error:
                _LOG.warning("transfer cut: %s", type(error).__name__)
                raise CutError from None

    async def _send(
        self, answer: httpx.Response, send: Send, patience: _Patience, *, close: bool
    ) -> None:
        headers = _shown(answer.headers.raw)
        if close:
            headers.append((b"connection", b"close"))
        start = {"type": "http.response.start", "status": answer.status_code, "headers": headers}
        await send(start)
        # To its end in any case: only then is the connection used again.
        async for chunk in _stream_of(answer):
            patience.begin()
            await send({"type": "http.response.body", "body": chunk, "more_body": True})
            patience.end()
        await send({"type": "http.response.body", "body": b"", "more_body": False})

    def _patience(self, length: int) -> _Patience:
        limits = self._limits
        return _Patience(limits.idle, limits.grace + length / limits.min_bytes_per_second)


class _Patience:
    """Ends what runs in `timeout` after `most` seconds, and when a client keeps us waiting
    for `idle`. One timer for all chunks; how long the store may take is told to httpx."""

    def __init__(self, idle: float, most: float) -> None:
        self._loop = asyncio.get_running_loop()
        self._idle = idle
        self._last = self._loop.time() + most
        self.timeout = asyncio.timeout_at(self._last)

    def begin(self) -> None:
        """From now on we wait for the client."""
        self.timeout.reschedule(min(self._last, self._loop.time() + self._idle))

    def end(self) -> None:
        """It has come."""
        self.timeout.reschedule(self._last)


class _Body:
    """The body of a request, as it comes."""

    def __init__(self, request: Request, patience: _Patience) -> None:
        self._request = request
        self._patience = patience
        self.complete = False

    async def chunks(self) -> AsyncGenerator[bytes, None]:
        """Raises ClientDisconnect."""
        self._patience.begin()
        async for chunk in self._request.stream():
            self._patience.end()
            if chunk:
                yield chunk
            self._patience.begin()
        self._patience.end()
        self.complete = True


def _stream_of(answer: httpx.Response) -> AsyncIterator[bytes]:
    """The bytes as they came: no content coding is undone."""
    assert isinstance(answer.stream, httpx.AsyncByteStream)
    return aiter(answer.stream)


def _shown(headers: list[tuple[bytes, bytes]]) -> list[tuple[bytes, bytes]]:
    """The store's, without those of a connection; and ours, which keep a file that
    somebody sent from acting as a page of this host."""
    lower = [(name.lower(), value) for name, value in headers]
    dropped = _NOT_PASSED | _FIXED_NAMES | nominated(lower)
    return [pair for pair in lower if pair[0] not in dropped] + _FIXED


def _authorities() -> ssl.SSLContext:
    bundle = os.environ.get("AWS_CA_BUNDLE") or os.environ.get("REQUESTS_CA_BUNDLE")
    if bundle:
        return ssl.create_default_context(cafile=bundle)
    return httpx.create_ssl_context()
