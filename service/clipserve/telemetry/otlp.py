"""Spans by OpenTelemetry's SDK, sent by a thread with OTLP over HTTP. Loaded only where traces are wanted.

Nothing here waits for the collector: what it does not take in time is dropped. The provider is not made the
process's own, so that libraries which trace by themselves stay silent.
"""

from __future__ import annotations

import random
import re
import threading
import time
from collections.abc import Callable, Mapping, Sequence

from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import SERVICE_NAME, SERVICE_VERSION, OTELResourceDetector, Resource
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult
from opentelemetry.sdk.trace.sampling import ALWAYS_ON
from opentelemetry.trace import NonRecordingSpan, SpanContext, SpanKind, StatusCode, TraceFlags

from clipserve import __version__
from clipserve.telemetry.spans import Attribute, Span

# https://www.w3.org/TR/trace-context/#traceparent-header: a later version may have more behind the flags.
_TRACEPARENT = re.compile(r"(?!ff)([0-9a-f]{2})-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})(-.*)?")
_MAX_SPANS = 256  # of a request: one of a thousand images would have four thousand
_MAX_LINKS = 128  # of a span; OpenTelemetry's own limit
_CLOSE_SECONDS = 1.0
_NAMESPACE = "clipserve."

Count = Callable[[str, int], None]  # outcome, spans


def exporter_to(endpoint: str) -> SpanExporter:
    """`endpoint`: the URL of a collector, without /v1/traces."""
    return OTLPSpanExporter(endpoint.rstrip("/") + "/v1/traces")


class Otlp:
    """A `Tracing`: of requests whose `traceparent` says so, and of some that come without this header."""

    def __init__(self, exporter: SpanExporter, ratio: float, count: Count) -> None:
        """`ratio`: the share of requests without the header. `count` is called in several threads."""
        own = Resource.create({SERVICE_NAME: "clipserve", SERVICE_VERSION: __version__})
        resource = own.merge(OTELResourceDetector().detect())  # what the operator says goes first
        self._ratio = ratio
        self._count = count
        self._exporter = exporter
        self._provider = TracerProvider(ALWAYS_ON, resource, shutdown_on_exit=False)
        self._provider.add_span_processor(BatchSpanProcessor(_Counting(exporter, count)))
        self._tracer = self._provider.get_tracer("clipserve", __version__)

    def begin(self, traceparent: str | bytes | None) -> Span | None:
        if traceparent is None:
            chosen = self._ratio > 0 and random.random() < self._ratio  # noqa: S311 - nothing secret
            return self._root(None) if chosen else None
        if isinstance(traceparent, bytes):
            traceparent = traceparent.decode("latin-1")
        return self._root(parent) if (parent := _sampled(traceparent)) else None

    def close(self) -> None:
        """Send what waits, for a second at most."""
        ending = threading.Thread(target=self._provider.shutdown, name="traces", daemon=True)
        ending.start()
        ending.join(_CLOSE_SECONDS)
        if ending.is_alive():
            self._exporter.shutdown()  # it would try again for half a minute

    def _root(self, parent: SpanContext | None) -> Span:
        context = trace.set_span_in_context(NonRecordingSpan(parent), Context()) if parent else Context()
        span = self._tracer.start_span("request", context, SpanKind.SERVER)
        return _Span(span, self._tracer, _Budget(self._count))


class _Budget:
    """How many more spans a request may have; shared by all of its spans."""

    def __init__(self, count: Count) -> None:
        self.left_out = 0
        self._left = _MAX_SPANS - 1
        self._count = count

    def take(self) -> bool:
        if self._left:
            self._left -= 1
            return True
        self.left_out += 1
        self._count("left_out", 1)
        return False


class _Span:
    """A `Span` around one of OpenTelemetry's."""

    def __init__(self, span: trace.Span, tracer: trace.Tracer, budget: _Budget) -> None:
        self._span = span
        self._tracer = tracer
        self._budget = budget
        self.context = span.get_span_context()
        self.trace_id = trace.format_trace_id(self.context.trace_id)
        self.traceparent = f"00-{self.trace_id}-{trace.format_span_id(self.context.span_id)}-01"

    def child(
        self,
        name: str,
        attributes: Mapping[str, Attribute],
        links: Sequence[Span] = (),
        began: float | None = None,
        *,
        calls: bool = False,
    ) -> Span | None:
        if not self._budget.take():
            return None
        span = self._tracer.start_span(
            name,
            trace.set_span_in_context(self._span, Context()),
            SpanKind.CLIENT if calls else SpanKind.INTERNAL,
            _named(attributes),
            [trace.Link(each.context) for each in links[:_MAX_LINKS] if isinstance(each, _Span)],
            None if began is None else time.time_ns() - int((time.monotonic() - began) * 1e9),
        )
        return _Span(span, self._tracer, self._budget)

    def end(self, error: str | None = None) -> None:
        if error:
            self._span.set_status(StatusCode.ERROR, error)
        self._span.end()

    def end_request(self, name: str, attributes: Mapping[str, Attribute], error: str | None = None) -> None:
        self._span.update_name(name)
        left_out = {"spans_left_out": self._budget.left_out} if self._budget.left_out else {}
        self._span.set_attributes(_named({**attributes, **left_out}))
        self.end(error)


class _Counting(SpanExporter):
    """Counts what is sent and what is not."""

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
    """The caller's span, if the header is one and its flag says that the caller records it."""
    found = _TRACEPARENT.fullmatch(traceparent)
    if not found:
        return None
    version, trace_id, span_id, flags, rest = found.groups()
    if (version == "00" and rest) or not int(flags, 16) & TraceFlags.SAMPLED:
        return None
    context = SpanContext(int(trace_id, 16), int(span_id, 16), True, TraceFlags(TraceFlags.SAMPLED))
    return context if context.is_valid else None


def _named(attributes: Mapping[str, Attribute]) -> dict[str, Attribute]:
    return {_NAMESPACE + name: value for name, value in attributes.items()}
