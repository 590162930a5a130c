"""Makes spans around the work of traced requests. For other requests this costs next to nothing.

A traced request has a span, and each part of its work has a child span: stages, the wait for a batch, the batch,
the call to Triton. A context variable has the parent of a nested part.

Work for several requests has a span in the trace of each. The first of these links to its parents in the other
traces, and the others link to the first.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Self

from opentelemetry.trace import SpanKind

from clipserve.errors import ClipError
from clipserve.telemetry.request import RequestContext, current
from clipserve.telemetry.spans import Attribute, Count, Span, Tracing

Spans = tuple[Span, ...]  # of one piece of work, in the traces of different requests

_open: ContextVar[Spans] = ContextVar("spans", default=())


class TracingUnavailable(Exception):
    """Tracing is on but cannot work; the message says why."""


@contextmanager
def tracing_to(
    endpoint: str | None, ratio: float, count: Count, close_seconds: float = 1.0
) -> Iterator[Tracing]:
    """Send spans to a collector. The block's end sends those that still wait, for `close_seconds` at most.

    `endpoint`: its URL; None: no traces. `ratio`: the share of requests without `traceparent` that are traced.

    Raises:
        TracingUnavailable: OpenTelemetry is not installed.
    """
    if endpoint is None:
        yield Tracing()
        return
    try:
        from clipserve.telemetry.otlp import Otlp, exporter_to  # loads OpenTelemetry's SDK
    except ImportError:
        raise TracingUnavailable(
            "CLIPSERVE_OTLP_ENDPOINT is set, and OpenTelemetry is not installed: "
            "pip install 'clipserve-core[tracing]'"
        ) from None
    otlp = Otlp(exporter_to(endpoint), ratio, count)
    try:
        yield otlp
    finally:
        otlp.close(close_seconds)


def parents() -> Spans:
    """The parents of work that begins now, one for each trace; mostly none."""
    if spans := _open.get():
        return spans
    context = current()
    if isinstance(context, RequestContext):  # first, because it is the usual case
        return (context.span,) if context.span else ()
    return tuple(request.span for request in context.requests if request.span) if context else ()


class Work:
    """A piece of work with its spans. In its `with` block, they are the parents of further work in this task.

    Attributes:
        spans: empty if it is not traced.
    """

    def __init__(self, spans: Spans) -> None:
        self.spans = spans

    @property
    def headers(self) -> dict[str, str]:
        """Of a call to another server: they make its spans children of this."""
        return {"traceparent": self.spans[0].traceparent} if self.spans else {}

    def __enter__(self) -> Self:
        if self.spans:
            self._outer = _open.set(self.spans)
        return self

    def __exit__(self, _: object, error: BaseException | None, __: object) -> None:
        if not self.spans:
            return
        _open.reset(self._outer)
        if error:
            self.fail(error)
        for span in self.spans:
            span.end()

    def fail(self, error: BaseException) -> None:
        """Mark it as failed if no exception leaves its block."""
        for span in self.spans:
            span.fail(_word(error))


_UNTRACED = Work(())


def begin(
    name: str, within: Spans | None = None, kind: SpanKind = SpanKind.INTERNAL, **attributes: Attribute
) -> Work:
    """Begin work. `within`: its parents, if not `parents()`."""
    found = parents() if within is None else within
    return Work(_children(found, name, attributes, kind=kind)) if found else _UNTRACED


def waited(name: str, within: Spans, since: float, **attributes: Attribute) -> None:
    """Add a span that ends now. `since`: seconds of `time.monotonic()`."""
    for span in _children(within, name, attributes, since):
        span.end()


def of_all(within: Iterable[Spans]) -> Spans:
    """Each span once."""
    return tuple({id(span): span for spans in within for span in spans}.values())


def _children(
    within: Spans,
    name: str,
    attributes: Mapping[str, Attribute],
    since: float | None = None,
    kind: SpanKind = SpanKind.INTERNAL,
) -> Spans:
    """A child of each span, with links between the children."""
    made: list[Span] = []
    for number, parent in enumerate(within):
        child = parent.child(name, attributes, made[:1] if number else within[1:], since, kind)
        if child:
            made.append(child)
    return tuple(made)


def _word(error: BaseException) -> str:
    if isinstance(error, ClipError):
        return error.code
    return "cancelled" if isinstance(error, asyncio.CancelledError) else type(error).__name__
