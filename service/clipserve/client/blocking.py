"""The methods for programs without an event loop. A thread of each object runs a loop for them."""

from __future__ import annotations

import functools
import weakref
from collections.abc import Callable, Coroutine
from concurrent.futures import Future
from contextlib import AbstractAsyncContextManager, ExitStack
from typing import Any, Concatenate, ParamSpec, Self, TypeVar

from anyio.from_thread import start_blocking_portal

from clipserve.client.methods import AsyncMethods

P = ParamSpec("P")
T = TypeVar("T")


def _blocking(
    method: Callable[Concatenate[AsyncMethods, P], Coroutine[Any, Any, T]],
) -> Callable[Concatenate[Blocking, P], T]:
    @functools.wraps(method)
    def call(self: Blocking, /, *args: P.args, **kwargs: P.kwargs) -> T:
        bound: Callable[P, Coroutine[Any, Any, T]] = getattr(
            self._clip, method.__name__
        )  # `method` may be abstract
        return self._run(lambda: bound(*args, **kwargs))

    return call


class Blocking:
    """Blocking versions of `AsyncMethods`. Threads may share an object: their calls run concurrently."""

    def __init__(self, opened: AbstractAsyncContextManager[AsyncMethods]) -> None:
        with ExitStack() as stack:
            self._portal = stack.enter_context(start_blocking_portal(name="clipserve"))
            self._clip = stack.enter_context(self._portal.wrap_async_context_manager(opened))
            self._close = weakref.finalize(self, stack.pop_all().close)  # at the latest when the process ends

    served_by = _blocking(AsyncMethods.served_by)
    pin = _blocking(AsyncMethods.pin)
    label_sets = _blocking(AsyncMethods.label_sets)
    embed_images = _blocking(AsyncMethods.embed_images)
    embed_texts = _blocking(AsyncMethods.embed_texts)
    classify = _blocking(AsyncMethods.classify)
    similarity = _blocking(AsyncMethods.similarity)
    tokenize = _blocking(AsyncMethods.tokenize)

    def close(self) -> None:
        """Close it. Later calls raise RuntimeError."""
        self._close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _run(self, call: Callable[[], Coroutine[Any, Any, T]]) -> T:
        if not self._close.alive:
            raise RuntimeError(f"this {type(self).__name__} is closed.")
        future: Future[T] = self._portal.start_task_soon(call)
        try:
            return future.result()
        except BaseException:  # Ctrl-C, with requests in flight
            future.cancel()
            raise
