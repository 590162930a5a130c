"""The spans of traced requests, with OpenTelemetry: of requests, decoding, batches and calls to Triton.

The caller's `traceparent` decides whether a request is traced, and for requests without it OTEL_TRACES_SAMPLER; by
default none is. The provider is not OpenTelemetry's global one, or FastAPI and others would make spans too. There
is one in a process. Nothing waits for the collector: spans that it does not take in time are dropped.
"""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

from opentelemetry import context, trace
from opentelemetry.trace import Link, NoOpTracer, Span, SpanKind, StatusCode, Tracer
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from clipserve import __version__
from clipserve.errors import ClipError

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
    from opentelemetry.sdk.trace.export import SpanExporter, SpanExportResult

Attribute = str | int | float
Count = Callable[[str, int], None]  # (sent or failed, spans)

_MAX_TRACEPARENT = 512  # characters; OpenTelemetry logs a line for each header that is longer
_propagator = TraceContextTextMapPropagator()
_tracer: Tracer = NoOpTracer()


class TracingUnavailable(Exception):
    """Tracing is on but cannot work; the message says why."""


@contextmanager
def tracing_to(endpoint: str | None, count: Count, close_seconds: float = 1.0) -> Iterator[None]:
    """Send spans to a collector. The block's end sends those that still wait, for `close_seconds` at most.

    `endpoint`: its URL, without /v1/traces; None: no traces. `count` is called in a thread.

    Raises:
        TracingUnavailable: OpenTelemetry's SDK is not installed.
    """
    global _tracer
    if endpoint is None:
        yield
        return
    try:
        exporter = otlp_exporter(endpoint, count)
        provider = _provider(exporter)
    except ImportError:
        said = "OTEL_EXPORTER_OTLP_ENDPOINT is set, and OpenTelemetry is not installed: "
        raise TracingUnavailable(said + "pip install 'clipserve-core[tracing]'") from None
    _tracer = provider.get_tracer("clipserve", __version__)
    try:
        yield
    finally:
        _tracer = NoOpTracer()
        ending = threading.Thread(target=provider.shutdown, name="traces", daemon=True)
        ending.start()
        ending.join(close_seconds)
        if ending.is_alive():
            exporter.shutdown()  # it would retry for half a minute


def otlp_exporter(endpoint: str, count: Count) -> SpanExporter:
    """Sends spans over HTTP, and counts them."""
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter

    class Counting(OTLPSpanExporter):
        def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
            result = super().export(spans)
            count("sent" if result.name == "SUCCESS" else "failed", len(spans))
            return result

    return Counting(endpoint.rstrip("/") + "/v1/traces")


def _provider(exporter: SpanExporter) -> TracerProvider:
    from opentelemetry.sdk.resources import SERVICE_NAME, SERVICE_VERSION, OTELResourceDetector, Resource
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import BatchSpanProcessor
    from opentelemetry.sdk.trace.sampling import ALWAYS_OFF, ParentBased

    service = Resource.create({SERVICE_NAME: "clipserve", SERVICE_VERSION: __version__})
    resource = service.merge(OTELResourceDetector().detect())  # the operator's attributes have priority
    sampler = None if "OTEL_TRACES_SAMPLER" in os.environ else ParentBased(ALWAYS_OFF)
    provider = TracerProvider(sampler, resource, shutdown_on_exit=False)
    provider.add_span_processor(BatchSpanProcessor(exporter))
    return provider


def begin(traceparent: str | bytes | None) -> Span | None:
    """Start the span of a new request and make it the current one. None: the request is not traced."""
    if isinstance(_tracer, NoOpTracer):
        return None
    if isinstance(traceparent, bytes):
        traceparent = traceparent.decode("latin-1")
    carrier = {"traceparent": traceparent} if traceparent and len(traceparent) <= _MAX_TRACEPARENT else {}
    parent = _propagator.extract(carrier, context.Context())
    made = _tracer.start_span("request", parent, SpanKind.SERVER)
    if not made.is_recording():
        return None
    context.attach(trace.set_span_in_context(made))
    return made


def current_span() -> Span | None:
    """The span that work of the present task is part of; None: it is not traced."""
    found = trace.get_current_span()
    return found if found.is_recording() else None


@contextmanager
def span(
    name: str,
    parents: Iterable[Span] | None = None,
    kind: SpanKind = SpanKind.INTERNAL,
    **attributes: Attribute,
) -> Iterator[Span | None]:
    """Make a span of the block, as a part of the current span; without one there is none, and it is None.

    `parents`: of work for several requests. It is a part of the first; it and the others link to each other.
    """
    if parents is None:
        parents = [here] if (here := current_span()) else []
    distinct = list({id(parent): parent for parent in parents}.values())
    if not distinct:
        yield None
        return
    first, *others = distinct
    links = [Link(other.get_span_context()) for other in others]
    made = _tracer.start_span(name, trace.set_span_in_context(first), kind, named(attributes), links)
    for other in others:
        other.add_link(made.get_span_context())
    with trace.use_span(made, end_on_exit=True, record_exception=False, set_status_on_exception=False):
        try:
            yield made
        except BaseException as error:
            fail(made, error)
            raise


def fail(failed: Span, error: BaseException) -> None:
    """Mark a span as failed, with the reason in one word."""
    cancelled = "cancelled" if isinstance(error, asyncio.CancelledError) else type(error).__name__
    failed.set_status(StatusCode.ERROR, error.code if isinstance(error, ClipError) else cancelled)


def headers() -> dict[str, str]:
    """Of a call to another server: they make its spans parts of the current one. Empty without one."""
    carrier: dict[str, str] = {}
    _propagator.inject(carrier)
    return carrier


def named(attributes: Mapping[str, Attribute]) -> dict[str, Attribute]:
    """Attributes of a span, whose names begin with the service's."""
    return {f"clipserve.{name}": value for name, value in attributes.items()}
