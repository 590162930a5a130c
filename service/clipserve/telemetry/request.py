"""What a request carries with it: its id, its deadline, and the seconds it spent in each stage.

A front sets it once, and all code that works for the request finds it in one context variable: log lines take
the id from here, a call to another machine the deadline.

Some work is done for several requests: a batch, or a value that is built once for all who asked for it. Such
work has a `SharedContext`, which knows all of them. So the failure of a batch is logged with the id of every
request that sees it, and a stage of a shared build counts for everyone who waited for it.
"""

from __future__ import annotations

import contextvars
import re
import secrets
import time
from collections.abc import Collection, Iterable, MutableMapping
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Any

from clipserve.telemetry.spans import Span

_ID = re.compile(r"[A-Za-z0-9._-]{1,64}")


def request_id(given: str | None) -> str:
    """The caller's own id where it is a plain word, else a new one."""
    return given if given and _ID.fullmatch(given) else secrets.token_hex(16)


@dataclass(eq=False)
class RequestContext:
    """One request.

    Attributes:
        id: unique, or what the caller has given.
        deadline: when it must be answered, in seconds of `time.monotonic()`; None: no limit.
        key: the name of the key that it came with.
        digest, scope: that key's SHA-256, and what it was let in for; None: it came without a key.
        bulk: it gives way to requests that somebody waits for.
        span: of the request, if it is traced.
        model: the name of the model that it is for, once it is found.
        rows: images and texts that are encoded for it.
        stage_seconds: stage -> seconds; the images of a request add up.
    """

    id: str
    deadline: float | None = None
    key: str | None = None
    digest: str | None = None
    scope: str | None = None
    bulk: bool = False
    span: Span | None = None
    model: str | None = None
    rows: int = 0
    stage_seconds: dict[str, float] = field(default_factory=dict)

    @property
    def requests(self) -> Collection[RequestContext]:
        return (self,)

    @property
    def described(self) -> dict[str, str | int | float]:
        """What its span says of it."""
        model = {"model": self.model} if self.model else {}
        return {"request_id": self.id, "rows": self.rows, **model}

    @property
    def server_timing(self) -> str:
        """The stages as the header Server-Timing has them, in milliseconds; empty where there were none."""
        stages = self.stage_seconds.items()
        return ", ".join(f"{stage};dur={seconds * 1000:.1f}" for stage, seconds in stages)


@dataclass(eq=False)
class SharedContext:
    """Work for several requests. Requests may be added and removed while it goes on.

    `deadline`: as above; None where more requests may come, which have more time than the first.
    """

    requests: list[RequestContext]
    deadline: float | None = None

    @property
    def bulk(self) -> bool:
        return all(request.bulk for request in self.requests)


Context = RequestContext | SharedContext

_current: ContextVar[Context | None] = ContextVar("request", default=None)


def enter(context: Context | None) -> None:
    """From now on, the code in this task works for `context`; None: for no request."""
    _current.set(context)


def current() -> Context | None:
    """What the code at hand works for; None outside of any request."""
    return _current.get()


def of_batch(contexts: Iterable[Context | None]) -> SharedContext:
    """The context of a call that computes rows of all these: it has until the latest of their deadlines."""
    known = {id(context): context for context in contexts}.values()
    requests = {id(request): request for context in known if context for request in context.requests}
    deadlines = [context.deadline for context in known if context and context.deadline is not None]
    timed = deadlines and len(deadlines) == len(known)
    return SharedContext(list(requests.values()), max(deadlines) if timed else None)


def task_context(context: Context) -> contextvars.Context:
    """For `asyncio.create_task(..., context=...)`: the present context, but at work for `context`."""
    copy = contextvars.copy_context()
    copy.run(_current.set, context)
    return copy


def remaining(default: float) -> float:
    """Seconds left until the deadline, at least 0; `default` where there is none."""
    context = _current.get()
    if context is None or context.deadline is None:
        return default
    return max(0.0, context.deadline - time.monotonic())


def describe(model: str | None = None, rows: int = 0) -> None:
    """Say more of the request at hand, for its span: its model, or rows besides those said before."""
    context = _current.get()
    if isinstance(context, RequestContext):
        context.model = model or context.model
        context.rows += rows


def add_stage_seconds(stage: str, seconds: float) -> None:
    """Count a stage for every request that the code at hand works for."""
    context = _current.get()
    for request in context.requests if context else ():
        request.stage_seconds[stage] = request.stage_seconds.get(stage, 0.0) + seconds


def add_request_ids(_: object, __: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """A processor for structlog: `request_id`, or `request_ids` of work that is shared; the same of traces."""
    context = _current.get()
    if isinstance(context, RequestContext):
        event.setdefault("request_id", context.id)
        if context.span:
            event.setdefault("trace_id", context.span.trace_id)
    elif context is not None:
        event.setdefault("request_ids", [request.id for request in context.requests])
        if traces := [request.span.trace_id for request in context.requests if request.span]:
            event.setdefault("trace_ids", traces)
    return event
