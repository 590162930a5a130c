"""What a trace is made of, as the service sees it; `clipserve.telemetry.otlp` makes spans and sends them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol

Attribute = str | int | float


class Span(Protocol):
    """A piece of work for one request that is traced.

    Attributes:
        trace_id: 32 hexadecimal digits, the same in all spans of the request, the caller's and Triton's too.
        traceparent: what makes a span of another process a child of this one (W3C Trace Context).
    """

    trace_id: str
    traceparent: str

    def child(
        self,
        name: str,
        attributes: Mapping[str, Attribute],
        links: Sequence[Span] = (),
        began: float | None = None,
        *,
        calls: bool = False,
    ) -> Span | None:
        """A part of this work; None if the request has as many spans as it may.

        `links`: spans of other requests that the same work is for. `began`: seconds of `time.monotonic()`; None: it
        begins now. `calls`: it is a call to another server.
        """

    def end(self, error: str | None = None) -> None:
        """It is done; `error`: a word for why it failed."""

    def end_request(self, name: str, attributes: Mapping[str, Attribute], error: str | None = None) -> None:
        """The same of the span that `Tracing.begin` gave, whose name is known only now."""


class Tracing(Protocol):
    """Decides which requests are traced."""

    def begin(self, traceparent: str | bytes | None) -> Span | None:
        """The span of a request that has just come, with this header; None: it is not traced."""


class NotTracing:
    """A `Tracing` that traces nothing."""

    def begin(self, traceparent: str | bytes | None) -> None:  # noqa: ARG002
        return None
