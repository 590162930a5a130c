"""The spans of traced requests, with OpenTelemetry. For other requests they cost next to nothing.

The caller's `traceparent` decides whether a request is traced, and for requests without it a ratio. The provider is
not OpenTelemetry's global one, or FastAPI and other libraries would make spans too. There is one in a process.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext

from opentelemetry import context, trace
from opentelemetry.trace import Link, NoOpTracer, Span, SpanKind, StatusCode, Tracer
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from clipserve.errors import ClipError

Attribute = str | int | float

_MAX_TRACEPARENT = 512  # characters; OpenTelemetry logs a line for each header that is longer
_propagator = TraceContextTextMapPropagator()
_tracer: Tracer = NoOpTracer()
_UNTRACED = nullcontext()  # it has no state


class TracingUnavailable(Exception):
    """Tracing is on but cannot work; the message says why."""


@contextmanager
def tracing_to(
    endpoint: str | None, count: Callable[[str, int], None], close_seconds: float = 1.0
) -> Iterator[None]:
    """Send spans to a collector. The block's end sends those that still wait, for `close_seconds` at most.

    `endpoint`: its URL; None: no traces.
    `count` is called in a thread, with sent or failed, and the number of spans.

    Raises:
        TracingUnavailable: OpenTelemetry's SDK is not installed.
    """
    if endpoint is None:
        yield
        return
    try:
        from clipserve.telemetry.otlp import exporter_to, sending  # loads the SDK
    except ImportError:
        raise TracingUnavailable(
            "OTEL_EXPORTER_OTLP_ENDPOINT is set, and OpenTelemetry is not installed: "
            "pip install 'clipserve-core[tracing]'"
        ) from None
    global _tracer
    with sending(exporter_to(endpoint), count, close_seconds) as _tracer:
        try:
            yield
        finally:
            _tracer = NoOpTracer()


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
    if isinstance(_tracer, NoOpTracer):
        return None
    found = trace.get_current_span()
    return found if found.is_recording() else None


def span(
    name: str,
    parents: Iterable[Span] | None = None,
    kind: SpanKind = SpanKind.INTERNAL,
    **attributes: Attribute,
) -> AbstractContextManager[Span | None]:
    """Make a span of the block, as a part of the current span; without one there is none, and it is None.

    `parents`: those of work for several requests. It is a part of the first; it and the others link to each other.
    """
    return _UNTRACED if isinstance(_tracer, NoOpTracer) else _span(name, parents, kind, attributes)


@contextmanager
def _span(
    name: str, parents: Iterable[Span] | None, kind: SpanKind, attributes: Mapping[str, Attribute]
) -> Iterator[Span | None]:
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
    word = error.code if isinstance(error, ClipError) else type(error).__name__
    failed.set_status(StatusCode.ERROR, "cancelled" if isinstance(error, asyncio.CancelledError) else word)


def headers() -> dict[str, str]:
    """Of a call to another server: they make its spans parts of the current one. Empty without one."""
    carrier: dict[str, str] = {}
    _propagator.inject(carrier)
    return carrier


def named(attributes: Mapping[str, Attribute]) -> dict[str, Attribute]:
    """Attributes of a span, whose names begin with the service's."""
    return {f"clipserve.{name}": value for name, value in attributes.items()}
