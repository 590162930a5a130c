"""When the request at hand must be answered: set by the front, read by whoever asks another machine."""

from __future__ import annotations

import time
from contextvars import ContextVar

_deadline: ContextVar[float | None] = ContextVar("deadline", default=None)


def set_deadline(seconds: float) -> None:
    """From now on, in this context: `seconds` are left."""
    _deadline.set(time.monotonic() + seconds)


def forget_deadline() -> None:
    """For work that several requests share: none of their deadlines is its own."""
    _deadline.set(None)


def remaining(default: float) -> float:
    """Seconds left, at least 0; `default` where no front has set a deadline."""
    deadline = _deadline.get()
    return default if deadline is None else max(0.0, deadline - time.monotonic())
