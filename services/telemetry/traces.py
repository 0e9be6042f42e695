"""OpenTelemetry spans of served calls, and W3C trace context (traceparent).

Without an exporter nothing is recorded, but a `traceparent` that comes in still
goes out to peers and into the logs. There is no global tracer provider.
"""

from __future__ import annotations

import importlib
from collections.abc import Iterable
from typing import TYPE_CHECKING

from opentelemetry import context as otel_context
from opentelemetry import trace
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

if TYPE_CHECKING:  # the SDK takes long to import, and only an exporter needs it
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import SpanExporter

__all__ = ["CallSpan", "Tracing", "open_tracing", "otlp_exporter", "trace_headers"]

_HEADERS = ("traceparent", "tracestate")
_SERVER_FAULTS = frozenset(
    {"UNKNOWN", "DEADLINE_EXCEEDED", "UNIMPLEMENTED", "INTERNAL", "UNAVAILABLE", "DATA_LOSS"}
)
_PROPAGATOR = TraceContextTextMapPropagator()


class CallSpan:
    """The span of one call. `trace_id` is 32 hex digits, '' without a trace."""

    __slots__ = ("_span", "trace_id")

    def __init__(self, trace_id: str = "", span: trace.Span | None = None) -> None:
        self.trace_id = trace_id
        self._span = span

    def end(self, code: str, reason: str) -> None:
        """Record the outcome (names of code and reason) and end the span.

        As the semantic conventions say for servers, only faults of the server
        are errors; a NOT_FOUND is not.
        """
        if self._span is None:
            return
        self._span.set_attribute("rpc.response.status_code", code)
        if reason:
            self._span.set_attribute("error.type", reason)
        if code in _SERVER_FAULTS:
            self._span.set_status(trace.StatusCode.ERROR)
        self._span.end()


_NO_SPAN = CallSpan()


class Tracing:
    """Begins the spans of calls; records nothing when `provider` is None."""

    def __init__(self, provider: TracerProvider | None = None) -> None:
        self._provider = provider
        self._tracer = provider.get_tracer("workspace.rpc") if provider is not None else None

    def begin(self, method: str, metadata: Iterable[tuple[str, str | bytes]]) -> CallSpan:
        """Begin the span of a call and make it current for the call's task.

        It is not made un-current: the task, and its context, ends with the call.
        """
        parent = _extract(metadata)
        if self._tracer is None:
            return _forward(parent)
        service, _, name = method.removeprefix("/").partition("/")
        span = self._tracer.start_span(
            f"{service}/{name}",
            context=parent if parent is not None else otel_context.Context(),
            kind=trace.SpanKind.SERVER,
            attributes={"rpc.system.name": "grpc", "rpc.method": f"{service}/{name}"},
        )
        otel_context.attach(trace.set_span_in_context(span))
        return CallSpan(trace.format_trace_id(span.get_span_context().trace_id), span)

    def close(self) -> None:
        """Send what is left and stop."""
        if self._provider is not None:
            self._provider.shutdown()


def _extract(metadata: Iterable[tuple[str, str | bytes]]) -> otel_context.Context | None:
    """The caller's trace; None without exactly one well-formed `traceparent`."""
    found = [(key, value) for key, value in metadata if key in _HEADERS]
    if not found:
        return None
    carrier = {key: value for key, value in found if isinstance(value, str)}
    if len(carrier) != len(found):  # twice, or binary
        return None
    return _PROPAGATOR.extract(carrier, otel_context.Context())


def _forward(parent: otel_context.Context | None) -> CallSpan:
    if parent is None:
        return _NO_SPAN
    remote = trace.get_current_span(parent).get_span_context()
    if not remote.is_valid:
        return _NO_SPAN
    otel_context.attach(parent)
    return CallSpan(trace.format_trace_id(remote.trace_id))


def trace_headers() -> tuple[tuple[str, str], ...]:
    """`traceparent` and `tracestate` for a call to a peer; empty without a trace."""
    if not trace.get_current_span().get_span_context().is_valid:
        return ()
    carrier: dict[str, str] = {}
    _PROPAGATOR.inject(carrier)
    return tuple(carrier.items())


def open_tracing(
    exporter: SpanExporter | None, *, service_name: str, sample_ratio: float = 1.0
) -> Tracing:
    """Tracing to `exporter` in batches; None for no recording.

    `sample_ratio` (0 to 1) holds for traces that begin here; others follow
    their parent. Call `close()` before the process ends.
    """
    if exporter is None:
        return Tracing()
    from opentelemetry.sdk.resources import Resource
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import BatchSpanProcessor
    from opentelemetry.sdk.trace.sampling import ParentBased, TraceIdRatioBased

    provider = TracerProvider(
        sampler=ParentBased(TraceIdRatioBased(sample_ratio)),
        resource=Resource.create({"service.name": service_name}),
    )
    provider.add_span_processor(BatchSpanProcessor(exporter))
    return Tracing(provider)


def otlp_exporter(endpoint: str, *, insecure: bool = False) -> SpanExporter:
    """An OTLP/gRPC exporter. RuntimeError with an install hint when it is missing."""
    try:
        module = importlib.import_module("opentelemetry.exporter.otlp.proto.grpc.trace_exporter")
    except ImportError as error:
        raise RuntimeError(
            "tracing to an OTLP endpoint needs: pip install opentelemetry-exporter-otlp-proto-grpc"
        ) from error
    exporter: SpanExporter = module.OTLPSpanExporter(endpoint=endpoint, insecure=insecure)
    return exporter
