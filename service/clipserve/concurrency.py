"""Ways to wait, and not to wait, that the standard library does not have."""

from __future__ import annotations

import asyncio
import functools
import queue
import threading
from collections.abc import Callable, Coroutine, Iterable
from concurrent.futures import Executor, Future
from contextlib import suppress
from typing import Any, ParamSpec, TypeVar, TypeVarTuple

import structlog

T = TypeVar("T")
U = TypeVar("U")
P = ParamSpec("P")
Ts = TypeVarTuple("Ts")

_logger: Any = structlog.get_logger("clipserve")

_AGAIN_SECONDS = 1.0  # after a loop has failed
_WELL_SECONDS = 5.0  # a loop that has run for so long since then is well again
_failed: set[object] = set()  # loops that are not


def clears_frame(function: Callable[P, Coroutine[Any, Any, T]]) -> Callable[P, Coroutine[Any, Any, T]]:
    """For a function that awaits a task or a future which it has a name for.

    An error's traceback holds the frames that it came through, and these hold what they worked on, such as bodies
    and pixels. A frame that also holds the task or the future with the error forms a cycle with it, and all of it
    would stay in memory until the garbage collector runs. So an error leaves this function with its line, and
    without its variables.
    """

    @functools.wraps(function)
    async def call(*args: P.args, **kwargs: P.kwargs) -> T:
        try:
            return await function(*args, **kwargs)
        except BaseException as error:
            if error.__traceback__ and (own := error.__traceback__.tb_next):
                own.tb_frame.clear()
            raise

    return call


def loops_are_well() -> bool:
    """Whether no loop of `kept_running` has failed in the last seconds. /readyz asks."""
    return not _failed


def kept_running(name: str, loop: Callable[[], Coroutine[Any, Any, None]]) -> asyncio.Task[None]:
    """A task in which `loop` runs until it returns or the task is cancelled.

    If it fails that is logged, it begins anew after a second, and until it has run for a while `loops_are_well` is
    false.
    """
    return asyncio.create_task(_keep_running(name, loop), name=name)


async def _keep_running(name: str, loop: Callable[[], Coroutine[Any, Any, None]]) -> None:
    this = object()
    try:
        while True:
            well = asyncio.get_running_loop().call_later(_WELL_SECONDS, _failed.discard, this)
            try:
                await loop()
                return
            except Exception:  # whatever a loop raises: nobody waits for its task, so it would end in silence
                _failed.add(this)
                _logger.exception("loop_failed", loop=name, again_in_seconds=_AGAIN_SECONDS)
            finally:
                well.cancel()
            await asyncio.sleep(_AGAIN_SECONDS)
    finally:
        _failed.discard(this)


@clears_frame
async def together(coroutines: Iterable[Coroutine[Any, Any, T]]) -> list[T]:
    """Run side by side; the first error ends the others and is raised as it is.

    Not a TaskGroup: in Python 3.11 its errors make cycles themselves.
    """
    first, *others = coroutines
    if not others:
        return [await first]
    tasks = [asyncio.ensure_future(each) for each in (first, *others)]
    try:
        return await asyncio.gather(*tasks)
    finally:
        if not all(task.done() for task in tasks):
            for task in tasks:
                task.cancel()
            await asyncio.wait(tasks)


async def ended(tasks: list[asyncio.Task[None]]) -> None:
    """Cancel them, and wait for their end. The list is empty then: see `clears_frame`."""
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    tasks.clear()


async def both(first: Coroutine[Any, Any, T], second: Coroutine[Any, Any, U]) -> tuple[T, U]:
    """`together`, of two that give different things."""
    coroutines: list[Coroutine[Any, Any, Any]] = [first, second]
    one, two = await together(coroutines)
    return one, two


class SideThread:
    """One thread for what computes on a caller's data in Python: parsing, tokenizing, ranking, rendering.

    One, because such calls hold the interpreter's lock, so that two side by side take twice as long each; because
    each may hold copies of a body; and because calls in one queue take turns. Nobody waits there for images to be
    decoded. Whoever calls keeps each call below a tenth of a second.
    """

    def __init__(self, executor: Executor) -> None:
        """`executor`: of one thread, at the event loop's own priority, because the loop waits for the lock too."""
        self._executor = executor

    async def call(self, function: Callable[[*Ts], T], *args: *Ts, short: bool) -> T:
        """Its result or error. A call that is `short` runs here: to wake a thread takes 50 microseconds."""
        if short:
            return function(*args)
        return await asyncio.get_running_loop().run_in_executor(self._executor, function, *args)


class DaemonExecutor(Executor):
    """Threads for work that cannot be interrupted: nobody waits for them, and not the end of the process either.

    A ThreadPoolExecutor is joined when it is shut down, and again by the interpreter as it exits.
    """

    def __init__(self, threads: int, name: str, initializer: Callable[[], object] = object) -> None:
        """`initializer` is called in each thread before its first job."""
        self._jobs: queue.SimpleQueue[tuple[Future[Any], Callable[[], Any]] | None] = queue.SimpleQueue()
        self._threads = threads
        self._ended = False
        for number in range(threads):
            threading.Thread(
                target=self._work, args=(initializer,), name=f"{name}_{number}", daemon=True
            ).start()

    def submit(self, job: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> Future[T]:
        """Do it in the next free thread."""
        if self._ended:
            raise RuntimeError("the threads have been told to end.")
        future: Future[T] = Future()
        self._jobs.put((future, lambda: job(*args, **kwargs)))
        return future

    def shutdown(self, wait: bool = False, *, cancel_futures: bool = True) -> None:  # noqa: ARG002
        """End each thread when its job has ended; jobs that have not begun are cancelled. It never waits."""
        if self._ended:
            return
        self._ended = True
        with suppress(queue.Empty):
            while waiting := self._jobs.get_nowait():
                waiting[0].cancel()
        for _ in range(self._threads):
            self._jobs.put(None)

    def _work(self, initializer: Callable[[], object]) -> None:
        initializer()
        while taken := self._jobs.get():
            _do(*taken)
            del taken  # or an idle thread would keep the last body and its pixels


def _do(future: Future[T], job: Callable[[], T]) -> None:
    if not future.set_running_or_notify_cancel():
        return
    try:
        result = job()
    except BaseException as error:  # the future's, whatever it is
        future.set_exception(error)
        del future, job  # or this frame and the future would hold each other: `clears_frame`
    else:
        future.set_result(result)
