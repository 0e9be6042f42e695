from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import pytest
from opentelemetry import trace
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from services.telemetry.traces import CallSpan, Tracing, open_tracing, otlp_exporter, trace_headers

TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"
PARENT = "00f067aa0ba902b7"
HEADER = ("traceparent", f"00-{TRACE}-{PARENT}-01")


async def _begin(tracing: Tracing, *metadata: tuple[str, str | bytes]) -> tuple[CallSpan, object]:
    async def call() -> tuple[CallSpan, object]:
        return tracing.begin("/t.T/M", metadata), trace_headers()

    run: Callable[[], Awaitable[tuple[CallSpan, object]]] = call
    return await asyncio.create_task(run())  # type: ignore[arg-type]


async def test_without_an_exporter_the_trace_still_goes_on() -> None:
    tracing = open_tracing(None, service_name="test")
    span, headers = await _begin(tracing, HEADER, ("tracestate", "a=b"))
    assert span.trace_id == TRACE
    assert headers == (HEADER, ("tracestate", "a=b"))
    span.end("OK", "")
    assert trace_headers() == ()  # it was current in the call's task only


@pytest.mark.parametrize(
    "metadata",
    [
        (),
        (("traceparent", "junk"),),
        (("traceparent", f"00-{'0' * 32}-{PARENT}-01"),),
        (HEADER, HEADER),
        (("traceparent", b"x"),),
    ],
)
async def test_without_a_good_header_there_is_no_trace(
    metadata: tuple[tuple[str, str | bytes], ...],
) -> None:
    span, headers = await _begin(Tracing(), *metadata)
    assert (span.trace_id, headers) == ("", ())


async def test_spans_are_recorded_under_their_parent() -> None:
    exporter = InMemorySpanExporter()
    tracing = open_tracing(exporter, service_name="test")
    span, headers = await _begin(tracing, HEADER)
    span.end("NOT_FOUND", "ERROR_REASON_NOT_FOUND")
    fresh, _ = await _begin(tracing)
    fresh.end("INTERNAL", "ERROR_REASON_INTERNAL")
    tracing.close()
    first, second = exporter.get_finished_spans()
    assert first.name == "t.T/M"
    assert first.kind is trace.SpanKind.SERVER
    assert trace.format_trace_id(first.context.trace_id) == TRACE == span.trace_id
    assert first.parent is not None
    assert trace.format_span_id(first.parent.span_id) == PARENT
    assert first.attributes is not None
    assert first.attributes["rpc.response.status_code"] == "NOT_FOUND"
    assert first.status.status_code is trace.StatusCode.UNSET
    own = trace.format_span_id(first.context.span_id)
    assert headers == (("traceparent", f"00-{TRACE}-{own}-01"),)
    assert second.parent is None
    assert second.status.status_code is trace.StatusCode.ERROR
    assert fresh.trace_id not in ("", TRACE)


async def test_only_the_sampled_are_recorded() -> None:
    exporter = InMemorySpanExporter()
    tracing = open_tracing(exporter, service_name="test", sample_ratio=0.0)
    span, _ = await _begin(tracing)
    span.end("OK", "")
    forced, _ = await _begin(tracing, HEADER)
    forced.end("OK", "")
    tracing.close()
    assert [s.context.trace_id for s in exporter.get_finished_spans()] == [int(TRACE, 16)]


def test_a_missing_exporter_says_how_to_install_it(monkeypatch: pytest.MonkeyPatch) -> None:
    name = "opentelemetry.exporter.otlp.proto.grpc.trace_exporter"
    monkeypatch.setitem(__import__("sys").modules, name, None)
    with pytest.raises(RuntimeError, match="pip install opentelemetry-exporter-otlp"):
        otlp_exporter("http://localhost:4317")
