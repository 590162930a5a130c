"""Spans of a service in this process, kept in memory."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager

from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from clipserve.telemetry.otlp import Otlp

TRACE, CALLER = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
SAMPLED, UNSAMPLED = f"00-{TRACE}-{CALLER}-01", f"00-{TRACE}-{CALLER}-00"


class Traced:
    """`tracing`: for `Metrics.tracing`. `counted`: what became of spans."""

    def __init__(self, ratio: float) -> None:
        self.counted: Counter[str] = Counter()
        self._kept = InMemorySpanExporter()
        self.tracing = Otlp(self._kept, ratio, self._count)

    def _count(self, outcome: str, spans: int) -> None:
        self.counted[outcome] += spans

    def spans(self) -> list[Ended]:
        """Those that have ended, in this order."""
        self.tracing._provider.force_flush()
        return [Ended(span) for span in self._kept.get_finished_spans()]


class Ended:
    """A span, in plain values; ids are hexadecimal. `links`: ids of spans."""

    def __init__(self, span: ReadableSpan) -> None:
        assert span.context is not None
        assert span.start_time is not None
        assert span.end_time is not None
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
        self.seconds = (span.end_time - span.start_time) / 1e9


@contextmanager
def tracing(ratio: float = 0.0) -> Iterator[Traced]:
    """`ratio`: the share of the requests without a header that are traced."""
    traced = Traced(ratio)
    yield traced
    traced.tracing.close()
