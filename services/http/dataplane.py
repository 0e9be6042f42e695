"""The data plane of the filesystem store: what signed URLs lead to.

One path, `/data/objects/{key}?token=...`. The token alone authorises; cookies
and Authorization headers are not looked at. A call is refused with 403 unless
path and query have exactly the signed spelling. Bodies are streamed, bounded
in length and in time, and never held whole. A transfer whose URL is revoked
while it is under way is cut, and leaves nothing.

Mount: `Starlette(routes=[*dataplane_routes(driver, signer, is_revoked=...)])`.
The server must not log query strings (`uvicorn --no-access-log`).
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, aclosing
from http import HTTPStatus
from typing import Protocol
from urllib.parse import quote

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import Receive, Scope, Send

from services.http.download_headers import download_headers, is_unchanged, wanted_range
from services.http.refusals import (
    FIXED_HEADERS,
    bad_request,
    driver_errors,
    forbidden,
    too_large,
    too_slow,
    unavailable,
    wrong_header,
)
from services.http.transfers import CutError, Slots, answered
from services.http.while_allowed import EndedError, while_allowed
from services.model.errors import WorkspaceError
from services.objects.port import (
    ByteRange,
    ObjectExists,
    ObjectInfo,
    ObjectMissing,
    PartInfo,
    StoreUnavailable,
    WrongBytes,
)
from services.objects.tokens import Claims, TokenError, UrlSigner

__all__ = ["DataDriver", "IsRevoked", "dataplane_routes"]

_LOG = logging.getLogger(__name__)
_PREFIX = "/data/objects/"
_QUERY = b"token="
_MIN_BYTES_PER_SECOND = 16 * 1024
_GRACE_SECONDS = 30.0

IsRevoked = Callable[[str, str, int], Awaitable[bool]]
"""`await is_revoked(principal, revision_scope, revision)`: asked on each use, each
second of a transfer, and before an upload becomes visible. Cache for at most 2 seconds."""


class DataDriver(Protocol):
    """What the data plane needs of a driver; `FilesystemDriver` has it."""

    async def head(self, key: str) -> ObjectInfo: ...

    def open_read(self, key: str, span: ByteRange | None = None) -> AsyncGenerator[bytes, None]: ...

    async def create(
        self,
        key: str,
        chunks: AsyncIterator[bytes],
        *,
        size: int | None,
        sha256: str | None,
        content_type: str,
        exclusive: bool = True,
        before_publish: Callable[[], Awaitable[None]] | None = None,
    ) -> ObjectInfo: ...

    async def multipart_put(
        self,
        key: str,
        multipart_id: str,
        number: int,
        chunks: AsyncIterator[bytes],
        *,
        size: int | None,
        sha256: str | None,
    ) -> PartInfo: ...


def dataplane_routes(
    driver: DataDriver,
    signer: UrlSigner,
    *,
    is_revoked: IsRevoked,
    max_inflight: int = 64,
    grace_seconds: float = _GRACE_SECONDS,
) -> list[Route]:
    """Routes for the gateway's application, paths beginning with `/data/`.

    More than `max_inflight` transfers at a time are answered 429. A transfer
    may take `grace_seconds` plus its length at 16 KiB/s, then it is cut.
    """
    plane = _DataPlane(driver, signer, is_revoked, max_inflight, grace_seconds)
    return [Route(f"{_PREFIX}{{key:path}}", endpoint=plane, include_in_schema=False)]


class _DataPlane:
    """The ASGI endpoint of all transfers."""

    def __init__(
        self,
        driver: DataDriver,
        signer: UrlSigner,
        is_revoked: IsRevoked,
        max_inflight: int,
        grace_seconds: float,
    ) -> None:
        self._driver = driver
        self._signer = signer
        self._is_revoked = is_revoked
        self._slots = Slots(max_inflight)
        self._grace = grace_seconds

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        request = Request(scope, receive)
        await answered(self._admit(request, send), request, send)

    async def _admit(self, request: Request, send: Send) -> None:
        with self._slots.one():
            claims = self._authorise(request)
            await self._check_revoked(claims)
            with driver_errors(upload=request.method == "PUT"):
                if request.method == "PUT":
                    await self._put(request, claims, send)
                else:
                    await self._get(request, claims, send)

    def _authorise(self, request: Request) -> Claims:
        query = bytes(request.scope["query_string"])
        try:
            claims = self._signer.verify(_token(request), request.method)
        except (TokenError, UnicodeDecodeError, WorkspaceError) as error:
            _LOG.info("transfer refused: %s", getattr(error, "cause", "token"))
            raise forbidden() from None
        path = (_PREFIX + quote(claims.key, safe="/")).encode()
        if not query.startswith(_QUERY) or bytes(request.scope["raw_path"]) != path:
            _LOG.info("transfer refused: path or query is not the signed one")
            raise forbidden()
        return claims

    def _while_allowed(self, request: Request, claims: Claims) -> AbstractAsyncContextManager[None]:
        async def allowed() -> bool:
            live = self._signer.is_live(_token(request), request.method)
            return live and not await self._revoked(claims)

        return while_allowed(allowed)

    async def _revoked(self, claims: Claims) -> bool:
        return await self._is_revoked(claims.principal, claims.revision_scope, claims.revision)

    async def _check_revoked(self, claims: Claims) -> None:
        try:
            revoked = await self._revoked(claims)
        except Exception:
            _LOG.exception("revocation could not be checked; the transfer is refused")
            raise unavailable() from None
        if revoked:
            raise forbidden()

    async def _put(self, request: Request, claims: Claims, send: Send) -> None:
        size = _check_upload_headers(request, claims)
        try:
            async with (
                asyncio.timeout(self._seconds(size)), self._while_allowed(request, claims)
            ):
                tag = await self._receive(request, claims, size)
        except TimeoutError:
            raise too_slow() from None
        except EndedError:
            raise forbidden() from None
        response = Response(status_code=HTTPStatus.OK, headers={**FIXED_HEADERS, "ETag": tag})
        await response(request.scope, request.receive, send)

    async def _receive(self, request: Request, claims: Claims, size: int) -> str:
        async with aclosing(_body(request, size)) as body:
            if claims.part is not None:
                part = await self._driver.multipart_put(
                    claims.key, *claims.part, body, size=size, sha256=claims.sha256 or None
                )
                return f'"{part.tag}"'
            await self._refuse_existing(claims.key)
            info = await self._driver.create(
                claims.key,
                body,
                size=size,
                sha256=claims.sha256 or None,
                content_type=claims.content_type or request.headers.get("content-type", ""),
                before_publish=lambda: self._check_revoked(claims),
            )
            return f'"{info.sha256}"'

    async def _refuse_existing(self, key: str) -> None:
        """Answer before the body is sent; the race is decided by `create`."""
        try:
            await self._driver.head(key)
        except ObjectMissing:
            return
        raise ObjectExists(key)

    async def _get(self, request: Request, claims: Claims, send: Send) -> None:
        info = await self._driver.head(claims.key)
        if claims.sha256 and info.sha256 != claims.sha256:
            raise WrongBytes("the object is not the one that was signed")
        tag = f'"{info.sha256}"'
        headers = {**FIXED_HEADERS, **download_headers(claims, info), "ETag": tag}
        if is_unchanged(request.headers.get("if-none-match", ""), tag):
            response = Response(status_code=HTTPStatus.NOT_MODIFIED, headers=headers)
            await response(request.scope, request.receive, send)
            return
        await self._send(request, claims, info, headers, send)

    async def _send(
        self,
        request: Request,
        claims: Claims,
        info: ObjectInfo,
        headers: dict[str, str],
        send: Send,
    ) -> None:
        span = wanted_range(request, info, headers["ETag"])
        status, length = HTTPStatus.OK, info.size
        if span is not None:
            last = info.size - 1 if span.last is None else span.last
            status, length = HTTPStatus.PARTIAL_CONTENT, last - span.first + 1
            headers["Content-Range"] = f"bytes {span.first}-{last}/{info.size}"
        headers["Content-Length"] = str(length)
        if request.method == "HEAD":
            await Response(status_code=status, headers=headers)(
                request.scope, request.receive, send
            )
            return
        try:
            async with (
                asyncio.timeout(self._seconds(length)), self._while_allowed(request, claims)
            ):
                await self._stream(info.key, span, status, headers, send)
        except TimeoutError:
            _LOG.warning("download cut: the client reads too slowly")
            raise CutError from None
        except EndedError:
            _LOG.info("download cut: the URL was revoked")
            raise CutError from None

    async def _stream(
        self,
        key: str,
        span: ByteRange | None,
        status: HTTPStatus,
        headers: dict[str, str],
        send: Send,
    ) -> None:
        started = False
        async with aclosing(self._driver.open_read(key, span)) as chunks:
            try:
                async for chunk in chunks:
                    if not started:
                        await send(_start(status, headers))
                        started = True
                    await send({"type": "http.response.body", "body": chunk, "more_body": True})
            except (WrongBytes, StoreUnavailable, ObjectMissing):
                if not started:
                    raise
                _LOG.exception("download cut: the stored bytes failed verification or reading")
                raise CutError from None
        await send({"type": "http.response.body", "body": b"", "more_body": False})

    def _seconds(self, length: int) -> float:
        return self._grace + length / _MIN_BYTES_PER_SECOND


def _token(request: Request) -> str:
    """Raises UnicodeDecodeError for what cannot be one."""
    return bytes(request.scope["query_string"]).removeprefix(_QUERY).decode("ascii")


def _start(status: HTTPStatus, headers: dict[str, str]) -> dict[str, object]:
    raw = [(name.lower().encode(), value.encode("latin-1")) for name, value in headers.items()]
    return {"type": "http.response.start", "status": status.value, "headers": raw}


def _check_upload_headers(request: Request, claims: Claims) -> int:
    """The exact length of the body; refuses everything that was not signed."""
    announced = request.headers.getlist("content-length")
    if "transfer-encoding" in request.headers or len(announced) > 1:
        raise bad_request("Send the body with one Content-Length and without Transfer-Encoding.")
    if not announced or not announced[0].isdecimal():
        raise bad_request("Content-Length is required.", HTTPStatus.LENGTH_REQUIRED)
    if request.headers.get("content-encoding", "identity") != "identity":
        raise bad_request("Content-Encoding is not supported.", HTTPStatus.UNSUPPORTED_MEDIA_TYPE)
    size = int(announced[0])
    if claims.size is None or size > claims.size:
        raise too_large()
    if size < claims.size:
        raise bad_request("The body is shorter than the length the URL was signed for.")
    if claims.content_type and request.headers.getlist("content-type") != [claims.content_type]:
        raise wrong_header("Content-Type", claims.content_type)
    return size


async def _body(request: Request, size: int) -> AsyncGenerator[bytes, None]:
    """The request body, cut at the first byte over `size`."""
    received = 0
    async for chunk in request.stream():
        received += len(chunk)
        if received > size:
            raise too_large()
        if chunk:
            yield chunk
