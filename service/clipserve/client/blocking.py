"""The methods for programs without an event loop: anyio runs a loop for each object, in a thread.

A fork has no such thread: there, the objects that its parent has opened refuse calls, and closing one does nothing.
"""

from __future__ import annotations

import functools
import os
import weakref
from collections.abc import Callable, Coroutine
from contextlib import AbstractAsyncContextManager, ExitStack
from typing import Any, Concatenate, ParamSpec, Self, TypeVar

from anyio.from_thread import start_blocking_portal

from clipserve.client.methods import AsyncMethods

P = ParamSpec("P")
T = TypeVar("T")

_of_a_parent = list[ExitStack]()  # what a fork must not close: it would wait for its parent's thread


def _blocking(
    method: Callable[Concatenate[AsyncMethods, P], Coroutine[Any, Any, T]],
) -> Callable[Concatenate[Blocking, P], T]:
    @functools.wraps(method)
    def call(self: Blocking, /, *args: P.args, **kwargs: P.kwargs) -> T:
        name = f"this {type(self).__name__}"
        if os.getpid() != self._process:
            raise RuntimeError(f"{name} was opened before a fork, which needs its own. Open another here.")
        if not self._close.alive:
            raise RuntimeError(f"{name} is closed.")
        bound = getattr(self._clip, method.__name__)  # by its name: `method` may be abstract
        future = self._portal.start_task_soon(functools.partial(bound, *args, **kwargs))
        try:
            result: T = future.result()
            return result
        except BaseException:  # Ctrl-C, with requests in flight
            future.cancel()
            raise

    return call


class Blocking:
    """Blocking versions of `AsyncMethods`. Threads may share an object: their calls run concurrently."""

    def __init__(self, opening: AbstractAsyncContextManager[AsyncMethods]) -> None:
        self._process = os.getpid()
        with ExitStack() as life:
            self._portal = life.enter_context(start_blocking_portal(name="clipserve"))
            self._clip = life.enter_context(self._portal.wrap_async_context_manager(opening))
            # At the latest when the process ends.
            self._close = weakref.finalize(self, _end, self._process, life.pop_all())

    served_by = _blocking(AsyncMethods.served_by)
    pin = _blocking(AsyncMethods.pin)
    label_sets = _blocking(AsyncMethods.label_sets)
    embed_images = _blocking(AsyncMethods.embed_images)
    embed_texts = _blocking(AsyncMethods.embed_texts)
    classify = _blocking(AsyncMethods.classify)

    def close(self) -> None:
        """Close it when no call is under way. Later calls raise RuntimeError."""
        self._close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _end(process: int, life: ExitStack) -> None:
    if os.getpid() == process:
        life.close()
    else:
        _of_a_parent.append(life)
