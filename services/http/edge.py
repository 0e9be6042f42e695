"""The outermost layer of the gateway: request id, no caching, measurements."""

from __future__ import annotations

import time

from starlette.datastructures import MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from services.http.metrics import HttpMetrics
from services.rpc.request_id import REQUEST_ID_HEADER, request_id_of

__all__ = ["ROUTE_KEY", "Edge", "request_id"]

ROUTE_KEY = "workspace.route"
"""Scope key: the template of the matched route, a bounded label."""
_ID_KEY = "workspace.request_id"


def request_id(scope: Scope) -> str:
    """The id of the request being served; '' outside of the gateway."""
    return str(scope.get(_ID_KEY, ""))


class Edge:
    """Wraps the whole application; sees every answer, whoever made it."""

    def __init__(self, app: ASGIApp, metrics: HttpMetrics | None) -> None:
        self._app = app
        self._metrics = metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass on; what the inner layer set itself (caching, a policy) stays."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        scope[_ID_KEY] = request_id_of(
            (name.decode("latin-1"), value.decode("latin-1")) for name, value in scope["headers"]
        )
        started = time.perf_counter()
        status = 0

        async def guarded(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                _complete(message, request_id(scope))
            await send(message)

        try:
            await self._app(scope, receive, guarded)
        finally:
            if self._metrics is not None:
                route = str(scope.get(ROUTE_KEY, ""))
                self._metrics.observe(scope["method"], route, status, time.perf_counter() - started)


def _complete(message: Message, own_id: str) -> None:
    headers = MutableHeaders(scope=message)
    headers[REQUEST_ID_HEADER] = own_id
    headers.setdefault("Cache-Control", "no-store")
