"""Spans of a service in this process, kept in memory."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from opentelemetry import context
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from clipserve.telemetry import tracing as module

TRACE, CALLER = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
SAMPLED, UNSAMPLED = f"00-{TRACE}-{CALLER}-01", f"00-{TRACE}-{CALLER}-00"


class Traced:
    def __init__(self) -> None:
        self.exporter = InMemorySpanExporter()

    def spans(self) -> list[Ended]:
        """Those that were sent, which is a moment after they have ended; in this order."""
        return [Ended(span) for span in self.exporter.get_finished_spans()]


class Ended:
    """A span, in plain values; ids are hexadecimal. `links`: ids of spans."""

    def __init__(self, span: ReadableSpan) -> None:
        assert span.context is not None
        self.name = span.name
        self.trace_id = f"{span.context.trace_id:032x}"
        self.id = f"{span.context.span_id:016x}"
        self.parent = f"{span.parent.span_id:016x}" if span.parent else ""
        self.links = {f"{link.context.span_id:016x}" for link in span.links}
        self.attributes = {
            name.removeprefix("clipserve."): value for name, value in (span.attributes or {}).items()
        }
        self.error = span.status.description
        self.failed = not span.status.is_unset
        self.kind = span.kind.name


@contextmanager
def tracing(ratio: float | None = None) -> Iterator[Traced]:
    """`ratio`: the share of the requests without a header that are traced. All spans are sent at the end."""
    traced = Traced()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "otlp_exporter", lambda *_: traced.exporter)
        patch.setenv("OTEL_BSP_SCHEDULE_DELAY", "10")  # milliseconds, until spans are sent
        if ratio is not None:
            patch.setenv("OTEL_TRACES_SAMPLER", "parentbased_traceidratio")
            patch.setenv("OTEL_TRACES_SAMPLER_ARG", str(ratio))
        with module.tracing_to("memory", lambda *_: None, close_seconds=60):
            context.attach(context.Context())
            yield traced
    context.attach(context.Context())  # `begin` leaves its span in that of the test
