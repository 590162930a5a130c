"""Spans around the work for requests that are traced. For all other requests this costs next to nothing.

A request that is traced has a span, and each part of its work has one that is a child of it: stages, the wait for a
batch, the batch, the call to Triton. A part inside another finds it in a context variable, as a child of it.

Some work is done for several requests. It is then a span in the trace of each: the first is linked to what it is
part of in the others' traces, and theirs are linked to the first.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, Self, TypeVar

from opentelemetry.trace import SpanKind

from clipserve.errors import ClipError
from clipserve.telemetry.request import RequestContext, current
from clipserve.telemetry.spans import Attribute, Count, Span, Tracing

T = TypeVar("T")
Spans = tuple[Span, ...]  # of one piece of work, in the traces of different requests

_open: ContextVar[Spans] = ContextVar("spans", default=())


class TracingUnavailable(Exception):
    """Traces are wanted, and cannot be made; the message says why."""


@contextmanager
def tracing_to(endpoint: str | None, ratio: float, count: Count) -> Iterator[Tracing]:
    """Send spans to a collector; at the end, those that still wait.

    `endpoint`: its URL, None: no traces. `ratio`: the share of requests without `traceparent` that are traced too.

    Raises:
        TracingUnavailable: what sends them is not installed.
    """
    if endpoint is None:
        yield Tracing()
        return
    try:
        from clipserve.telemetry.otlp import Otlp, exporter_to  # loads OpenTelemetry's SDK
    except ImportError:
        raise TracingUnavailable(
            "CLIPSERVE_OTLP_ENDPOINT is set, and OpenTelemetry is not installed: "
            "pip install 'clipserve[tracing]'"
        ) from None
    otlp = Otlp(exporter_to(endpoint), ratio, count)
    try:
        yield otlp
    finally:
        otlp.close()


def parents() -> Spans:
    """What work that begins now is part of, in each trace; mostly nothing."""
    if spans := _open.get():
        return spans
    context = current()
    if isinstance(context, RequestContext):  # first, because it is so nearly always
        return (context.span,) if context.span else ()
    return tuple(request.span for request in context.requests if request.span) if context else ()


class Work:
    """A piece of work; in its block, what further work in this task is part of.

    Attributes:
        spans: none if it is not traced.
    """

    def __init__(self, spans: Spans) -> None:
        self.spans = spans

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
        """It has failed, though no error leaves its block."""
        for span in self.spans:
            span.fail(_word(error))


_UNTRACED = Work(())


def begin(
    name: str, within: Spans | None = None, kind: SpanKind = SpanKind.INTERNAL, **attributes: Attribute
) -> Work:
    """Work that begins. `within`: what it is part of, if not `parents()`."""
    found = parents() if within is None else within
    return Work(_children(found, name, attributes, kind=kind)) if found else _UNTRACED


def waited(name: str, within: Spans, since: float, **attributes: Attribute) -> None:
    """Something that has ended now; `since` in seconds of `time.monotonic()`."""
    for span in _children(within, name, attributes, since):
        span.end()


async def called(
    name: str, function: Callable[..., Awaitable[T]], *args: Any, headers: Mapping[str, str], **kwargs: Any
) -> T:
    """Call another server: a span, and a header that makes the other's spans children of it."""
    with begin(name, kind=SpanKind.CLIENT) as work:
        if work.spans:
            headers = {**headers, "traceparent": work.spans[0].traceparent}
        return await function(*args, headers=headers, **kwargs)


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
    """A child of each, with their links."""
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
