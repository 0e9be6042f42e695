"""The HTTP application: JSON over the annotated RPCs, probes, metrics, data plane."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable, Collection, Iterable, Sequence
from dataclasses import replace
from functools import cache
from http import HTTPStatus
from importlib.metadata import PackageNotFoundError, version

import grpc.aio
from prometheus_client import CollectorRegistry
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import BaseRoute
from starlette.routing import Route as PlainRoute
from starlette.types import ASGIApp, Receive, Scope, Send

from services.http.api import Api
from services.http.calls import Caller
from services.http.edge import ROUTE_KEY, Edge, request_id
from services.http.errors import error_response, not_served
from services.http.health import health_routes
from services.http.limits import HttpLimits
from services.http.metrics import HttpMetrics, metrics_route
from services.http.routes import Route, RouteTable
from services.model.errors import WorkspaceError

__all__ = ["Gateway"]

_PACKAGE = "workspace-management"
_GUIDE = "docs/guides/http.md"


class Gateway:
    """`asgi` is the application to serve.

    `channel_for` gives the channel of a service (full name); it is asked once
    per service, and the channels stay the caller's to close. `methods` are the
    full names (`/package.Service/Method`) of what is served: others have no
    route. Their generated modules have to be imported. `extra_routes` are
    Starlette routes (the data plane under `/data/`) and win over the API.
    `public` are the methods that need no credentials.
    `ready` decides `/readyz`. Without `metrics_registry` there is no `/metrics`.
    Raises ValueError when an annotation is broken or two collide.
    """

    def __init__(
        self,
        channel_for: Callable[[str], grpc.aio.Channel],
        methods: Iterable[str],
        *,
        max_body_bytes: int | None = None,
        extra_routes: Sequence[BaseRoute] = (),
        ready: Callable[[], Awaitable[bool]],
        metrics_registry: CollectorRegistry | None = None,
        limits: HttpLimits | None = None,
        public: Collection[str] = (),
    ) -> None:
        limits = limits or HttpLimits()
        if max_body_bytes is not None:
            limits = replace(limits, max_body_bytes=max_body_bytes)
        self._table = RouteTable(methods)
        api = Api(self._table, Caller(channel_for), limits, public=public)
        plain = [*health_routes(ready), _landing(metrics_registry is not None)]
        plain.append(_openapi(self._table.routes, public))
        if metrics_registry is not None:
            plain.append(metrics_route(metrics_registry))
        app = _application([*(_labelled(route) for route in plain), *extra_routes], api)
        metrics = HttpMetrics(metrics_registry) if metrics_registry is not None else None
        self.asgi: ASGIApp = Edge(app, metrics)

    @property
    def routes(self) -> tuple[Route, ...]:
        """The API routes that are served."""
        return self._table.routes


def _application(routes: Sequence[BaseRoute], api: Api) -> Starlette:
    app = Starlette(
        routes=list(routes),
        exception_handlers={HTTPException: _refused, WorkspaceError: _failed, 500: _failed},
    )
    app.router.redirect_slashes = False
    app.router.default = api
    return app


def _labelled(route: PlainRoute) -> PlainRoute:
    """The route, noting its path as the label of measurements."""
    inner = route.app

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        scope[ROUTE_KEY] = route.path
        await inner(scope, receive, send)

    route.app = app
    return route


async def _refused(request: Request, exc: Exception) -> Response:
    """What Starlette's own routes refuse, in our shape."""
    assert isinstance(exc, HTTPException)
    allow = (exc.headers or {}).get("Allow", "")
    methods = [name.strip() for name in allow.split(",") if name.strip()]
    text = HTTPStatus(exc.status_code).phrase
    error = not_served(f"{text}.", status=exc.status_code, allow=methods)
    return error_response(error, request_id(request.scope))


async def _failed(request: Request, exc: Exception) -> Response:
    return error_response(exc, request_id(request.scope))


def _landing(has_metrics: bool) -> PlainRoute:
    links = {"health": "/healthz", "ready": "/readyz", "openapi": "/openapi.json", "guide": _GUIDE}
    if has_metrics:
        links["metrics"] = "/metrics"

    async def landing(_: Request) -> Response:
        return JSONResponse({"name": _PACKAGE, "version": _version(), "links": links})

    return PlainRoute("/", landing, methods=["GET"])


def _openapi(routes: Sequence[Route], public: Collection[str]) -> PlainRoute:
    @cache
    def body() -> bytes:
        from services.http.openapi.document import openapi_document

        found = openapi_document(routes, version=_version(), public=public)
        return json.dumps(found, ensure_ascii=False).encode()

    async def openapi(_: Request) -> Response:
        return Response(await asyncio.to_thread(body), media_type="application/json")

    return PlainRoute("/openapi.json", openapi, methods=["GET"])


def _version() -> str:
    try:
        return version(_PACKAGE)
    except PackageNotFoundError:
        return "unknown"
