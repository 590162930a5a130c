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
from typing import Any, Concatenate, NamedTuple, ParamSpec, Self, TypeVar

from clipserve.client.methods import AsyncMethods

P = ParamSpec("P")
T = TypeVar("T")


def _blocking(
    method: Callable[Concatenate[AsyncMethods, P], Coroutine[Any, Any, T]],
) -> Callable[Concatenate[Blocking, P], T]:
    @functools.wraps(method)
    def call(self: Blocking, /, *args: P.args, **kwargs: P.kwargs) -> T:
        # By its name: `method` may be abstract.
        bound: Callable[P, Coroutine[Any, Any, T]] = getattr(self._opened.clip, method.__name__)
        return self._run(lambda: bound(*args, **kwargs))

    return call


class _Opened(NamedTuple):
    clip: AsyncMethods
    loop: asyncio.AbstractEventLoop
    end: asyncio.Event


class Blocking:
    """Blocking versions of `AsyncMethods`. Threads may share an object: their calls run concurrently."""

    def __init__(self, opening: AbstractAsyncContextManager[AsyncMethods]) -> None:
        opened: Future[_Opened] = Future()
        thread = threading.Thread(target=_run_loop, args=(opening, opened), name="clipserve", daemon=True)
        thread.start()
        try:
            self._opened = opened.result()
        except BaseException:  # Ctrl-C, while it is being opened
            opened.cancel()
            raise
        self._process = os.getpid()
        self._lock = threading.Lock()  # a call begins before the end, or not at all
        # At the latest when the process ends.
        self._close = weakref.finalize(self, _end, self._process, self._lock, thread, self._opened)

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

    def _run(self, call: Callable[[], Coroutine[Any, Any, T]]) -> T:
        name = f"this {type(self).__name__}"
        if os.getpid() != self._process:
            raise RuntimeError(
                f"{name} was opened before a fork, which has no thread of it. Open another here."
            )
        with self._lock:
            if not self._close.alive:
                raise RuntimeError(f"{name} is closed.")
            future = asyncio.run_coroutine_threadsafe(call(), self._opened.loop)
        try:
            return future.result()
        except CancelledError:
            raise RuntimeError(f"{name} was closed meanwhile.") from None
        except BaseException:  # Ctrl-C, with requests in flight
            future.cancel()
            raise


def _run_loop(opening: AbstractAsyncContextManager[AsyncMethods], opened: Future[_Opened]) -> None:
    runner = asyncio.Runner()
    try:
        runner.run(_serve(opening, opened))
    finally:
        # It waits for the loop's threads in a new one, and Python 3.12 starts none at the end of the process.
        with suppress(RuntimeError):
            runner.close()


async def _serve(opening: AbstractAsyncContextManager[AsyncMethods], opened: Future[_Opened]) -> None:
    """Keep it open until its end. `opened` gets it, or its error."""
    end = asyncio.Event()
    try:
        async with opening as clip:
            if opened.set_running_or_notify_cancel():
                opened.set_result(_Opened(clip, asyncio.get_running_loop(), end))
                await end.wait()
    except BaseException as error:
        if opened.done():
            raise
        opened.set_exception(error)


def _end(process: int, lock: threading.Lock, thread: threading.Thread, opened: _Opened) -> None:
    if os.getpid() == process:
        with lock:
            opened.loop.call_soon_threadsafe(opened.end.set)
        thread.join()
