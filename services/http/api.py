"""The ASGI endpoint of all annotated RPCs."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager

import grpc.aio
from google.protobuf.message import Message
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from services.http.calls import Caller, encode, stream_answer, while_connected
from services.http.edge import ROUTE_KEY, request_id
from services.http.errors import HttpError, error_response
from services.http.etags import response_etag
from services.http.headers import RequestHeaders, read_headers
from services.http.limits import ClientGone, HttpLimits, read_body
from services.http.requests import build_request
from services.http.routes import Route, RouteTable
from services.model.errors import Reason, WorkspaceError
from services.rpc.errors import peer_status

__all__ = ["Api"]

_log = logging.getLogger("workspace.http")


class Api:
    """Answers whatever no other route of the gateway took. `public` are the methods
    that need no credentials."""

    def __init__(
        self,
        table: RouteTable,
        caller: Caller,
        limits: HttpLimits,
        *,
        public: Collection[str] = (),
    ) -> None:
        self._table = table
        self._public = frozenset(public)
        self._caller = caller
        self._limits = limits
        self._free = limits.max_in_flight

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Failures are answered here, but for those inside of a running stream."""
        if scope["type"] != "http":
            return
        try:
            with self._slot():
                await self._serve(scope, receive, send)
        except ClientGone:
            return
        except Exception as exc:
            _note(exc, scope)
            await error_response(exc, request_id(scope))(scope, receive, send)

    @contextmanager
    def _slot(self) -> Iterator[None]:
        if self._free <= 0:
            raise WorkspaceError(
                Reason.ERROR_REASON_BACKEND_UNAVAILABLE,
                "Too many requests are being served; repeat the call.",
                metadata={"backend": "gateway"},
            )
        self._free -= 1
        try:
            yield
        finally:
            self._free += 1

    async def _serve(self, scope: Scope, receive: Receive, send: Send) -> None:
        raw_path = bytes(scope["raw_path"]).decode("latin-1")
        route, parameters = self._table.match(scope["method"], raw_path)
        scope[ROUTE_KEY] = route.template.text
        headers = read_headers(
            scope["headers"],
            request_id=request_id(scope),
            streams=route.streams,
            deadlines=self._limits.deadlines,
            client=(scope.get("client") or ("",))[0],
            public=route.rpc in self._public,
        )
        body = await read_body(scope, receive, self._limits)
        request = await self._request(
            route, parameters, bytes(scope["query_string"]), body, headers
        )
        if route.streams:
            await while_connected(
                receive,
                stream_answer(
                    self._caller.stream(route, request, headers),
                    send,
                    request_id=request_id(scope),
                    limits=self._limits,
                ),
            )
            return
        answer = await while_connected(receive, self._caller.unary(route, request, headers))
        response = await self._response(answer)
        await response(scope, receive, send)

    async def _request(
        self,
        route: Route,
        parameters: Mapping[str, str],
        query: bytes,
        body: bytes,
        headers: RequestHeaders,
    ) -> Message:
        def build() -> Message:
            return build_request(
                route, parameters=parameters, query=query, body=body, if_match=headers.if_match
            )

        if len(body) > self._limits.offload_bytes:
            return await asyncio.to_thread(build)
        return build()

    async def _response(self, answer: Message) -> Response:
        etag = response_etag(answer)
        return Response(
            await encode(answer, self._limits),
            headers={"ETag": etag} if etag else {},
            media_type="application/json",
        )


def _note(exc: Exception, scope: Scope) -> None:
    """Log defects and failing peers; what the client did wrong is not news."""
    extra = {"request_id": request_id(scope), "route": scope.get(ROUTE_KEY, "")}
    if isinstance(exc, HttpError | WorkspaceError):
        return
    if not isinstance(exc, grpc.aio.AioRpcError):
        _log.error("unhandled exception", exc_info=exc, extra=extra)
    elif peer_status(exc) is None:
        _log.warning("a service failed: %s %s", exc.code().name, exc.details(), extra=extra)
