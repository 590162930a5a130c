"""Ways to wait that asyncio does not have.

The rule of `del`: an error's traceback holds the frames that it came through, and these hold what they worked on,
such as bodies and pixels. If such a frame also holds the task or the future with the error, the two hold each
other, and all of it stays in memory until the garbage collector runs. So wherever a task or a future is awaited
by name, its name is deleted in a `finally`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Iterable
from concurrent.futures import Executor
from typing import Any, TypeVar, TypeVarTuple

T = TypeVar("T")
U = TypeVar("U")
Ts = TypeVarTuple("Ts")


async def together(coroutines: Iterable[Coroutine[Any, Any, T]]) -> list[T]:
    """Run side by side; the first error ends the others and is raised as it is.

    Not a TaskGroup: in Python 3.11 its errors make such cycles themselves.
    """
    first, *others = coroutines
    if not others:
        return [await first]
    tasks = [asyncio.ensure_future(each) for each in (first, *others)]
    try:
        return await asyncio.gather(*tasks)
    finally:
        try:
            await _end(tasks)
        finally:  # also if this task is cancelled meanwhile
            del tasks


async def _end(tasks: list[asyncio.Task[T]]) -> None:
    # A function of its own: the variable of the loop would keep a task after `del tasks` in the caller.
    if not all(task.done() for task in tasks):
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)


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
