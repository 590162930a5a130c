"""Spans of a traced request, which wrap OpenTelemetry's; `clipserve.telemetry.otlp` sends them."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence

from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.trace import Link, SpanKind, StatusCode, Tracer

Attribute = str | int | float
Count = Callable[[str, int], None]  # (outcome, spans); called in several threads

_MAX_SPANS = 256  # of a request: one with a thousand images would have four thousand
_MAX_LINKS = 128  # of a span; OpenTelemetry's own limit
_NAMESPACE = "clipserve."


class Span:
    """A span: a piece of work for one traced request.

    Attributes:
        trace_id: 32 hexadecimal digits, the same in all spans of the request, including the caller's and Triton's.
        traceparent: the header that makes a span of another process a child of this one (W3C Trace Context).
    """

    def __init__(self, span: trace.Span, tracer: Tracer, count: Count, request: Span | None = None) -> None:
        """`count`: counts spans that are left out. `request`: that of the whole request; None: it is this one."""
        self._span, self._tracer, self._count = span, tracer, count
        self._request = request or self
        self._spans, self._left_out = 1, 0  # of the request
        self.context = span.get_span_context()
        self.trace_id = trace.format_trace_id(self.context.trace_id)
        self.traceparent = f"00-{self.trace_id}-{trace.format_span_id(self.context.span_id)}-01"

    def child(
        self,
        name: str,
        attributes: Mapping[str, Attribute],
        links: Sequence[Span] = (),
        began: float | None = None,
        kind: SpanKind = SpanKind.INTERNAL,
    ) -> Span | None:
        """A new child span; None if the request has the maximum number of spans.

        `links`: spans of other requests that the same work is for. `began`: seconds of `time.monotonic()`; None:
        now.
        """
        request = self._request
        if request._spans == _MAX_SPANS:
            request._left_out += 1
            self._count("left_out", 1)
            return None
        request._spans += 1
        span = self._tracer.start_span(
            name,
            trace.set_span_in_context(self._span, Context()),
            kind,
            _named(attributes),
            [Link(each.context) for each in links[:_MAX_LINKS]],
            None if began is None else time.time_ns() - int((time.monotonic() - began) * 1e9),
        )
        return Span(span, self._tracer, self._count, request)

    def fail(self, error: str) -> None:
        """Mark the span as failed. `error`: the reason in one word."""
        self._span.set_status(StatusCode.ERROR, error)

    def end(self) -> None:
        """End the span."""
        self._span.end()

    def end_request(self, name: str, attributes: Mapping[str, Attribute]) -> None:
        """End the span that `Tracing.begin` returned, whose name is known only now."""
        self._span.update_name(name)
        left_out = {"spans_left_out": self._left_out} if self._left_out else {}
        self._span.set_attributes(_named({**attributes, **left_out}))
        self._span.end()


class Tracing:
    """Decides which requests are traced. This class: none."""

    def begin(self, traceparent: str | bytes | None) -> Span | None:  # noqa: ARG002
        """The span of a new request with this header; None: it is not traced."""
        return None


def _named(attributes: Mapping[str, Attribute]) -> dict[str, Attribute]:
    return {_NAMESPACE + name: value for name, value in attributes.items()}
