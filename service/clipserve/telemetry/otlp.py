"""Sends spans over OTLP/HTTP from a thread of OpenTelemetry's SDK. Imported only if tracing is on.

Nothing here waits for the collector: spans that it does not take in time are dropped. The provider is not the
global one, so that libraries which trace by themselves send nothing.
"""

from __future__ import annotations

import random
import re
import threading
from collections.abc import Sequence

from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import SERVICE_NAME, SERVICE_VERSION, OTELResourceDetector, Resource
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult
from opentelemetry.sdk.trace.sampling import ALWAYS_ON
from opentelemetry.trace import NonRecordingSpan, SpanContext, SpanKind, TraceFlags

from clipserve import __version__
from clipserve.telemetry.spans import Count, Span, Tracing

# https://www.w3.org/TR/trace-context/#traceparent-header: a later version may add fields after the flags. Not
# OpenTelemetry's propagator, which takes ten times as long and logs a line for each header that is too long.
_TRACEPARENT = re.compile(r"(?!ff)([0-9a-f]{2})-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})(-.*)?")


def exporter_to(endpoint: str) -> SpanExporter:
    """`endpoint`: the URL of a collector, without /v1/traces."""
    return OTLPSpanExporter(endpoint.rstrip("/") + "/v1/traces")


class Otlp(Tracing):
    """Traces requests whose `traceparent` is sampled, and a share of those without this header."""

    def __init__(self, exporter: SpanExporter, ratio: float, count: Count) -> None:
        """`ratio`: the share of requests without the header."""
        service = Resource.create({SERVICE_NAME: "clipserve", SERVICE_VERSION: __version__})
        resource = service.merge(OTELResourceDetector().detect())  # the operator's attributes have priority
        self._ratio = ratio
        self._count = count
        self._exporter = exporter
        self._provider = TracerProvider(ALWAYS_ON, resource, shutdown_on_exit=False)
        self._provider.add_span_processor(BatchSpanProcessor(_Counting(exporter, count)))
        self._tracer = self._provider.get_tracer("clipserve", __version__)

    def begin(self, traceparent: str | bytes | None) -> Span | None:
        if traceparent is None:
            chosen = self._ratio > 0 and random.random() < self._ratio  # noqa: S311 - nothing secret
            return self._root(Context()) if chosen else None
        if isinstance(traceparent, bytes):
            traceparent = traceparent.decode("latin-1")
        parent = _sampled(traceparent)
        return self._root(trace.set_span_in_context(NonRecordingSpan(parent), Context())) if parent else None

    def close(self, seconds: float = 1.0) -> None:
        """Send the queued spans, for so many seconds at most."""
        ending = threading.Thread(target=self._provider.shutdown, name="traces", daemon=True)
        ending.start()
        ending.join(seconds)
        if ending.is_alive():
            self._exporter.shutdown()  # it would retry for half a minute

    def _root(self, context: Context) -> Span:
        span = self._tracer.start_span("request", context, SpanKind.SERVER)
        return Span(span, self._tracer, self._count)


class _Counting(SpanExporter):
    """Counts the spans that are sent and those that are not."""

    def __init__(self, exporter: SpanExporter, count: Count) -> None:
        self._exporter = exporter
        self._count = count

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        result = self._exporter.export(spans)
        self._count("sent" if result is SpanExportResult.SUCCESS else "failed", len(spans))
        return result

    def shutdown(self) -> None:
        self._exporter.shutdown()


def _sampled(traceparent: str) -> SpanContext | None:
    """The caller's span, if the header is valid and sampled."""
    found = _TRACEPARENT.fullmatch(traceparent)
    if not found:
        return None
    version, trace_id, span_id, flags, rest = found.groups()
    if (version == "00" and rest) or not int(flags, 16) & TraceFlags.SAMPLED:
        return None
    context = SpanContext(int(trace_id, 16), int(span_id, 16), True, TraceFlags(TraceFlags.SAMPLED))
    return context if context.is_valid else None
