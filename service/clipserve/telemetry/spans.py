"""The spans of a request that is traced, around OpenTelemetry's; `clipserve.telemetry.otlp` sends them."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.trace import Link, SpanKind, StatusCode, Tracer

Attribute = str | int | float
Count = Callable[[str, int], None]  # outcome, spans; called in several threads

_MAX_SPANS = 256  # of a request: one of a thousand images would have four thousand
_MAX_LINKS = 128  # of a span; OpenTelemetry's own limit
_NAMESPACE = "clipserve."


@dataclass(eq=False)
class Trace:
    """What the spans of one request share: who makes them, and how many there may be."""

    tracer: Tracer
    count: Count
    spans: int = 1
    left_out: int = 0

    def full(self) -> bool:
        """Whether there is no room for one more, which is counted."""
        if self.spans == _MAX_SPANS:
            self.left_out += 1
            self.count("left_out", 1)
            return True
        self.spans += 1
        return False


class Span:
    """A piece of work for one request that is traced.

    Attributes:
        trace_id: 32 hexadecimal digits, the same in all spans of the request, the caller's and Triton's too.
        traceparent: what makes a span of another process a child of this one (W3C Trace Context).
    """

    def __init__(self, span: trace.Span, of: Trace) -> None:
        self._span = span
        self._of = of
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
        """A part of this work; None if the request has as many spans as it may.

        `links`: spans of other requests that the same work is for. `began`: seconds of `time.monotonic()`; None: it
        begins now.
        """
        if self._of.full():
            return None
        span = self._of.tracer.start_span(
            name,
            trace.set_span_in_context(self._span, Context()),
            kind,
            _named(attributes),
            [Link(each.context) for each in links[:_MAX_LINKS]],
            None if began is None else time.time_ns() - int((time.monotonic() - began) * 1e9),
        )
        return Span(span, self._of)

    def fail(self, error: str) -> None:
        """`error`: a word for why it failed."""
        self._span.set_status(StatusCode.ERROR, error)

    def end(self) -> None:
        """The work is done."""
        self._span.end()

    def end_request(self, name: str, attributes: Mapping[str, Attribute]) -> None:
        """The same of the span that `Tracing.begin` gave, whose name is known only now."""
        self._span.update_name(name)
        left_out = {"spans_left_out": self._of.left_out} if self._of.left_out else {}
        self._span.set_attributes(_named({**attributes, **left_out}))
        self._span.end()


class Tracing:
    """Decides which requests are traced: none, here."""

    def begin(self, traceparent: str | bytes | None) -> Span | None:  # noqa: ARG002
        """The span of a request that has just come, with this header; None: it is not traced."""
        return None


def _named(attributes: Mapping[str, Attribute]) -> dict[str, Attribute]:
    return {_NAMESPACE + name: value for name, value in attributes.items()}
