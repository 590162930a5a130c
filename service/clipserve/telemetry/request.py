"""The context of a request: its id, its deadline, and the seconds that it spent in each stage.

An API sets it once in a context variable, which all code that works for the request reads. Work for several
requests, a batch or a value that several wait for, has a `SharedContext`: its failure is logged with all their ids,
and its time counts for each.
"""

from __future__ import annotations

import contextvars
import os
import re
import time
from collections.abc import Collection, Iterable, MutableMapping
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:  # a client, which has contexts too, does not load OpenTelemetry
    from opentelemetry.trace import Span

_ID = re.compile(r"[A-Za-z0-9._-]{1,64}")


def request_id(given: str | None) -> str:
    """The caller's id if it is valid, else a new one."""
    return given if given and _ID.fullmatch(given) else os.urandom(16).hex()


@dataclass(eq=False)
class RequestContext:
    """The context of one request.

    Attributes:
        id: unique, or the caller's.
        deadline: in seconds of `time.monotonic()`; None: none.
        address: of its client; see `connections.address_of`.
        key, digest, scope: its key's name and SHA-256, and the scope that was checked; None: it has no key.
        bulk: its rows give way to those of other requests.
        span, model: once they are known; None: it is not traced.
        rows: the number of images and texts encoded for it.
        charged_rows, charged_bytes: what its key was charged.
        began: of time.perf_counter().
        stages: stage -> seconds, added up over what runs at the same time.
    """

    id: str
    deadline: float | None = None
    address: str = ""
    key: str | None = None
    digest: str | None = None
    scope: str | None = None
    bulk: bool = False
    span: Span | None = None
    model: str | None = None
    rows: int = 0
    charged_rows: int = 0
    charged_bytes: int = 0
    began: float = field(default_factory=time.perf_counter)
    stages: dict[str, float] = field(default_factory=dict)

    @property
    def requests(self) -> Collection[RequestContext]:
        return (self,)

    @property
    def caller(self) -> str:
        """Whose turns it takes, where callers take turns: its key's, or its address's without keys."""
        return self.digest or self.address

    @property
    def trace_id(self) -> str | None:
        """The same in all spans of the request, also the caller's and Triton's; None: it is not traced."""
        return f"{self.span.get_span_context().trace_id:032x}" if self.span else None

    @property
    def server_timing(self) -> str:
        """The stages in milliseconds, as the header Server-Timing has them; empty without stages."""
        return ", ".join([f"{stage};dur={each * 1000:.1f}" for stage, each in self.stages.items()])


@dataclass(eq=False)
class SharedContext:
    """Of work for several requests, which may be added and removed. `deadline`: None if later ones may join."""

    requests: list[RequestContext]
    deadline: float | None = None

    @property
    def bulk(self) -> bool:
        return all(request.bulk for request in self.requests)

    @property
    def caller(self) -> str:
        return next((request.caller for request in self.requests), "")


Context = RequestContext | SharedContext
_current: ContextVar[Context | None] = ContextVar("request", default=None)

# These are called often, and a method of the variable costs half as much as a function around it.
enter = _current.set  # the context of the current task; None: no request
current = _current.get  # None outside of requests


def caller() -> str:
    """The caller of the current task's request; empty outside of requests."""
    context = _current.get()
    return context.caller if context else ""


def is_bulk() -> bool:
    """Whether the current task works for a bulk request."""
    context = _current.get()
    return context is not None and context.bulk


def of_batch(contexts: Iterable[Context | None]) -> SharedContext:
    """The context of a call that computes rows of all these. Its deadline is the latest of theirs."""
    known = list({id(context): context for context in contexts}.values())
    requests = {id(request): request for context in known if context for request in context.requests}
    deadlines = [context.deadline for context in known if context and context.deadline is not None]
    timed = deadlines and len(deadlines) == len(known)
    return SharedContext(list(requests.values()), max(deadlines) if timed else None)


def task_context(context: Context) -> contextvars.Context:
    """A copy of the current `contextvars` context with this request context, for `asyncio.create_task`."""
    copy = contextvars.copy_context()
    copy.run(_current.set, context)
    return copy


def remaining(default: float) -> float:
    """Seconds until the deadline, at least 0; `default` without a deadline."""
    context = _current.get()
    if context is None or context.deadline is None:
        return default
    return max(0.0, context.deadline - time.monotonic())


def describe(model: str | None = None, rows: int = 0) -> None:
    """Add to the current request, for its span: set its model, or add to its rows."""
    context = _current.get()
    if isinstance(context, RequestContext):
        context.model = model or context.model
        context.rows += rows


def add_stage(stage: str, began: float, ended: float) -> None:
    """Add a time in this stage to each current request. What ran before a request, for others, does not count."""
    context = _current.get()
    for request in context.requests if context else ():
        seconds = max(0.0, ended - max(began, request.began))
        request.stages[stage] = request.stages.get(stage, 0.0) + seconds


def add_request_ids(_: object, __: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """A structlog processor that adds `request_id`, or `request_ids` of shared work, and ids of traces."""
    context = _current.get()
    if isinstance(context, RequestContext):
        event.setdefault("request_id", context.id)
        if context.span:
            event.setdefault("trace_id", context.trace_id)
    elif context is not None:
        event.setdefault("request_ids", [request.id for request in context.requests])
        if traces := [request.trace_id for request in context.requests if request.span]:
            event.setdefault("trace_ids", traces)
    return event
