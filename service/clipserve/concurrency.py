"""Concurrency that the standard library lacks: tasks, loops and threads."""

from __future__ import annotations

import asyncio
import functools
import os
import threading
import traceback
from collections.abc import Callable, Coroutine, Iterable
from concurrent.futures import Executor, Future
from typing import Any, ParamSpec, TypeVar

from clipserve.telemetry.request import caller
from clipserve.turns import Turns

T = TypeVar("T")
U = TypeVar("U")
P = ParamSpec("P")

_AGAIN_SECONDS = 1.0  # pause after a loop has failed
SHORT = 4_096  # bytes: so many are computed in the event loop


def kept_running(name: str, loop: Callable[[], Coroutine[Any, Any, None]]) -> asyncio.Task[None]:
    """A task that runs `loop` until it returns or the task is cancelled.

    A failure is logged, and the loop restarts after a second.
    """
    return asyncio.create_task(_keep_running(name, loop), name=name)


async def _keep_running(name: str, loop: Callable[[], Coroutine[Any, Any, None]]) -> None:
    while True:
        try:
            await loop()
            return
        except Exception:  # any error: nobody awaits its task, so the loop would end silently
            from clipserve.telemetry.log import logger  # its libraries are a seventh of a client's import

            logger.exception("loop_failed", loop=name, again_in_seconds=_AGAIN_SECONDS)
        await asyncio.sleep(_AGAIN_SECONDS)


async def together(coroutines: Iterable[Coroutine[Any, Any, T]]) -> list[T]:
    """Run concurrently. The first error cancels the others and is raised unwrapped.

    Not a TaskGroup: in Python 3.11 its errors form reference cycles.
    """
    first, *others = coroutines
    if not others:
        return [await first]
    tasks = [asyncio.ensure_future(each) for each in (first, *others)]
    try:
        return await asyncio.gather(*tasks)
    except BaseException:
        await asyncio.shield(ended(tasks))  # a caller who leaves does not cancel them again
        raise


async def ended(tasks: list[asyncio.Task[Any]]) -> None:
    """Cancel the tasks and wait for their end. Empties the list, which may be in a frame of an error of theirs."""
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    tasks.clear()


async def both(first: Coroutine[Any, Any, T], second: Coroutine[Any, Any, U]) -> tuple[T, U]:
    """`together` for two awaitables of different types."""
    coroutines: list[Coroutine[Any, Any, Any]] = [first, second]
    one, two = await together(coroutines)
    return one, two


async def beside_loop(work: Callable[[], T], size: int) -> T:
    """The result of `work`, Python code that computes on a caller's data: parsing, tokenizing, ranking, rendering.

    It runs in one thread for all, because such calls hold the GIL, so that two at a time take twice as long each,
    and because each may hold copies of a body. Callers take turns there. The caller keeps each call below a tenth
    of a second.

    `size`: the bytes that it reads or writes, about. Few of them take a millisecond or two, whatever they contain,
    and are computed here: waking a thread takes 50 microseconds.
    """
    if size <= SHORT:
        return work()
    return await asyncio.wrap_future(_side_thread().submit(work))


@functools.cache
def _side_thread() -> Executor:
    return DaemonExecutor(1, "side")


if hasattr(os, "register_at_fork"):  # a fork has none of its parent's threads
    os.register_at_fork(after_in_child=_side_thread.cache_clear)


class DaemonExecutor(Executor):
    """Daemon threads for work that cannot be interrupted: not even the end of the process waits for them.

    A ThreadPoolExecutor is joined at its shutdown, and again at the interpreter's exit. The callers of the requests
    for which `submit` is called take turns: the oldest job of each.
    """

    def __init__(self, threads: int, name: str) -> None:
        self._jobs = Turns[tuple[Future[Any], Callable[[], Any]]]()
        self._changed = threading.Condition()  # of the jobs, or that it has ended
        self._ended = False
        for number in range(threads):
            threading.Thread(target=self._work, name=f"{name}_{number}", daemon=True).start()

    def submit(self, job: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> Future[T]:
        """Run `job` in the next free thread. Raises RuntimeError: the threads are shut down."""
        future: Future[T] = Future()
        with self._changed:
            if self._ended:
                raise RuntimeError("the threads are shut down.")
            self._jobs.put((future, functools.partial(job, *args, **kwargs)), caller())
            self._changed.notify()
        return future

    def shutdown(self, wait: bool = False, *, cancel_futures: bool = True) -> None:  # noqa: ARG002
        """Cancel queued jobs, and end each thread after its present job. Never blocks."""
        with self._changed:
            self._ended = True
            while self._jobs:
                self._jobs.pop()[0].cancel()
            self._changed.notify_all()

    def _work(self) -> None:
        while taken := self._next():
            _do(*taken)
            del taken  # else an idle thread would keep the last body and its pixels

    def _next(self) -> tuple[Future[Any], Callable[[], Any]] | None:
        with self._changed:
            self._changed.wait_for(lambda: self._jobs or self._ended)
            return self._jobs.pop() if self._jobs else None


def in_own_thread(name: str, job: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> Future[T]:
    """Run `job` in a new daemon thread: for rare work that cannot be interrupted. The caller limits their number.

    Raises:
        RuntimeError: the system has no thread left.
    """
    future: Future[T] = Future()
    call = functools.partial(job, *args, **kwargs)
    threading.Thread(target=_do, args=(future, call), name=name, daemon=True).start()
    return future


def _do(future: Future[T], job: Callable[[], T]) -> None:
    if not future.set_running_or_notify_cancel():
        return
    try:
        result = job()
    except BaseException as error:  # any error belongs to the future
        # Else what was parsed stays until a busy loop takes the error.
        traceback.clear_frames(error.__traceback__)
        future.set_exception(error)
        del future, job  # else this frame and the future would hold each other
    else:
        future.set_result(result)
