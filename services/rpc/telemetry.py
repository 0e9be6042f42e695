"""One log line, one measurement and one span per call.

It stands outside of the error interceptor, so it sees how the call ended.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Any, ClassVar

import grpc
import grpc.aio

from services.rpc.request_id import ServedCall, served_call
from services.rpc.wrap import CallInterceptor, Context, Handler, Stream, Unary, wrap_handler
from services.telemetry.logs import ACCESS_LOGGER
from services.telemetry.metrics import MethodMetrics, RpcMetrics
from services.telemetry.traces import CallSpan, Tracing

__all__ = ["TelemetryInterceptor"]

_log = logging.getLogger(ACCESS_LOGGER)
_KIND = {
    (False, False): "unary",
    (True, False): "client_stream",
    (False, True): "server_stream",
    (True, True): "bidi_stream",
}
_SERVER_FAULTS = frozenset(
    {grpc.StatusCode.INTERNAL, grpc.StatusCode.UNKNOWN, grpc.StatusCode.DATA_LOSS}
)


class _Observation:
    """What is measured of one call, from begin to end."""

    __slots__ = ("_call", "_level", "_metrics", "_span", "_start")

    def __init__(self, call: ServedCall, metrics: MethodMetrics, span: CallSpan, level: int):
        self._call = call
        self._metrics = metrics
        self._span = span
        self._level = level
        self._start = time.perf_counter()
        call.trace_id = span.trace_id
        metrics.started()

    def failed(self, exc: BaseException, context: Context) -> None:
        """Note a code that the error interceptor did not set."""
        if self._call.code is not grpc.StatusCode.OK:
            return
        if isinstance(exc, asyncio.CancelledError | GeneratorExit):
            self._call.code = grpc.StatusCode.CANCELLED
        elif isinstance(exc, grpc.aio.AbortError):
            code = context.code()
            known = isinstance(code, grpc.StatusCode)
            self._call.code = code if known else grpc.StatusCode.UNKNOWN
        else:
            self._call.code = grpc.StatusCode.UNKNOWN

    def ended(self) -> None:
        """Measure, end the span, write the line."""
        call = self._call
        seconds = time.perf_counter() - self._start
        self._metrics.finished(call.code.name, seconds)
        self._span.end(call.code.name, call.reason)
        level = self._level
        if call.code in _SERVER_FAULTS:
            level = logging.WARNING
        elif call.service and call.code is grpc.StatusCode.OK:
            # Part of a call that has a line of its own, with the same request id.
            level = logging.DEBUG
        if _log.isEnabledFor(level):
            _log.log(level, "%s %s", call.method, call.code.name, extra=_fields(call, seconds))


def _fields(call: ServedCall, seconds: float) -> dict[str, object]:
    fields: dict[str, object] = {
        "request_id": call.request_id,
        "method": call.method,
        "code": call.code.name,
        "duration_ms": round(seconds * 1000, 3),
    }
    optional = {
        "principal": call.user_id,
        "service": call.service,
        "reason": call.reason,
        "trace_id": call.trace_id,
    }
    fields.update({name: value for name, value in optional.items() if value})
    return fields


class TelemetryInterceptor(CallInterceptor):
    """Logs, measures and traces each call."""

    name: ClassVar[str] = "telemetry"

    def __init__(self, metrics: RpcMetrics, tracing: Tracing) -> None:
        super().__init__()
        self._metrics = metrics
        self._tracing = tracing

    def wrap(self, method: str, handler: Handler) -> Handler:
        """Observe the call from before authentication until its last byte."""
        kind = _KIND[bool(handler.request_streaming), bool(handler.response_streaming)]
        metrics = self._metrics.method(method, kind)
        # Probes come every few seconds and say nothing when they succeed.
        level = logging.DEBUG if method.startswith("/grpc.health.") else logging.INFO

        def observe() -> _Observation:
            call = served_call()
            span = self._tracing.begin(method, call.metadata)
            return _Observation(call, metrics, span, level)

        def unary(inner: Unary) -> Unary:
            async def serve(request: Any, context: Context) -> Any:
                observation = observe()
                try:
                    return await inner(request, context)
                except BaseException as exc:
                    observation.failed(exc, context)
                    raise
                finally:
                    observation.ended()

            return serve

        def stream(inner: Stream) -> Stream:
            async def serve(request: Any, context: Context) -> AsyncGenerator[Any, None]:
                observation = observe()
                try:
                    async with aclosing(inner(request, context)) as items:
                        async for item in items:
                            yield item
                except BaseException as exc:
                    observation.failed(exc, context)
                    raise
                finally:
                    observation.ended()

            return serve

        return wrap_handler(handler, unary, stream)
