"""Measurements of HTTP requests, and the endpoint that shows a registry.

`workspace_http_requests_total{method,route,status}`,
`workspace_http_duration_seconds{method,route}`. Routes are templates, so the
number of labels is bounded; status 0 is a client that went away.
"""

from __future__ import annotations

from http import HTTPStatus

from prometheus_client import CollectorRegistry, Counter, Histogram
from prometheus_client.exposition import choose_encoder
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from services.telemetry.metrics import DURATION_BUCKETS

__all__ = ["HttpMetrics", "metrics_route"]

_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})


class HttpMetrics:
    """The metric families of the gateway. One per registry."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._requests = Counter(
            "workspace_http_requests",
            "Requests answered, by status.",
            ("method", "route", "status"),
            registry=registry,
        )
        self._duration = Histogram(
            "workspace_http_duration_seconds",
            "Time from the header to the end of the answer.",
            ("method", "route"),
            buckets=DURATION_BUCKETS,
            registry=registry,
        )

    def observe(self, method: str, route: str, status: int, seconds: float) -> None:
        """Note one request; `route` is '' when none matched."""
        verb = method if method in _METHODS else "OTHER"
        self._requests.labels(verb, route or "other", str(status)).inc()
        self._duration.labels(verb, route or "other").observe(seconds)


def metrics_route(registry: CollectorRegistry) -> Route:
    """`GET /metrics` in the format that the scraper asks for.

    In this one spelling: load balancers keep the path from strangers, and compare
    paths as they were sent, `%6d` and all."""

    async def metrics(request: Request) -> Response:
        sent = bytes(request.scope.get("raw_path", b"/metrics"))
        if sent.partition(b"?")[0] != b"/metrics":
            raise HTTPException(HTTPStatus.NOT_FOUND)
        encoder, content_type = choose_encoder(request.headers.get("accept", ""))
        return Response(encoder(registry), headers={"Content-Type": content_type})

    return Route("/metrics", metrics, methods=["GET"])
