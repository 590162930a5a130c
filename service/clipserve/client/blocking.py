"""The methods for programs without an event loop. A thread of each object runs a loop for them.

A fork has no such thread: there, the objects that its parent has opened refuse calls, and closing one does nothing.
"""

from __future__ import annotations

import asyncio
import functools
import os
import threading
import weakref
from collections.abc import Callable, Coroutine
from concurrent.futures import CancelledError, Future
from contextlib import AbstractAsyncContextManager, suppress
from typing import Any, Concatenate, ParamSpec, Self, TypeVar

from clipserve.client.methods import AsyncMethods

P = ParamSpec("P")
T = TypeVar("T")

Opened = Future[tuple[AsyncMethods, asyncio.AbstractEventLoop, asyncio.Event]]  # the event: the end


def _blocking(
    method: Callable[Concatenate[AsyncMethods, P], Coroutine[Any, Any, T]],
) -> Callable[Concatenate[Blocking, P], T]:
    @functools.wraps(method)
    def call(self: Blocking, /, *args: P.args, **kwargs: P.kwargs) -> T:
        name = f"this {type(self).__name__}"
        if os.getpid() != self._process:
            raise RuntimeError(
                f"{name} was opened before a fork, which has no thread of it. Open another here."
            )
        bound = getattr(self._clip, method.__name__)  # by its name: `method` may be abstract
        with self._lock:
            if not self._close.alive:
                raise RuntimeError(f"{name} is closed.")
            future: Future[T] = asyncio.run_coroutine_threadsafe(bound(*args, **kwargs), self._loop)
        try:
            return future.result()
        except CancelledError:
            raise RuntimeError(f"{name} was closed meanwhile.") from None
        except BaseException:  # Ctrl-C, with requests in flight
            future.cancel()
            raise

    return call


class Blocking:
    """Blocking versions of `AsyncMethods`. Threads may share an object: their calls run concurrently."""

    def __init__(self, opening: AbstractAsyncContextManager[AsyncMethods]) -> None:
        opened: Opened = Future()
        thread = threading.Thread(target=_run_loop, args=(opening, opened), name="clipserve", daemon=True)
        thread.start()
        try:
            self._clip, self._loop, end = opened.result()
        except BaseException:  # Ctrl-C, while it is being opened
            opened.cancel()
            raise
        self._process, self._lock = (
            os.getpid(),
            threading.Lock(),
        )  # a call begins before the end, or not at all
        # At the latest when the process ends.
        self._close = weakref.finalize(self, _end, self._process, self._lock, thread, self._loop, end)

    served_by = _blocking(AsyncMethods.served_by)
    pin = _blocking(AsyncMethods.pin)
    label_sets = _blocking(AsyncMethods.label_sets)
    embed_images = _blocking(AsyncMethods.embed_images)
    embed_texts = _blocking(AsyncMethods.embed_texts)
    classify = _blocking(AsyncMethods.classify)
    similarity = _blocking(AsyncMethods.similarity)
    tokenize = _blocking(AsyncMethods.tokenize)

    def close(self) -> None:
        """Close it. Later calls raise RuntimeError, and those that are under way, too."""
        self._close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _run_loop(opening: AbstractAsyncContextManager[AsyncMethods], opened: Opened) -> None:
    async def serve() -> None:
        end = asyncio.Event()
        try:
            async with opening as clip:
                if opened.set_running_or_notify_cancel():
                    opened.set_result((clip, asyncio.get_running_loop(), end))
                    await end.wait()
        except BaseException as error:
            if opened.done():
                raise
            opened.set_exception(error)

    runner = asyncio.Runner()
    try:
        runner.run(serve())
    finally:
        # It waits for the loop's threads in a new one, and Python 3.12 starts none at the end of the process.
        with suppress(RuntimeError):
            runner.close()


def _end(process: int, lock: threading.Lock, thread: threading.Thread, loop: Any, end: asyncio.Event) -> None:
    if os.getpid() == process:
        with lock:
            loop.call_soon_threadsafe(end.set)
        thread.join()
