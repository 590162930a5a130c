"""Concurrency that the standard library lacks: tasks, threads, and errors without reference cycles."""

from __future__ import annotations

import asyncio
import functools
import os
import queue
import threading
from collections.abc import Callable, Coroutine, Iterable
from concurrent.futures import Executor, Future
from contextlib import suppress
from typing import Any, ParamSpec, Protocol, TypeVar, TypeVarTuple

from clipserve.telemetry.request import caller
from clipserve.turns import Turns

T = TypeVar("T")
U = TypeVar("U")
P = ParamSpec("P")
Ts = TypeVarTuple("Ts")

_AGAIN_SECONDS = 1.0  # pause after a loop has failed
_WELL_SECONDS = 5.0  # a loop that has run for so long after a failure counts as well
_failed: set[object] = set()  # loops that have failed lately
SHORT = 4_096  # bytes: so many are computed in the event loop


def clears_frame(function: Callable[P, Coroutine[Any, Any, T]]) -> Callable[P, Coroutine[Any, Any, T]]:
    """Decorate a function that awaits a task or a future in one of its variables or arguments.

    The traceback of an error holds the frames that it passed, and these hold their variables, such as bodies and
    pixels. A frame that also holds the task or future with the error forms a reference cycle, which stays in memory
    until the garbage collector runs. So this clears the variables of the function's frame when an error leaves it;
    the line stays in the traceback.
    """

    @functools.wraps(function)
    async def call(*args: P.args, **kwargs: P.kwargs) -> T:
        try:
            return await function(*args, **kwargs)
        except BaseException as error:
            # In no variable: in Python 3.12 and 3.13 the frame refers to its caller's, which is this one.
            if error.__traceback__ and error.__traceback__.tb_next:
                error.__traceback__.tb_next.tb_frame.clear()
            del args, kwargs
            raise

    return call


def loops_are_well() -> bool:
    """Whether no loop of `kept_running` has failed in the last seconds. /readyz uses it."""
    return not _failed


def kept_running(name: str, loop: Callable[[], Coroutine[Any, Any, None]]) -> asyncio.Task[None]:
    """A task that runs `loop` until it returns or the task is cancelled.

    A failure is logged, and the loop restarts after a second. `loops_are_well` is false until it has run for a
    while.
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
            except Exception:  # any error: nobody awaits its task, so the loop would end silently
                _failed.add(this)
                from clipserve.telemetry.log import logger  # its libraries are a seventh of a client's import

                logger.exception("loop_failed", loop=name, again_in_seconds=_AGAIN_SECONDS)
            finally:
                well.cancel()
            await asyncio.sleep(_AGAIN_SECONDS)
    finally:
        _failed.discard(this)


@clears_frame
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
    finally:
        if not all(task.done() for task in tasks):
            for task in tasks:
                task.cancel()
            # Not asyncio.wait: in Python 3.14 a frame of it holds the caller's task. Shielded: a caller who leaves
            # does not cancel them again.
            await asyncio.shield(asyncio.gather(*tasks, return_exceptions=True))


async def ended(tasks: list[asyncio.Task[Any]]) -> None:
    """Cancel the tasks and wait for their end. Empties the list: see `clears_frame`."""
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
    """At the priority of the event loop that starts it, because the loop also waits for the GIL."""
    return DaemonExecutor(1, "side", jobs=_JobsInTurn())


if hasattr(os, "register_at_fork"):  # a fork has none of its parent's threads
    os.register_at_fork(after_in_child=_side_thread.cache_clear)

Job = tuple[Future[Any], Callable[[], Any]]


class Jobs(Protocol):
    """What `DaemonExecutor` needs of a queue; its methods are those of `queue.SimpleQueue`. None ends a thread."""

    def put(self, job: Job | None, /) -> None: ...

    def get(self) -> Job | None: ...

    def get_nowait(self) -> Job | None: ...


class _JobsInTurn:
    """Jobs of the callers of the requests for which `put` is called. `get` returns the oldest of each in turn."""

    def __init__(self) -> None:
        self._count = queue.SimpleQueue[None]()  # a token for each job
        self._lock = threading.Lock()
        self._turns = Turns[Job | None]()

    def put(self, job: Job | None) -> None:
        with self._lock:
            self._turns.put(job, caller())
        self._count.put(None)

    def get(self) -> Job | None:
        self._count.get()
        with self._lock:
            return self._turns.pop()

    def get_nowait(self) -> Job | None:
        self._count.get_nowait()
        with self._lock:
            return self._turns.pop()


class DaemonExecutor(Executor):
    """Daemon threads for work that cannot be interrupted: not even the end of the process waits for them.

    A ThreadPoolExecutor is joined at its shutdown, and again at the interpreter's exit.
    """

    def __init__(
        self,
        threads: int,
        name: str,
        initializer: Callable[[], object] = object,
        jobs: Jobs | None = None,
    ) -> None:
        """`initializer` is called in each thread before its first job. `jobs`: an empty queue; None: in order."""
        self._jobs: Jobs = queue.SimpleQueue() if jobs is None else jobs
        self._threads = threads
        self._ended = False
        for number in range(threads):
            threading.Thread(
                target=self._work, args=(initializer,), name=f"{name}_{number}", daemon=True
            ).start()

    def submit(self, job: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> Future[T]:
        """Run `job` in the next free thread."""
        if self._ended:
            raise RuntimeError("the threads are shut down.")
        future: Future[T] = Future()
        self._jobs.put((future, lambda: job(*args, **kwargs)))
        return future

    def shutdown(self, wait: bool = False, *, cancel_futures: bool = True) -> None:  # noqa: ARG002
        """Cancel queued jobs, and end each thread after its present job. Never blocks."""
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
            del taken  # else an idle thread would keep the last body and its pixels


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
        future.set_exception(error)
        del future, job  # else this frame and the future would hold each other: `clears_frame`
    else:
        future.set_result(result)
