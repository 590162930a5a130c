"""Sends spans over OTLP/HTTP, from a thread of OpenTelemetry's SDK. Imported only if tracing is on.

Nothing waits for the collector: spans that it does not take in time are dropped.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import SERVICE_NAME, SERVICE_VERSION, OTELResourceDetector, Resource
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF, ParentBased
from opentelemetry.trace import Tracer

from clipserve import __version__

Count = Callable[[str, int], None]  # (outcome, spans)


def exporter_to(endpoint: str) -> SpanExporter:
    """`endpoint`: the URL of a collector, without /v1/traces."""
    return OTLPSpanExporter(endpoint.rstrip("/") + "/v1/traces")


@contextmanager
def sending(exporter: SpanExporter, count: Count, close_seconds: float) -> Iterator[Tracer]:
    """A tracer. The block's end sends the spans that still wait, for so many seconds at most.

    Which requests without `traceparent` are traced, OTEL_TRACES_SAMPLER says; without it none.
    """
    service = Resource.create({SERVICE_NAME: "clipserve", SERVICE_VERSION: __version__})
    resource = service.merge(OTELResourceDetector().detect())  # the operator's attributes have priority
    sampler = None if "OTEL_TRACES_SAMPLER" in os.environ else ParentBased(ALWAYS_OFF)
    provider = TracerProvider(sampler, resource, shutdown_on_exit=False)
    provider.add_span_processor(BatchSpanProcessor(_Counting(exporter, count)))
    try:
        yield provider.get_tracer("clipserve", __version__)
    finally:
        ending = threading.Thread(target=provider.shutdown, name="traces", daemon=True)
        ending.start()
        ending.join(close_seconds)
        if ending.is_alive():
            exporter.shutdown()  # it would retry for half a minute


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
