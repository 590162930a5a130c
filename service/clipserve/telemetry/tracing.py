"""Spans around the work for requests that are traced. For all other requests this costs next to nothing.

A request that is traced has a span, and each part of its work has one that is a child of it: stages, the wait for a
batch, the batch, the call to Triton. A part inside another finds it in a context variable, as a child of it.

Some work is done for several requests. It is then a span in the trace of each: the first is linked to what it is
part of in the others' traces, and theirs are linked to the first.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from functools import partial
from typing import Any, TypeVar

from clipserve.errors import ClipError
from clipserve.telemetry.request import RequestContext, current
from clipserve.telemetry.spans import Attribute, NotTracing, Span, Tracing

T = TypeVar("T")
Spans = tuple[Span, ...]  # of one piece of work, in the traces of different requests

_open: ContextVar[Spans] = ContextVar("spans", default=())


class TracingUnavailable(Exception):
    """Traces are wanted, and cannot be made; the message says why."""


@dataclass(frozen=True)
class TracingOptions:
    """See the settings of the same names."""

    otlp_endpoint: str | None
    trace_ratio: float


@contextmanager
def tracing_to(options: TracingOptions, count: Callable[[str, int], None]) -> Iterator[Tracing]:
    """Send spans where the settings say; at the end, those that still wait. `count` is called in another thread.

    Raises:
        TracingUnavailable: what sends them is not installed.
    """
    if options.otlp_endpoint is None:
        yield NotTracing()
        return
    try:
        from clipserve.telemetry.otlp import Otlp, exporter_to  # loads OpenTelemetry
    except ImportError:
        raise TracingUnavailable(
            "CLIPSERVE_OTLP_ENDPOINT is set, and OpenTelemetry is not installed: "
            "pip install 'clipserve[tracing]'"
        ) from None
    otlp = Otlp(exporter_to(options.otlp_endpoint), options.trace_ratio, count)
    try:
        yield otlp
    finally:
        otlp.close()


def parents() -> Spans:
    """What work that begins now is part of, in each trace; mostly nothing."""
    if spans := _open.get():
        return spans
    context = current()
    if context is None:
        return ()
    if isinstance(context, RequestContext):  # first, because it is so nearly always
        return (context.span,) if context.span else ()
    return tuple(request.span for request in context.requests if request.span)


class Work:
    """A piece of work that has begun, and is what further work in this task is part of.

    Attributes:
        error: a word for why it failed, to be set before it ends.
    """

    def __init__(self, spans: Spans) -> None:
        self.spans = spans
        self.error: str | None = None
        self._outer = _open.set(spans)

    def fail(self, error: BaseException) -> None:
        self.error = _word(error)

    def end(self) -> None:
        """In the task in which it has begun."""
        _open.reset(self._outer)
        for span in self.spans:
            span.end(self.error)


def begin(name: str, within: Spans | None = None, **attributes: Attribute) -> Work | None:
    """Work that begins; None where nobody traces it. `within`: what it is part of, if not `parents()`."""
    if not (found := parents() if within is None else within):
        return None
    spans = _children(found, partial(_child, name, attributes))
    return Work(spans) if spans else None


def waited(name: str, within: Spans, since: float, **attributes: Attribute) -> None:
    """Something that has ended now; `since` in seconds of `time.monotonic()`."""
    if within:
        for span in _children(within, partial(_child, name, attributes, began=since)):
            span.end()


async def called(
    name: str, function: Callable[..., Awaitable[T]], *args: Any, headers: Mapping[str, str], **kwargs: Any
) -> T:
    """Call another server: a span, and a header that makes the other's spans children of it."""
    found = parents()
    spans = _children(found, partial(_child, name, {}, calls=True)) if found else ()
    if not spans:
        return await function(*args, headers=headers, **kwargs)
    work = Work(spans)
    try:
        traced = {**headers, "traceparent": work.spans[0].traceparent}
        return await function(*args, headers=traced, **kwargs)
    except BaseException as error:
        work.fail(error)
        raise
    finally:
        work.end()


def of_all(within: Iterable[Spans]) -> Spans:
    """Each span once."""
    return tuple({id(span): span for spans in within for span in spans}.values())


def _child(
    name: str,
    attributes: Mapping[str, Attribute],
    parent: Span,
    links: Sequence[Span],
    began: float | None = None,
    calls: bool = False,
) -> Span | None:
    return parent.child(name, attributes, links, began, calls=calls)


def _children(within: Spans, make: Callable[[Span, Sequence[Span]], Span | None]) -> Spans:
    """A child of each, with their links; `make` is given the parent and the links."""
    own, *others = within
    first = make(own, others)
    linked = (first,) if first else ()
    return (*linked, *filter(None, (make(each, linked) for each in others)))


def _word(error: BaseException) -> str:
    if isinstance(error, ClipError):
        return error.code
    return "cancelled" if isinstance(error, asyncio.CancelledError) else type(error).__name__
