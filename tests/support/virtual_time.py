"""An event loop whose time goes on only where all tasks wait for it.

Seconds cost nothing, and no busy machine changes them.
"""

from __future__ import annotations

import asyncio
import functools
import time
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from typing import Any, ParamSpec

import pytest

P = ParamSpec("P")


class HandClock:
    """A clock that a test sets; seconds."""

    def __init__(self, now: float) -> None:
        self.now = now

    def __call__(self) -> float:
        return self.now


class Clock(asyncio.SelectorEventLoop):
    """No task may wait for a thread or a socket."""

    now = 1_000.0

    def __init__(self) -> None:
        super().__init__()
        select = self._selector.select  # type: ignore[attr-defined]

        def at_once(timeout: float | None = None) -> Any:
            self.now += (timeout or 0.0) + 1e-9  # a turn takes time, or what sums round off is waited for
            return select(0)

        self._selector.select = at_once  # type: ignore[attr-defined]

    def time(self) -> float:
        return self.now


@contextmanager
def clock() -> Iterator[Clock]:
    """Such a loop, and its time as that of `time.monotonic`."""
    with pytest.MonkeyPatch.context() as patch, asyncio.Runner(loop_factory=Clock) as runner:
        loop = runner.get_loop()
        assert isinstance(loop, Clock)
        patch.setattr(time, "monotonic", loop.time)
        yield loop


def virtual_time(test: Callable[P, Coroutine[Any, Any, None]]) -> Callable[P, None]:
    """Run a test on it; its fixtures are made outside of it."""

    @functools.wraps(test)
    def run(*args: P.args, **kwargs: P.kwargs) -> None:
        with clock() as loop:
            loop.run_until_complete(test(*args, **kwargs))

    return run
